"""Compare: the same prompt, first frame and seed before and after training, in step, with the scores of both."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.metrics import current, read_all
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.runs.samples import Sample, list_references, list_samples
from rewardfl_app.ui.charts import number
from rewardfl_app.ui.headline import headline
from rewardfl_app.ui.media import served_file, thumbnail
from rewardfl_app.ui.run_view import RunView
from rewardfl_app.ui.theme import asset

MEASURES = ("reward", "judge", "motion", "sharpness", "face_rate")


def page_payload(view: RunView | None) -> dict[str, Any]:
    """Which steps can be compared; the page asks for the pairs of a step itself."""
    if view is None:
        return {"run": None, "steps": [], "version": 0}
    steps = [step for step in view.samples if step > 0]
    # The version grows while a step's samples are still arriving, so that the page asks again.
    return {
        "run": view.run.id,
        "name": view.name,
        "steps": steps,
        "has_baseline": 0 in view.samples,
        "finished": view.state.is_finished,
        "version": sum(len(group) for group in view.samples.values()),
    }


def pairs(runs_dir: Path, run_id: str, step: int | None) -> dict[str, Any]:
    """Before and after of one step: files, prompts, scores with deltas, means and the headline.

    Args:
        step: None is the newest. Samples that exist on one side only are left out.
    """
    run = next((found for found in list_runs(runs_dir) if found.id == run_id), None)
    nothing: dict[str, Any] = {"run": run_id, "step": None, "samples": [], "means": {}}
    if run is None:
        return nothing
    groups = list_samples(run)
    steps = [found for found in groups if found > 0]
    if not steps:
        return nothing
    chosen = step if step in steps else steps[-1]
    before = {sample.name: sample for sample in groups.get(0, ())}
    references = list_references(run)
    rows = [
        _pair(before[sample.name], sample, references.get(sample.name), runs_dir)
        for sample in groups[chosen]
        if sample.name in before
    ]
    line = headline(current(read_all(run.metrics)), chosen)
    return {
        "run": run_id,
        "step": chosen,
        "samples": rows,
        "means": means(rows),
        "level": line.level if line.step == chosen else "waiting",
        "sentence": line.sentence if line.step == chosen else "",
    }


def _pair(before: Sample, after: Sample, reference: Sample | None, runs_dir: Path) -> dict[str, Any]:
    side = _side(after, runs_dir)
    return {
        "name": after.name,
        "prompt": side["prompt"],
        "seed": side["seed"],
        "picture": thumbnail(after.video, 96),
        "before": _side(before, runs_dir),
        "after": side,
        "reference": _side(reference, runs_dir) if reference else None,
    }


def _side(sample: Sample, runs_dir: Path) -> dict[str, Any]:
    content = _faces(str(sample.faces), sample.faces.stat().st_mtime_ns)
    return {
        "video": served_file(sample.video, runs_dir),
        "faces": served_file(sample.faces, runs_dir),
        "prompt": str(content.get("prompt") or ""),
        "seed": content.get("seed") if isinstance(content.get("seed"), int) else None,
        "fps": number(content.get("fps")),
        "num_frames": number(content.get("num_frames")),
        **{name: number(content.get(name)) for name in MEASURES},
    }


@lru_cache(maxsize=4096)
def _faces(path: str, modified_ns: int) -> dict[str, Any]:
    """faces.json without its frames, which the page loads itself for the sample that is shown."""
    content = read_json(Path(path)) or {}
    return {key: value for key, value in content.items() if key not in {"frames", "tracks"}}


def means(rows: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """{measure: {before, after}} over the samples where both sides have the measure; None where no sample has."""
    result: dict[str, dict[str, float | None]] = {}
    for name in MEASURES:
        both = [
            (row["before"][name], row["after"][name])
            for row in rows
            if row["before"][name] is not None and row["after"][name] is not None
        ]
        result[name] = {
            "before": sum(pair[0] for pair in both) / len(both) if both else None,
            "after": sum(pair[1] for pair in both) / len(both) if both else None,
        }
    return result


def build(runs_dir: Path) -> gr.HTML:
    """The page is one component; it asks `load_pairs` for the samples of a step."""

    def load_pairs(request: dict[str, Any]) -> dict[str, Any]:
        step = request.get("step")
        return pairs(runs_dir, str(request.get("run")), step if isinstance(step, int) else None)

    return gr.HTML(
        value={"run": None, "steps": [], "version": 0, "loading": True},
        html_template=asset("compare.html"),
        js_on_load=asset("compare.js"),
        apply_default_css=False,
        elem_id="compare",
        server_functions=[load_pairs],
    )
