"""What a passport says, gathered from the files of a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rewardfl_app.config import files, presets
from rewardfl_app.config.schema import Config
from rewardfl_app.data import manifest
from rewardfl_app.data.errors import DataError
from rewardfl_app.runs import alarm, best, changes, content
from rewardfl_app.runs.alarm import Alarm, Record
from rewardfl_app.runs.best import Best
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.metrics import current, is_evaluation, read_all
from rewardfl_app.runs.status import read_status

PRESET_OF_FAMILY = {"pocket": "pocket", "wan2_2": "wan22_i2v_a14b", "wan2_2_5b": "wan22_5b_24gb"}
CODE_LICENCE = "The code of this package: Apache-2.0."
EMBEDDED_LICENCE = (
    "Generator, recogniser and judge of the pocket family ship with this package under its licence. They were trained "
    "on drawn faces; no person is in them."
)
WAN_LICENCE = (
    "The weights of Wan2.2 are published under Apache-2.0, those of a distillation such as Lightning under the licence "
    "beside them; what was trained is used together with them and on their terms."
)
FACE_LICENCE = (
    "The face packs of insightface (such as antelopev2) are given for non-commercial research only. This model was "
    "trained towards such a pack's recogniser: settle with its licence before any other use."
)
DATA_LICENCE = (
    "Whoever passes this model on must have the right to the clips it was trained on, and the consent of those in them."
)


@dataclass(frozen=True)
class Setting:
    """One setting of the run and what the preset of its family says; both as text."""

    field: str
    value: str
    preset: str

    @property
    def differs(self) -> bool:
        """Whether it was changed from the preset."""
        return self.value != self.preset


@dataclass(frozen=True)
class Facts:
    """Everything the page needs but the videos. `step`: of the evaluation it is about, None where there was none."""

    id: str
    name: str
    info: dict[str, Any]
    state: str
    steps_made: int
    step: int | None
    model: str
    preset: str | None
    settings: tuple[Setting, ...]
    yaml: str
    changes: tuple[str, ...]
    num_clips: dict[str, int]
    training: tuple[Record, ...]
    evaluations: tuple[Record, ...]
    evaluation: Record | None
    alarm: Alarm | None
    best: Best | None
    licences: tuple[str, ...]


def collect(run: RunFolder, settings: Config, step: int | None = None) -> Facts:
    """The facts about a run: `settings` as a person gave them, `step` of the evaluation (None: the best or last)."""
    records = current(read_all(run.metrics))
    evaluations = [record for record in records if is_evaluation(record)]
    alarms, chosen = alarm.history(evaluations), best.read(run)
    about = _evaluation(evaluations, step, chosen)
    status, info = read_status(run), read_json(run.run_info) or {}
    ended = read_json(run.exit) or {}
    preset = PRESET_OF_FAMILY.get(settings.model.model_name)
    at = None if about is None else int(about["step"])
    return Facts(
        id=run.id,
        name=str(info.get("name") or run.id),
        info=info,
        state=str(ended.get("sentence") or (status.message if status else "") or "It has not started."),
        steps_made=status.step if status else 0,
        step=at,
        model=settings.model.model_name,
        preset=preset,
        settings=tuple(_settings(settings, presets.preset(preset) if preset else Config())),
        yaml=yaml.safe_dump(_portable(settings), sort_keys=False, allow_unicode=True, width=10_000),
        num_clips=_num_clips(info),
        changes=tuple(change.sentence for change in changes.read(run)),
        training=tuple(record for record in records if not is_evaluation(record)),
        evaluations=tuple(evaluations),
        evaluation=about,
        alarm=alarms.get(at) if at is not None else None,
        best=chosen,
        licences=tuple(licences(settings)),
    )


def _evaluation(evaluations: Sequence[Record], step: int | None, chosen: Best | None) -> Record | None:
    trained = {record["step"]: record for record in alarm.after_training(evaluations)}
    if step is not None:
        return trained.get(step)
    if chosen is not None and chosen.step in trained:
        return trained[chosen.step]
    return trained[max(trained)] if trained else None


def _settings(settings: Config, preset: Config) -> list[Setting]:
    mine, theirs = _portable(settings), files.to_mapping(preset)
    return [
        Setting(f"{section}.{name}", _text(value), _text(theirs[section][name]))
        for section, fields in mine.items()
        for name, value in fields.items()
    ]


def _portable(settings: Config) -> dict[str, dict[str, Any]]:
    """The settings with paths cut to their last two names: a passport is given away, and where things lay is nobody's
    business."""
    return {
        section: {name: _short_path(value) for name, value in fields.items()}
        for section, fields in files.to_mapping(settings).items()
    }


def _short_path(value: Any) -> Any:
    return "/".join(Path(value).parts[-2:]) if isinstance(value, str) and os.path.isabs(value) else value


def _num_clips(info: Mapping[str, Any]) -> dict[str, int]:
    """How many clips there were to train and to evaluate on, as far as their lists are still what they were."""
    found, tables = {}, info.get("data")
    for name, purpose in (("data", "train on"), ("evaluation", "evaluate on")):
        entry = tables.get(name) if isinstance(tables, dict) else None
        if isinstance(entry, dict):
            with contextlib.suppress(DataError, OSError):
                path = Path(str(entry.get("path")))
                if content.file_digest(path) == entry.get("sha256"):
                    found[purpose] = len(manifest.read_usable(path)[0])
    return found


def _text(value: object) -> str:
    return "" if value is None else changes.spoken(value) if not isinstance(value, str) else value


def licences(settings: Config) -> list[str]:
    """The notes on whose terms the model of a run is used: `settings` as a person gave them."""
    if (
        settings.model.model_name == "pocket"
        and not settings.model.model_paths
        and not settings.reward.reward_model_path
    ):
        return [CODE_LICENCE, EMBEDDED_LICENCE]
    found = [CODE_LICENCE]
    if settings.model.model_name != "pocket":
        found.append(WAN_LICENCE)
    if settings.reward.reward_model_path:
        found.append(FACE_LICENCE)
    return [*found, DATA_LICENCE]
