"""What must hold of a run folder whatever was done to its processes: nothing lost, nothing half read as whole."""

from __future__ import annotations

import json
from pathlib import Path

from faults.stand_in import content

from rewardfl_app.runs import checkpoints, metrics, samples
from rewardfl_app.runs.events import read_events
from rewardfl_app.runs.folder import RunFolder


def check(run: RunFolder) -> None:
    """Every file is whole, and every step in the ledger has its metrics."""
    for path in (run.status, run.process, run.exit, run.failure, run.run_info):
        if path.exists():
            json.loads(path.read_text())
    steps = [record["step"] for record in metrics.current(metrics.read_all(run.metrics))]
    assert steps == list(range(1, len(steps) + 1)), f"{run.path}: steps {steps}"
    lost = set(ledger(run)) - set(steps)
    assert not lost, f"{run.path}: the metrics of the steps {sorted(lost)} are lost"
    for found in checkpoints.list_checkpoints(run):
        for name in ("weights", "moments"):
            whole = (found.path / name).read_bytes() == content(found.step, name)
            assert whole or checkpoints.flaw(found.path), f"{found.path}/{name} is half and taken for whole"
    for step, group in samples.list_samples(run).items():
        for sample in group:
            assert sample.video.read_bytes() == content(step, "video"), f"{sample.video} is half"
            assert sample.load_faces()["step"] == step
    read_events(run)


def check_complete(run: RunFolder, steps: int) -> None:
    """The run made all of its steps and kept what it made."""
    check(run)
    made = [record["step"] for record in metrics.current(metrics.read_all(run.metrics))]
    assert made == list(range(1, steps + 1)), f"{run.path}: {made}"
    latest = checkpoints.latest(run)
    assert latest is not None and latest.step == steps and checkpoints.flaw(latest.path) is None
    # Those of a rank that was ended while it said who it is go at the next start; run.json has other writers, who may
    # be at it.
    mine = (path for path in run.path.rglob(".*") if path.parent != run.ranks and not path.match(".run.json.*"))
    hidden = [path for path in mine if path.suffix in (".tmp", ".part")]
    assert not hidden, f"left behind: {hidden}"
    unfinished = [path.name for path in run.checkpoints.iterdir() if path.name.startswith(("writing", "replaced"))]
    assert not unfinished, unfinished


def ledger(run: RunFolder) -> list[int]:
    """The steps whose metrics were written, as the stand-in noted them; a torn last line is none."""
    path = run.path / "ledger.txt"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [int(line) for line in lines]


def processes_of(run: RunFolder) -> dict[int, str]:
    """Every living process that was started for the run, by its command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(run.path) in command and state not in ("Z", "X"):
            found[int(entry.name)] = command
    return found
