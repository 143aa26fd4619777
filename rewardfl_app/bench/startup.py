"""How long a person waits: for the page, from Start to the first point of the reward, and to the end of the run; and
where each second goes, by what the run itself wrote down."""

from __future__ import annotations

import statistics
import tempfile
from collections import Counter
from itertools import groupby, pairwise
from pathlib import Path

from rewardfl_app.bench import app_process, trained_run
from rewardfl_app.bench.report import Mark, Progress, Report
from rewardfl_app.bench.workload import changed
from rewardfl_app.config import presets
from rewardfl_app.config.schema import Config
from rewardfl_app.runs import alarm, identity, metrics, pulse
from rewardfl_app.runs.change import number
from rewardfl_app.runs.events import read_events
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.status import Status

APP_STARTS = 3
LARGEST_IMPORTS = 8
_PAGE_SECONDS, _REWARD_SECONDS, _WHOLE_SECONDS = 5.0, 30.0, 180.0
_COLUMNS = ("share", "what", "seconds", "times")
_UPDATES = "updates"  # told apart by the records of metrics.jsonl
Moment = tuple[float, str]  # Unix time, and what begins then


def measure(config: Config, progress: Progress) -> Report:
    """The app, a run of the configuration in a new runs folder, and a second start there whose imports are counted.

    `config`: as a person gives it, not frozen. Raises CaseFailed.
    """
    report = Report("startup", _COLUMNS)
    total = config.train.max_steps + APP_STARTS + 1
    with tempfile.TemporaryDirectory(prefix="rewardfl-startup-", ignore_cleanup_errors=True) as folder:
        runs_dir = Path(folder) / "runs"
        starts = []
        for turn in range(APP_STARTS):
            progress("starting the app", turn, total)
            starts.append(app_process.start(runs_dir))
        _tell_app(report, starts)
        statuses: list[Status] = []

        def seen(status: Status) -> None:
            statuses.append(status)
            progress(status.message or status.state, APP_STARTS + status.step, total)

        run, asked = trained_run.train(config, runs_dir, seen)
        _tell_run(report, run, asked, statuses, config)
        progress("a second start, its imports counted", total - 1, total)
        short = changed(config, train={"max_steps": 1}, evaluation={"num_samples": 1})
        again, asked = trained_run.train(short, runs_dir, environment={"PYTHONPROFILEIMPORTTIME": "1"})
        _tell_imports(report, again, asked)
    return report


def _tell_app(report: Report, starts: list[app_process.Start]) -> None:
    seconds = statistics.median(start.seconds for start in starts)
    report.rows.append(
        [None, f"the app: python launch_app.py until its page answers, median of {len(starts)}", seconds, 1]
    )
    report.rows.append([None, "the app: its first start", starts[0].seconds, 1])
    report.marks.append(Mark("seconds from launch_app.py to the page, median", seconds, _PAGE_SECONDS))
    libraries = [start.num_torch for start in starts if start.num_torch is not None]
    if libraries:
        report.marks.append(Mark("files of torch in the memory of the app's process", max(libraries), 0))
    else:
        report.notes.append("What the app's process has loaded cannot be told on this system.")


def _tell_run(report: Report, run: RunFolder, asked: float, statuses: list[Status], config: Config) -> None:
    """Where the seconds of a run went, and the marks."""
    records = metrics.read_all(run.metrics)
    steps = [record for record in records if not metrics.is_evaluation(record)]
    moments = timeline(run, asked, statuses)
    whole = moments[-1][0] - asked
    times = Counter(name for name, _ in groupby(name for _, name in moments))
    spent: dict[str, float] = {}
    for (began, name), (ended, _) in pairwise(moments):
        spent[name] = spent.get(name, 0.0) + ended - began
    between = spent.pop(_UPDATES, 0.0)
    seconds = [value for record in steps if (value := number(record.get("step_seconds"))) is not None]
    if seconds:
        spent["the first update"] = seconds[0]
        spent["further updates"] = sum(seconds[1:])
        times |= {"the first update": 1, "further updates": len(seconds) - 1}
    spent["between updates"] = between - sum(seconds)
    for name, value in spent.items():
        report.rows.append([value / whole, name, value, times.get(name)])
    if len(seconds) > 1:
        report.rows.append([None, "one further update, median", statistics.median(seconds[1:]), 1])
    report.rows.append([1.0, "Start to the end of the run", whole, 1])
    first = next((record["time"] - asked for record in steps if record.get("reward") is not None), None)
    if first is not None:
        report.rows.append([first / whole, "Start to the first point of the reward", first, 1])
        report.marks.append(Mark("seconds from Start to the first point of the reward", first, _REWARD_SECONDS))
    _tell_gain(report, records, whole if config == presets.preset("pocket") else None)
    report.parameters["timeline"] = [[began - asked, name] for began, name in moments]
    report.notes.append(
        "share: of the run. Start: `python -m rewardfl_app train`, in a runs folder where nothing was computed yet; "
        "the page's Start saves the seconds in which the command itself is imported."
    )


