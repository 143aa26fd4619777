"""samples/: rendered videos, each with the faces found in it.

samples/baseline/NAME/ is the base model, samples/step_000010/NAME/ the model after step 10, samples/reference/NAME/ the
real clip. Each folder holds video.mp4 and faces.json; faces.json is written last, so a folder that has it is complete.
Beside the folders of a step, values.json has what was measured on all of its videos (see `video_values`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic

BASELINE_STEP = 0
REFERENCES = "reference"
_STEP_FOLDER = re.compile(r"step_(\d+)")


@dataclass(frozen=True)
class Sample:
    """One video and its faces. `step` is 0 for the base model and None for the real clip."""

    step: int | None
    name: str
    folder: Path

    @property
    def video(self) -> Path:
        """The video, H.264 in mp4."""
        return self.folder / "video.mp4"

    @property
    def faces(self) -> Path:
        """The faces of each frame and what was measured on them."""
        return self.folder / "faces.json"

    def load_faces(self) -> dict[str, Any]:
        """Content of faces.json; {} when it cannot be read."""
        return read_json(self.faces) or {}


def sample_folder(folder: RunFolder, step: int, name: str) -> Path:
    """Make and return the folder of the video NAME after `step` updates (0: the base model)."""
    return _make(step_folder(folder, step), name)


def step_folder(folder: RunFolder, step: int) -> Path:
    """Where the videos after `step` updates are (0: the base model)."""
    return folder.samples / ("baseline" if step == BASELINE_STEP else f"step_{step:06d}")


def values_file(folder: RunFolder, step: int) -> Path:
    """What was measured on all videos after `step` updates."""
    return step_folder(folder, step) / "values.json"


def reference_folder(folder: RunFolder, name: str) -> Path:
    """Make and return the folder of the real clip that the samples of this name are compared with."""
    return _make(folder.samples / REFERENCES, name)


def write_faces(sample: Path, faces: Mapping[str, Any]) -> None:
    """Write faces.json into a sample's folder, which completes it; the video must be there already."""
    write_json_atomic(sample / "faces.json", faces)


def list_samples(folder: RunFolder) -> dict[int, list[Sample]]:
    """Complete samples by step, steps ascending, names sorted; step 0 is the base model."""
    found: dict[int, list[Sample]] = {}
    for group in _subfolders(folder.samples):
        step = step_of(group.name)
        if step is not None and (samples := _complete(group, step)):
            found[step] = samples
    return dict(sorted(found.items()))


def list_steps(folder: RunFolder) -> list[int]:
    """The steps with a complete sample, ascending; no more of each is looked at than one."""
    found = []
    for group in _subfolders(folder.samples):
        step = step_of(group.name)
        if step is not None and any((path / "faces.json").is_file() for path in _subfolders(group)):
            found.append(step)
    return sorted(found)


def samples_of(folder: RunFolder, step: int) -> list[Sample]:
    """The complete samples of one step, names sorted."""
    return _complete(step_folder(folder, step), step)


def step_of(group: str) -> int | None:
    """The step whose samples lie in the folder of this name; None for other folders."""
    if group == "baseline":
        return BASELINE_STEP
    match = _STEP_FOLDER.fullmatch(group)
    return int(match.group(1)) if match else None


def list_references(folder: RunFolder) -> dict[str, Sample]:
    """The complete real clips, by name."""
    return {sample.name: sample for sample in _complete(folder.samples / REFERENCES, None)}


def _make(group: Path, name: str) -> Path:
    if not name or name.startswith(".") or "/" in name or "\\" in name:
        raise ValueError(f"not a sample name: {name!r}")
    path = group / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def _complete(group: Path, step: int | None) -> list[Sample]:
    samples = [Sample(step, path.name, path) for path in _subfolders(group)]
    return [sample for sample in samples if sample.faces.is_file()]


def _subfolders(path: Path) -> list[Path]:
    try:
        return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
    except OSError:
        return []
