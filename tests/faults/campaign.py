"""Faults at random moments: `python tests/faults/campaign.py --count 220 --seed 0`.

Each case starts a run with the stand-in for the trainer, under an app (its supervising part) that is killed and comes
back in half of the cases, does one thing to it at a random moment, and looks whether the state is right within ten
seconds, no process is left, nothing is lost or half, and the run can be resumed to its end.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

import fake_runs  # noqa: E402
from faults import wholeness  # noqa: E402
from faults.small_disk import SmallDisk, small_disk  # noqa: E402

from rewardfl_app.config.schema import Config  # noqa: E402
from rewardfl_app.runs import checkpoints, pulse  # noqa: E402
from rewardfl_app.runs.events import read_events  # noqa: E402
from rewardfl_app.runs.folder import RunFolder  # noqa: E402
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic  # noqa: E402
from rewardfl_app.runs.registry import list_runs  # noqa: E402
from rewardfl_app.supervisor import command, process, supervisor  # noqa: E402

STEPS = 16
STATE_SECONDS = 10.0  # within which the state must be right
END_SECONDS = 120.0  # which only what hangs reaches
ACTIVE = {"starting", "loading", "training", "evaluating", "saving", "stopping"}
FINISHED = ("completed", "stopped", "failed", "lost")
KEEPER = (
    "import sys, threading; from pathlib import Path; from rewardfl_app.supervisor import reconcile; "
    "reconcile.KEEP_SECONDS = 0.5; reconcile.keep(Path(sys.argv[1]), threading.Event())"
)


class App:
    """The part of the app that looks after the runs, in a process of its own that can be killed."""

    def __init__(self, runs_dir: Path) -> None:
        self._runs_dir = runs_dir
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, number: int = 1) -> None:
        for _ in range(number):
            argv = [sys.executable, "-c", KEEPER, str(self._runs_dir)]
            quiet = subprocess.DEVNULL
            self._processes.append(subprocess.Popen(argv, env=command.package_environment(), stderr=quiet))

    def kill(self) -> None:
        for app in self._processes:
            app.kill()
            app.wait()
        self._processes.clear()


@dataclass
class Case:
    """One run and what is done to it. `log` is told what was seen, for the message of a failure."""

    config: Config
    runs_dir: Path
    app: App
    chance: random.Random
    disk: SmallDisk | None = None
    log: list[str] = field(default_factory=list)
    _run: RunFolder | None = None

    @property
    def run(self) -> RunFolder:
        assert self._run is not None
        return self._run

    def start(self, num_processes: int = 1, disk_wait_minutes: float = 1.0, timeout_minutes: float = 30.0) -> None:
        deepspeed = {"num_processes": num_processes, "share_devices": True, "timeout_minutes": timeout_minutes}
        train = {"max_steps": STEPS, "train_batch_size": num_processes, "disk_wait_minutes": disk_wait_minutes}
        config = self.config.model_copy(
            update={
                "deepspeed": self.config.deepspeed.model_copy(update=deepspeed),
                "train": self.config.train.model_copy(update=train),
            }
        )
        self._run = supervisor.start(config, self.runs_dir)

    def some_time(self, first: int = 0) -> None:
        """Until a random step, or the moments before the first; then a little more."""
        step = self.chance.randint(first, STEPS)
        self.until(lambda: len(wholeness.ledger(self.run)) >= step or self.state in FINISHED, END_SECONDS)
        time.sleep(self.chance.uniform(0.0, 0.03))
        self.log.append(f"at step {len(wholeness.ledger(self.run))} of at least {step}")

    @property
    def state(self) -> str:
        return supervisor.state(self.run).state

    def expect(self, *words: str, seconds: float = STATE_SECONDS) -> str:
        """The state is one of these within the time; returns it."""
        self.until(lambda: self.state in words, seconds)
        now = supervisor.state(self.run)
        self.log.append(f"{now.state}: {now.message}")
        assert now.state in words, f"{self.run.path}: {now} is not one of {words}; {self.log}"
        return now.state

    def expect_end(self, *words: str) -> str:
        """It ends in one of these states, with its account written and no process left."""
        found = self.expect(*words, seconds=END_SECONDS)
        self.until(lambda: not wholeness.processes_of(self.run), STATE_SECONDS)
        left = wholeness.processes_of(self.run)
        assert not left, f"{self.run.path}: {left} is left behind; {self.log}"
        # Of one whose starter was killed before it said anything, nothing is to be written down.
        told = (self.run.exit, self.run.process)
        self.until(lambda: told[0].exists() or not told[1].exists(), END_SECONDS)
        assert self.run.exit.exists() or not self.run.process.exists(), self.log
        wholeness.check(self.run)
        return found

    def to_completion(self) -> None:
        """Resumed where it is needed, it makes all its steps."""
        if self.state in ("failed", "lost", "stopped"):
            self.until(lambda: not wholeness.processes_of(self.run), STATE_SECONDS)
            wholeness.check(self.run)
            supervisor.resume(self.run)
        self.expect_end("completed")
        wholeness.check_complete(self.run, STEPS)

    @property
    def cause(self) -> str:
        """The cause in the account of a run that has ended."""
        return str((supervisor.state(self.run).exit or {}).get("cause"))

    @property
    def record(self) -> dict[str, object]:
        return read_json(self.run.process) or {}

    def ranks(self) -> list[int]:
        """The processes that train."""
        self.until(lambda: pulse.read(self.run) or self.state in FINISHED, END_SECONDS)
        return [int(rank.record["pid"]) for rank in pulse.read(self.run)]

    def members(self) -> list[int]:
        return process.members(self.record)

    def kill_all(self) -> None:
        """Whatever was started for the run, as a power cut does."""
        while pids := self.members():
            send(pids, signal.SIGKILL)
            time.sleep(0.002)

    @staticmethod
    def until(condition: Callable[[], object], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.005)


def send(pids: list[int], number: signal.Signals) -> None:
    process.send(pids, number)


@contextmanager
def app_away(case: Case) -> Iterator[None]:
    """In half of the cases the app is killed before what is done inside, and comes back after it."""
    away = case.chance.random() < 0.5
    if away:
        case.app.kill()
    yield
    if away:
        case.app.start()
        case.log.append("the app came back")


def kill_trainer(case: Case) -> None:
    case.start()
    case.some_time()
    with app_away(case):
        send(case.ranks(), signal.SIGKILL)
    if case.expect_end("failed", "completed") == "failed":
        assert case.cause == "killed_by_signal", case.log
    case.to_completion()


def kill_one_rank(case: Case) -> None:
    case.start(num_processes=2)
    case.some_time(first=1)
    case.until(lambda: len(case.ranks()) == 2 or case.state in FINISHED, END_SECONDS)
    victim = case.chance.randrange(2)
    with app_away(case):
        send([int(rank.record["pid"]) for rank in pulse.read(case.run) if rank.number == victim], signal.SIGKILL)
    if case.expect_end("failed", "completed") == "failed":
        told = supervisor.state(case.run).message
        # One that dies before it could be followed may have been collected together with the others.
        assert f"Process {victim} of 2" in told or "One of the 2 processes" in told, told
        assert "SIGKILL" in told, told
    case.to_completion()


def stop_one_rank(case: Case) -> None:
    case.start(num_processes=2, timeout_minutes=0.06)
    case.some_time(first=1)
    pids = {rank.number: int(rank.record["pid"]) for rank in pulse.read(case.run)}
    send([pids[1]] if 1 in pids else [], signal.SIGSTOP)
    send([pids[0]] if 0 in pids and case.chance.random() < 0.5 else [], signal.SIGCONT)
    found = case.expect_end("failed", "completed")
    if found == "failed":
        told = supervisor.state(case.run).message
        assert "Process 1 of 2" in told and "no sign of life" in told, told
    case.to_completion()


def kill_wrapper(case: Case) -> None:
    case.start()
    case.some_time()
    with app_away(case):
        send([int(str(case.record["pid"]))], signal.SIGKILL)
    case.expect(*ACTIVE, "completed", "lost")
    case.expect_end("completed", "lost")
    case.to_completion()


def kill_wrapper_and_stop(case: Case) -> None:
    case.start()
    case.some_time()
    send([int(str(case.record["pid"]))], signal.SIGKILL)
    with suppress(supervisor.NotRunning):
        supervisor.stop(case.run, now=case.chance.random() < 0.5)
    case.expect_end("stopped", "completed", "lost")
    case.to_completion()


def kill_everything(case: Case) -> None:
    case.start()
    case.some_time()
    with app_away(case):
        case.kill_all()
    case.expect_end("lost", "completed", "failed")
    case.to_completion()


def stop_trainer(case: Case) -> None:
    case.start()
    case.some_time()
    pids = case.ranks()
    with app_away(case):
        send(pids, signal.SIGSTOP)
    found = case.expect("paused", "completed")
    choice = case.chance.choice(("continue", "stop", "stop now")) if found == "paused" else "continue"
    case.log.append(choice)
    if choice == "continue":
        send(pids, signal.SIGCONT)
        case.expect_end("completed")
    else:
        supervisor.stop(case.run, now=choice == "stop now")
        case.expect_end("stopped", "completed")
    case.to_completion()


def stop_wrapper(case: Case) -> None:
    case.start()
    case.some_time()
    with app_away(case):
        send([int(str(case.record["pid"]))], signal.SIGSTOP)
    case.expect_end("completed")
    case.to_completion()


def full_disk(case: Case, guarded: bool) -> None:
    assert case.disk is not None
    case.start(disk_wait_minutes=1.0 if guarded else 0.0)
    case.some_time(first=1)
    with app_away(case):
        case.disk.fill()
    found = case.expect("paused", "failed", "completed")
    if found != "completed" and guarded:
        # Between the guard's look and the write another may have taken the room: then it fails, and says so.
        assert found == "paused" or case.cause == "disk_full", case.log
    elif found != "completed":
        assert found == "failed" and case.cause == "disk_full", case.log
    wholeness.check(case.run)
    case.disk.free()
    if found == "paused":
        case.expect_end("completed")
    case.to_completion()


def full_disk_unseen(case: Case) -> None:
    full_disk(case, guarded=False)


def full_disk_guarded(case: Case) -> None:
    full_disk(case, guarded=True)


def torn_lines(case: Case) -> None:
    case.start()
    case.some_time()
    send(case.members(), signal.SIGKILL)
    case.expect("lost", "completed", "failed")
    for path in (case.run.metrics, case.run.events, case.run.control_ack):
        with open(path, "ab") as file:
            file.write(case.chance.choice((b'{"step": 99, "lo', b'{"step": 1', b"\xff\xfe\0", b"[1, 2")))
    wholeness.check(case.run)
    case.to_completion()
    read_events(case.run)


def spoilt_checkpoint(case: Case) -> None:
    case.start()
    case.some_time(first=5)
    send(case.members(), signal.SIGKILL)
    case.expect("lost", "completed", "failed")
    newest = checkpoints.latest(case.run)
    if newest is not None and case.state != "completed":
        path = newest.path / case.chance.choice(("weights", "moments", checkpoints.MARKER))
        size = path.stat().st_size
        kind = case.chance.choice(("cut", "zeros", "gone", "bit"))
        case.log.append(f"{path.name}: {kind}")
        if kind == "cut":
            os.truncate(path, case.chance.randrange(size))
        elif kind == "zeros":
            path.write_bytes(bytes(size))
        elif kind == "gone":
            path.unlink()
        else:
            spoilt = bytearray(path.read_bytes())
            spoilt[case.chance.randrange(size)] ^= 1
            path.write_bytes(spoilt)
    case.to_completion()


def deleted_sample(case: Case) -> None:
    import shutil

    case.start()
    case.some_time(first=4)
    groups = sorted(case.run.samples.iterdir())
    for group in groups and case.chance.sample(groups, 1):
        shutil.rmtree(group, ignore_errors=True)
    case.expect_end("completed", "failed")  # it fails when the sample was just being written
    case.to_completion()


def clock_jump(case: Case) -> None:
    clock = Path(os.environ["REWARDFL_TEST_CLOCK"])
    case.start()
    case.some_time()
    clock.write_text(str(case.chance.choice((-1, 1)) * 10 ** case.chance.uniform(0.5, 5.5)))
    case.expect(*ACTIVE, "completed")
    choice = case.chance.choice(("nothing", "stop", "stop now", "kill"))
    case.log.append(choice)
    with suppress(supervisor.NotRunning):
        if choice in ("stop", "stop now"):
            supervisor.stop(case.run, now=choice == "stop now")
        elif choice == "kill":
            send(case.members(), signal.SIGKILL)
    case.expect_end("stopped", "completed", "lost", "failed")
    clock.write_text(str(case.chance.uniform(-1e5, 1e5)))
    case.to_completion()


def reused_process_id(case: Case) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    try:
        case.start()
        case.some_time()
        with app_away(case):
            case.kill_all()
            write_json_atomic(case.run.process, {**case.record, "pid": stranger.pid})
        case.expect("lost", "completed", "failed")
        case.to_completion()
        assert stranger.poll() is None, "a process that has nothing to do with the run was ended"
    finally:
        stranger.kill()
        stranger.wait()


def two_apps(case: Case) -> None:
    """One of them, and only one, takes the place of the watch that was killed."""
    case.app.start(2)
    case.start()
    case.some_time()
    send([int(str(case.record["pid"]))], signal.SIGKILL)
    case.expect_end("completed", "lost")
    adopted = [event for event in read_events(case.run) if event["kind"] == "adopted"]
    assert len(adopted) <= 1, adopted
    case.to_completion()


def killed_while_starting(case: Case) -> None:
    """Whoever starts a run is killed at any moment of it."""
    code = (
        "import sys; from pathlib import Path; from rewardfl_app.config import files; "
        "from rewardfl_app.supervisor import supervisor; config = files.load(Path(sys.argv[1])); print(flush=True); "
        "supervisor.start(config, Path(sys.argv[2]))"
    )
    from rewardfl_app.config import files

    train = case.config.train.model_copy(update={"max_steps": STEPS})
    deepspeed = case.config.deepspeed.model_copy(update={"share_devices": True})
    path = case.runs_dir.parent / f"config-{case.chance.random()}.yaml"
    files.dump(case.config.model_copy(update={"train": train, "deepspeed": deepspeed}), path)
    before = {run.id for run in list_runs(case.runs_dir)}
    argv = [sys.executable, "-c", code, str(path), str(case.runs_dir)]
    starter = subprocess.Popen(argv, env=command.package_environment(), stdout=subprocess.PIPE)
    assert starter.stdout
    starter.stdout.readline()
    time.sleep(case.chance.uniform(0.0, 0.4))
    starter.kill()
    starter.communicate()
    made = [run for run in list_runs(case.runs_dir) if run.id not in before]
    case.log.append(f"{len(made)} made")
    for run in made:
        case._run = run
        case.expect_end("completed", "lost")
        if run.config.is_file():
            case.to_completion()


FAULTS: tuple[Callable[[Case], None], ...] = (
    kill_trainer,
    kill_one_rank,
    stop_one_rank,
    kill_wrapper,
    kill_wrapper_and_stop,
    kill_everything,
    stop_trainer,
    stop_wrapper,
    full_disk_unseen,
    full_disk_guarded,
    torn_lines,
    spoilt_checkpoint,
    deleted_sample,
    clock_jump,
    reused_process_id,
    two_apps,
    killed_while_starting,
)


class Campaign:
    """Cases one after the other in one runs folder; several campaigns side by side share a machine, not a folder."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._config = fake_runs.config(folder / "files")
        self.done: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def run(self, numbers: range) -> None:
        """The cases of these numbers; the fault of a case follows from its number, its moments from the seed, too."""
        with ExitStack() as stack:
            for number in numbers:
                fault = FAULTS[number % len(FAULTS)]
                needs_disk = fault in (full_disk_unseen, full_disk_guarded)
                place = self._folder / (f"disk-{number}" if needs_disk else "runs")
                disk = stack.enter_context(small_disk(place, 4)) if needs_disk else None
                if needs_disk and disk is None:
                    self.skipped[fault.__name__] += 1
                    continue
                app = App(place)
                case = Case(self._config, place, app, random.Random(f"{self._seed} {number}"), disk)
                place.mkdir(exist_ok=True)
                app.start()
                try:
                    fault(case)
                except BaseException as error:
                    error.add_note(f"case {number} ({fault.__name__}, seed {self._seed}): {case.log}")
                    raise
                finally:
                    app.kill()
                    if case._run is not None:
                        process.end_session(case.record, 0.0)
                self.done[fault.__name__] += 1