def _tell_gain(report: Report, records: list[metrics.Record], demonstration: float | None) -> None:
    """What came of it; `demonstration`: seconds of the whole run, where it is the one that the marks are about."""
    judged = alarm.after_training(records)
    gains = {name: alarm.gain(judged[-1], name) if judged else None for name in ("reward", "judge", "motion")}
    reward, judge, motion = gains.values()
    if demonstration is not None:
        report.marks.append(Mark("seconds of the whole demonstration", demonstration, _WHOLE_SECONDS))
        low = None if judge is None else judge.low if judge.low is not None else judge.value
        lowest = float("-inf") if low is None else low
        report.marks.append(Mark("the judge's gain, lower end of its 95% interval", lowest, 0.0, at_most=False))
    if reward is not None and judge is not None:
        kept = f", motion {motion.ratio:.0%} of the base model's" if motion and motion.ratio else ""
        raised = alarm.current(records)
        report.notes.append(
            f"After {judged[-1]['step']} updates: reward {reward.value:+.3f}, judge {judge.value:+.3f}"
            f"{f' ({judge.low:+.3f} to {judge.high:+.3f})' if judge.low is not None else ''}{kept}; "
            f"{'no alarm' if raised is None else raised.sentence}"
        )


def timeline(run: RunFolder, asked: float, statuses: list[Status]) -> list[Moment]:
    """What began when, in order, from what the run wrote: process.json, ranks/, each status, the events that end an
    evaluation or a checkpoint, and exit.json, which is the last."""
    moments = [(asked, "the command: imports, settings checked, embedded clips drawn")]
    record = read_json(run.process) or {}
    moments.append((float(record.get("started") or asked), "the process that watches over the run"))
    ranks = pulse.read(run)
    if ranks and (started := identity.started_at(ranks[0].record)) is not None:
        moments.append((started, "the trainer's process: Python and imports"))
    for event in read_events(run):
        if event.get("kind") in ("baseline", "evaluation", "checkpoint"):
            moments.append((float(event["time"]), _UPDATES))
    moments += [(status.heartbeat, _name(status)) for status in statuses if status.state != "starting"]
    moments.append((run.exit.stat().st_mtime, "over"))
    return sorted(moments, key=lambda moment: moment[0])


def _name(status: Status) -> str:
    """What a status begins, in the trainer's words where it loads."""
    if status.state == "loading":
        return f"loading: {status.message.rstrip('.')}"
    if status.state == "evaluating":
        return "evaluations" if status.step else "the base model's evaluation"
    if status.is_final:
        return "the end of the processes"
    return {"training": _UPDATES, "saving": "saving"}.get(status.state, status.state)


def _tell_imports(report: Report, run: RunFolder, asked: float) -> None:
    by_package = imported(run.log.read_text(encoding="utf-8", errors="replace"))
    for package, seconds in sorted(by_package.items(), key=lambda item: -item[1])[:LARGEST_IMPORTS]:
        report.rows.append([None, f"imports of the run's processes: {package}", seconds, 1])
    first = next((r["time"] - asked for r in metrics.read_all(run.metrics) if r.get("reward") is not None), None)
    report.rows.append([None, "a second start in this folder to the first point, imports counted", first, 1])
    report.parameters["imports"] = by_package


def imported(log: str) -> dict[str, float]:
    """Seconds that each package spent in its own modules, out of what `python -X importtime` wrote."""
    found: dict[str, float] = {}
    for line in log.splitlines():
        words = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and len(words) == 3 and words[0].strip().isdigit():
            package = words[2].strip().partition(".")[0]
            found[package] = found.get(package, 0.0) + int(words[0]) / 1e6
    return found
