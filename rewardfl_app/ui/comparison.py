"""Two models over the same evaluation videos: which pairs can be compared, their values, what the changes say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from rewardfl_app.data.errors import DataError
from rewardfl_app.runs import best, checkpoints, video_values
from rewardfl_app.runs.change import mean_change, number
from rewardfl_app.runs.evaluations import Evaluated, EvaluationReader
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.runs.samples import BASELINE_STEP, Sample, list_references, list_steps, samples_of
from rewardfl_app.runs.video_values import MEASURES
from rewardfl_app.ui import hacking
from rewardfl_app.ui.headline import headline
from rewardfl_app.ui.media import first_frame, served_file, thumbnail

# First frames of two runs are the same picture when they differ by less than this on average, of black to white.
SAME_PICTURE = 0.05


@dataclass(frozen=True)
class Side:
    """One model with its evaluation videos: a run after `step` updates; step 0 is the base model."""

    run: RunFolder
    name: str
    step: int
    samples: dict[str, Sample]
    values: Mapping[str, video_values.VideoValues]

    @property
    def label(self) -> str:
        """The model in two words."""
        return step_label(self.step)


def step_label(step: int) -> str:
    """What the model after this many updates is called."""
    return "Base model" if step == BASELINE_STEP else f"Step {step}"


def find_run(runs_dir: Path, run_id: object) -> RunFolder | None:
    """The run of this id in the runs folder; None for everything else, whatever it names."""
    return next((run for run in list_runs(runs_dir) if run.id == run_id), None)


def side(run: RunFolder, step: int) -> Side:
    """The evaluation videos of a run after `step` updates; none where there are none."""
    found = {sample.name: sample for sample in samples_of(run, step)}
    name = str((read_json(run.run_info) or {}).get("name") or run.id)
    return Side(run, name, step, found, video_values.read(run, step) or {})


def steps(run: RunFolder) -> list[dict[str, Any]]:
    """Every model of a run that can be looked at: [{step, label, best, has_videos}], by step."""
    with_videos = set(list_steps(run))
    saved = {checkpoint.step for checkpoint in checkpoints.list_checkpoints(run)}
    chosen = best.read(run)
    return [
        {
            "step": step,
            "label": step_label(step),
            "best": chosen is not None and chosen.step == step,
            "has_videos": step in with_videos,
        }
        for step in sorted(with_videos | saved)
    ]


def compare(runs_dir: Path, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Side `a` against side `b`, both {run, step}; a step of None is the base model for `a` (the newest one of another
    run), and the newest one for `b`.

    Returns {a, b, samples, apart, mean, num_pairs, level, sentence, hacking}: `samples` are the pairs, `apart` the
    videos that cannot be compared, each with why, `mean` the paired changes with their 95% intervals. A run that is not
    there gives {"missing": ID}.
    """
    runs = {}
    for key, asked in (("a", a), ("b", b)):
        runs[key] = find_run(runs_dir, asked.get("run"))
        if runs[key] is None:
            return {"missing": str(asked.get("run"))}
    run_a, run_b = runs["a"], runs["b"]
    assert run_a is not None and run_b is not None
    steps_a, steps_b = steps(run_a), steps(run_b)
    left = side(run_a, _step(a.get("step"), steps_a, newest=run_a.id != run_b.id))
    right = side(run_b, _step(b.get("step"), steps_b, newest=True))
    references = list_references(right.run)
    rows, apart = [], []
    for name in sorted(left.samples.keys() | right.samples.keys()):
        one, other = left.samples.get(name), right.samples.get(name)
        why = _why_apart(left, right, one, other)
        if why or one is None or other is None:
            apart.append({"name": name, "why": why})
        else:
            rows.append(_pair(left, right, name, references.get(name), runs_dir))
    mean = {
        name: None if change is None else asdict(change)
        for name in MEASURES
        for change in [mean_change([row["a"][name] for row in rows], [row["b"][name] for row in rows])]
    }
    return {
        "a": _described(left, steps_a),
        "b": _described(right, steps_b),
        "samples": rows,
        "apart": apart,
        "num_pairs": len(rows),
        "mean": mean,
        **_said(left, right, rows),
    }


def pair_names(left: Side, right: Side) -> list[str]:
    """Names of the videos that both sides made of the same first frame, prompt and seed."""
    both = sorted(left.samples.keys() & right.samples.keys())
    return [name for name in both if not _why_apart(left, right, left.samples[name], right.samples[name])]


def _step(wanted: object, known: list[dict[str, Any]], newest: bool) -> int:
    found = [entry["step"] for entry in known]
    if isinstance(wanted, int) and not isinstance(wanted, bool) and wanted in found:
        return wanted
    with_videos = [entry["step"] for entry in known if entry["has_videos"]]
    return max(with_videos, default=BASELINE_STEP) if newest else BASELINE_STEP