def prepare(folder: Path) -> dict[str, str]:
    """The environment in which the stand-in takes the trainer's place and clocks can be set."""
    clock = folder / "clock"
    clock.write_text("0")
    stand_in = shlex.join([sys.executable, str(TESTS / "faults" / "stand_in.py")])
    paths = [str(TESTS / "faults" / "clock"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        command.TRAINER_VARIABLE: stand_in,
        "REWARDFL_TEST_CLOCK": str(clock),
        "REWARDFL_STATE_DIR": str(folder / "state"),
        "PYTHONPATH": os.pathsep.join(paths),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Faults at random moments.")
    parser.add_argument("--count", type=int, default=220)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side-by-side", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.update(prepare(folder))
        campaigns = [Campaign(folder / f"campaign-{n}", options.seed) for n in range(options.side_by_side)]
        started = time.monotonic()
        with ThreadPoolExecutor(len(campaigns)) as threads:
            jobs = [
                threads.submit(campaign.run, range(place, options.count, len(campaigns)))
                for place, campaign in enumerate(campaigns)
            ]
            errors = [error for job in jobs if (error := job.exception())]
        done = sum((campaign.done for campaign in campaigns), Counter())
        for fault, count in sorted(done.items()):
            print(f"{count:4d}  {fault.replace('_', ' ')}")
        for fault, count in sum((campaign.skipped for campaign in campaigns), Counter()).items():
            print(f"{count:4d}  {fault} skipped: no file system can be mounted here")
        print(f"{done.total()} faults in {time.monotonic() - started:.0f} s, {len(errors)} failed")
        for error in errors:
            import traceback

            traceback.print_exception(error)
        return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
