"""Following a run in the terminal: a line per step and per evaluation, and one paragraph at the end."""

from __future__ import annotations

import time
from typing import Any

import typer

from rewardfl_app.runs import alarm, best
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.metrics import MetricsReader, current, is_evaluation, read_all
from rewardfl_app.supervisor import exit_report, supervisor
from rewardfl_app.supervisor.supervisor import NotRunning, RunState

_POLL_SECONDS = 0.3
_MEASURES = (("reward", 3, ""), ("judge", 3, ""), ("motion", 2, "%"))


def follow(run: RunFolder) -> int:
    """Print what happens from the start of this attempt until the run has ended, and return the exit code.

    The first Ctrl-C asks the run to save and stop, the second to stop at once; both times it is waited for.
    """
    reader = MetricsReader(run.metrics)
    since = float((read_json(run.process) or {}).get("started") or 0.0)
    message, num_interrupts = "", 0
    while True:
        try:
            state = supervisor.state(run)
            for record in reader.read_new():
                if (record.get("time") or since) < since:
                    continue  # of an earlier attempt
                typer.echo(evaluation_line(record) if is_evaluation(record) else step_line(record, state))
            if state.exit is not None:
                return finish(run, state)
            if state.message != message and state.state not in ("training", "stopping"):
                message = state.message
                typer.echo(f"{state.state}: {message}" if message else state.state)
            time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            num_interrupts += 1
            _ask_to_stop(run, now=num_interrupts > 1)


def finish(run: RunFolder, state: RunState) -> int:
    """Print how the run ended and return the exit code."""
    ended = state.exit or {}
    cause = str(ended.get("cause"))
    if cause in exit_report.GOOD_CAUSES:
        typer.echo("")
        typer.echo(summary(run, str(ended.get("sentence") or "")))
        return 0
    typer.echo(f"error: {ended.get('sentence')} {ended.get('next_step')} (log: {run.log})", err=True)
    return 2 if cause in exit_report.INPUT_CAUSES else 1


def summary(run: RunFolder, sentence: str) -> str:
    """One paragraph: how the run ended, what changed on the evaluation videos, and what to look at next."""
    evaluations = [record for record in current(read_all(run.metrics)) if is_evaluation(record)]
    changes = []
    for name, digits, unit in _MEASURES if evaluations else ():
        before, after = _baseline(evaluations[-1], name, evaluations[0]), evaluations[-1].get(f"eval/{name}")
        if before is not None and after is not None and evaluations[-1].get("step"):
            kept = f", {after / before:.0%} kept" if name == "motion" and before > 0 else ""
            change = f"{after - before:+.{digits}f}{unit}{kept}"
            changes.append(f"{name} from {before:.{digits}f}{unit} to {after:.{digits}f}{unit} ({change})")
    measured = f" On the evaluation videos: {', '.join(changes)}." if changes else ""
    advice = (
        f" See them before and after with `python -m rewardfl_app compare {run.path} --out DIR`." if changes else ""
    )
    raised, chosen = alarm.current(evaluations), best.read(run)
    warning = f" {raised.sentence}" if raised is not None else ""
    if chosen is not None and chosen.step != evaluations[-1].get("step"):
        warning += f" The best step is {chosen.step} (`--checkpoint best`)."
    return f"Run {run.id}: {sentence}{measured}{warning}{advice}"


def step_line(record: dict[str, Any], state: RunState) -> str:
    """One training step: its number, the values that were measured, and the time left."""
    parts = [f"step {record.get('step')}/{state.total}" if state.total else f"step {record.get('step')}"]
    parts += [f"{name} {_short(record[name])}" for name in ("reward", "loss", "kl") if record.get(name) is not None]
    if state.seconds_left is not None:
        parts.append(f"{_duration(state.seconds_left)} left")
    return "  ".join(parts)


def evaluation_line(record: dict[str, Any]) -> str:
    """One evaluation: reward, judge and motion, each with its change from the base model, and whether it alarms."""
    step = record.get("step")
    parts = ["baseline" if step == 0 else f"evaluation after step {step}"]
    for name, digits, unit in _MEASURES:
        value, before = record.get(f"eval/{name}"), _baseline(record, name)
        if value is not None:
            change = f" ({value - before:+.{digits}f}{unit})" if step and before is not None else ""
            parts.append(f"{name} {value:.{digits}f}{unit}{change}")
    if record.get("eval/alarm"):
        parts.append("alarm")
    if len(parts) == 1:
        parts.append("no face was found in the videos")
    return "  ".join(parts)


def _baseline(record: dict[str, Any], name: str, first: dict[str, Any] | None = None) -> float | None:
    """The base model's value beside an evaluation, else that of the first evaluation if it is the baseline's."""
    value = record.get(f"eval/{name}_baseline")
    if value is None and first is not None and first.get("step") == 0:
        value = first.get(f"eval/{name}")
    return value


def _ask_to_stop(run: RunFolder, now: bool) -> None:
    try:
        supervisor.stop(run, now)
    except NotRunning:
        return
    typer.echo(
        "stopping at once" if now else "finishing the step and saving; Ctrl-C again stops without saving", err=True
    )


def _short(value: float) -> str:
    return f"{value:.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