def _described(part: Side, known: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "run": part.run.id,
        "name": part.name,
        "step": part.step,
        "label": part.label,
        "steps": known,
        "has_videos": bool(part.samples),
    }


def _why_apart(left: Side, right: Side, one: Sample | None, other: Sample | None) -> str:
    """Why two videos of the same name cannot be compared; "" when they can."""
    if one is None or other is None:
        return f"only {left.label if other is None else right.label}{_of(left, right, other is None)} has it"
    a, b = _about(one), _about(other)
    if a.get("prompt") != b.get("prompt"):
        return "the prompts differ"
    if a.get("seed") != b.get("seed"):
        return f"the seeds differ ({a.get('seed')} and {b.get('seed')})"
    if left.run.path != right.run.path and not _same_first_frame(one, other):
        return "the first frames differ"
    return ""


def _of(left: Side, right: Side, is_left: bool) -> str:
    return "" if left.run.path == right.run.path else f" of {left.name if is_left else right.name}"


def _same_first_frame(one: Sample, other: Sample) -> bool:
    pictures = [_small(str(sample.video), _modified(sample.video)) for sample in (one, other)]
    if pictures[0] is None or pictures[1] is None:
        return True  # the player says that a video cannot be played
    return bool(np.abs(pictures[0] - pictures[1]).mean() < SAME_PICTURE)


@lru_cache(maxsize=256)
def _small(path: str, modified_ns: int) -> Any:
    """The first frame of a video at 24 x 24 pixels, 0 to 1; None when it cannot be read."""
    try:
        picture = first_frame(Path(path)).convert("RGB").resize((24, 24))
    except (DataError, OSError):
        return None
    return np.asarray(picture, np.float32) / 255


def _pair(left: Side, right: Side, name: str, reference: Sample | None, runs_dir: Path) -> dict[str, Any]:
    after = right.samples[name]
    about = _about(after)
    return {
        "name": name,
        "prompt": str(about.get("prompt") or ""),
        "seed": about.get("seed") if isinstance(about.get("seed"), int) else None,
        "picture": thumbnail(after.video, 96),
        "a": _values(left, left.samples[name], runs_dir),
        "b": _values(right, after, runs_dir),
        "reference": _values(None, reference, runs_dir) if reference else None,
    }


def _values(part: Side | None, sample: Sample, runs_dir: Path) -> dict[str, Any]:
    about = _about(sample)
    known = part.values.get(sample.name) if part else None
    measured = {name: known.measures.get(name) if known else about.get(name) for name in MEASURES}
    return {
        "video": served_file(sample.video, runs_dir),
        "faces": served_file(sample.faces, runs_dir),
        "version": _modified(sample.faces) // 1_000_000,
        "fps": number(about.get("fps")),
        "num_frames": number(about.get("num_frames")),
        **{name: number(value) for name, value in measured.items()},
    }


def _about(sample: Sample) -> dict[str, Any]:
    return _faces(str(sample.faces), _modified(sample.faces))


@lru_cache(maxsize=512)
def _faces(path: str, modified_ns: int) -> dict[str, Any]:
    """faces.json without its frames, which the page loads itself for the sample that is shown."""
    content = read_json(Path(path)) or {}
    return {key: value for key, value in content.items() if key not in {"frames", "tracks"}}


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _said(left: Side, right: Side, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """level and sentence on the change, and what the reward-hacking panel shows of the run of `right`."""
    evaluations = _evaluations(right.run)
    panel = hacking.payload(evaluations, right.step) if evaluations and right.step else None
    if not rows:
        return {"level": "waiting", "sentence": "", "hacking": panel}
    if left.run.path == right.run.path and left.step == BASELINE_STEP:
        line = headline(evaluations, right.step)
        if line.step == right.step:
            return {"level": line.level, "sentence": line.sentence, "hacking": panel}
    from rewardfl_app.inference.compare import verdict  # brings PyAV: 0.2 s that the start of the app need not wait for

    changes = {
        name: mean_change([row["a"][name] for row in rows], [row["b"][name] for row in rows]) for name in MEASURES
    }
    told = verdict(changes)
    level = {"warning": "warn"}.get(told["tone"], told["tone"])
    return {"level": level, "sentence": told["sentence"], "hacking": panel}


def _evaluations(run: RunFolder) -> list[Evaluated]:
    """The evaluations of a run that stand; its training records are not parsed."""
    reader = EvaluationReader(run)
    reader.look()
    return reader.records
