"""A run as one holds it in a cell. All of it is read from the run folder, so any number of processes may look at it."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from rewardfl_app.api.table import Table
from rewardfl_app.config.schema import Config
from rewardfl_app.inference.export_target import ExportError, Format
from rewardfl_app.runs import alarm, best, changes, checkpoints
from rewardfl_app.runs.alarm import Alarm
from rewardfl_app.runs.best import Best
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.jsonlines import Record
from rewardfl_app.runs.metrics import MetricsReader, current, is_evaluation, read_all
from rewardfl_app.runs.samples import Sample, list_samples
from rewardfl_app.supervisor import export_jobs, supervisor
from rewardfl_app.supervisor.run_state import RunState

_POLL_SECONDS = 0.3
_TAIL_BYTES = 64_000


class Run:
    """One training run. It goes on by itself, whatever becomes of the process that started or looks at it."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    @property
    def id(self) -> str:
        """What the run is called on the command line."""
        return self.folder.id

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def name(self) -> str:
        """What people call it."""
        return str((read_json(self.folder.run_info) or {}).get("name") or self.id)

    @property
    def state(self) -> RunState:
        """State, step, total, message, seconds left; checked against the run's process."""
        return supervisor.state(self.folder)

    @property
    def settings(self) -> Config:
        """The configuration as it is now, changes since the start included. Raises ConfigError."""
        return supervisor.settings(self.folder)

    @property
    def changes(self) -> Table:
        """What was changed since the start: the update from which it holds, the setting, its value before and after."""
        found = changes.read(self.folder)
        return Table(
            {"step": each.step, "setting": each.field, "before": each.before, "after": each.after} for each in found
        )

    @property
    def records(self) -> list[Record]:
        """A dict for every update (step, time, reward, loss, kl, grad_norm, ...) and every evaluation (step,
        eval/reward, eval/judge, eval/motion, ... with the base model's values beside them), in order."""
        return current(read_all(self.folder.metrics))

    @property
    def updates(self) -> list[Record]:
        """The records of the updates alone."""
        return [record for record in self.records if not is_evaluation(record)]

    @property
    def evaluations(self) -> list[Record]:
        """The records of the evaluations alone; that of the base model first, with step 0."""
        return [record for record in self.records if is_evaluation(record)]

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one measure ("reward", "eval/judge", ...) where it was measured."""
        found = [(int(record["step"]), float(record[name])) for record in self.records if _is_number(record.get(name))]
        return [step for step, _ in found], [value for _, value in found]

    @property
    def samples(self) -> dict[int, list[Sample]]:
        """The evaluation videos by step (0: of the base model): `name`, `video`, `load_faces()`."""
        return list_samples(self.folder)

    @property
    def checkpoints(self) -> list[int]:
        """The steps of the whole checkpoints."""
        return [checkpoint.step for checkpoint in checkpoints.list_checkpoints(self.folder)]

    @property
    def best(self) -> Best | None:
        """The step to use, by the judge and the motion it keeps, and why."""
        return best.read(self.folder)

    @property
    def alarm(self) -> Alarm | None:
        """What speaks against the gain at the last evaluation."""
        return alarm.current(self.evaluations)

    def log(self, lines: int = 20) -> str:
        """The end of what the trainer printed."""
        try:
            with self.folder.log.open("rb") as opened:
                opened.seek(max(self.folder.log.stat().st_size - _TAIL_BYTES, 0))
                text = opened.read().decode("utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def follow(self, poll: float = _POLL_SECONDS) -> Iterator[Record]:
        """Every record of the run, those to come as they come, until it has ended."""
        reader = MetricsReader(self.folder.metrics)
        while True:
            ended = self.state.exit is not None  # looked at first: what was written before is read below
            yield from reader.read_new()
            if ended:
                return
            time.sleep(poll)

    def wait(self) -> Run:
        """Returns when the run has ended, in whatever way: `state` tells."""
        supervisor.wait(self.folder)
        return self

    def stop(self, now: bool = False) -> str:
        """Asks it to finish its step, save and end; `now`: without saving. Returns the request's id.

        Raises NotRunning.
        """
        return supervisor.stop(self.folder, now)

    def save(self) -> str:
        """Asks for a checkpoint after this step. Raises NotRunning."""
        return supervisor.save_now(self.folder)

    def set(self, field: str, value: object) -> str:
        """Changes a live setting (`section.field`) from the next step on. Raises NotRunning, ConfigError."""
        return supervisor.set_live(self.folder, field, value)

    def resume(self, changes: Mapping[str, object] | None = None) -> Run:
        """Goes on from the last checkpoint, with other settings where they apply at resume. Raises SupervisorError,
        ConfigError."""
        supervisor.resume(self.folder, changes)
        return self

    def export(self, kind: str = "diffusers", checkpoint: int | str = "latest") -> Path:
        """Writes what a checkpoint trained for other tools and returns the folder, one in the run's `exports`.

        `kind`: diffusers, comfyui, merged or merged-original; `checkpoint`: a step, "latest" or "best". One that is
        there and not older than the checkpoint is returned as it is. Raises RunError, ConfigError.
        """
        if kind not in list(Format):
            raise ExportError(f"There is no export {kind}: choose one of {', '.join(Format)}.")
        job = export_jobs.start(self.folder, str(checkpoint), Format(kind))
        while not job.is_finished:
            time.sleep(_POLL_SECONDS)
            job = export_jobs.find(self.folder, job.id) or job
        if job.state == "failed":
            raise ExportError(job.message)
        return job.target

    def __repr__(self) -> str:
        state = self.state
        return f"Run({self.id!r}, {state.state}, step {state.step} of {state.total})"

    def _repr_html_(self) -> str:
        state = self.state
        share = 100 * state.step / state.total if state.total else 0
        left = f", about {round(state.seconds_left)} s left" if state.seconds_left else ""
        told = f"{state.state}, step {state.step} of {state.total}{left}"
        message = f"<div style='opacity:.75'>{html.escape(state.message)}</div>" if state.message else ""
        raised = self.alarm
        warning = f"<div style='color:#c2410c'>{html.escape(raised.sentence)}</div>" if raised else ""
        bar = (
            "<div style='height:6px;border-radius:3px;background:#8884;margin:6px 0'>"
            f"<div style='height:6px;border-radius:3px;background:#0d9488;width:{share:.1f}%'></div></div>"
        )
        title = f"<b>{html.escape(self.name)}</b> <code>{html.escape(self.id)}</code>"
        return f"<div style='max-width:36em'>{title}<div>{html.escape(told)}</div>{bar}{message}{warning}</div>"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
