"""What the Runs page can export of a run, how far an export is, and which of its files can be downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardfl_app.config import schedule
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.inference.export_target import SUFFIX, Format
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.supervisor import export_jobs, supervisor
from rewardfl_app.supervisor.export_jobs import ExportJob
from rewardfl_app.ui.media import served_file

TITLES = {
    Format.DIFFUSERS: ("LoRA for diffusers", "What was trained alone, for load_lora_weights: some megabytes."),
    Format.COMFYUI: ("LoRA for ComfyUI", "What was trained alone, under ComfyUI’s names: some megabytes."),
    Format.MERGED: (
        "Whole weights for diffusers",
        "Base model and training in one, for from_pretrained. As large as the network (28 GB of a 14B one), so they "
        "stay in the run’s folder.",
    ),
    Format.MERGED_ORIGINAL: (
        "Whole weights under Wan’s own names",
        "Base model and training in one, in place of the files that Wan published. As large as the network (28 GB of a "
        "14B one), so they stay in the run’s folder.",
    ),
}


def formats(run: RunFolder) -> list[dict[str, str]]:
    """The formats that this run can be exported in: [{id, title, text}]; none where its settings cannot be read."""
    try:
        whole = schedule.trains_all_weights(supervisor.settings(run))
    except (ConfigError, RunError, OSError):
        return []
    return [
        {"id": kind.value, "title": title, "text": text}
        for kind, (title, text) in TITLES.items()
        if not (whole and kind.is_lora)
    ]


def rows(run: RunFolder, runs_dir: Path) -> list[dict[str, Any]]:
    """The exports of a run, newest first."""
    return [_row(job, runs_dir) for job in export_jobs.list_jobs(run)]


def start(run: RunFolder, request: Mapping[str, Any]) -> dict[str, Any]:
    """Export {checkpoint: latest, best or a step, format}: {ok, said}."""
    kind = request.get("format")
    if kind not in list(Format):
        return {"ok": False, "said": "There is no such format."}
    try:
        export_jobs.start(run, str(request.get("checkpoint")), Format(kind))
    except ConfigError as error:
        return {"ok": False, "said": "The settings cannot be read: " + " ".join(str(p) for p in error.problems)}
    except (RunError, OSError) as error:
        return {"ok": False, "said": str(error)}
    return {"ok": True, "said": ""}


def remove(run: RunFolder, export: str) -> dict[str, Any]:
    """End or remove an export: {ok, said}."""
    job = export_jobs.find(run, export)
    try:
        if job is not None:
            export_jobs.remove(run, job)
    except OSError as error:
        return {"ok": False, "said": f"The export cannot be removed ({error.strerror or error})."}
    return {"ok": True, "said": ""}


def _row(job: ExportJob, runs_dir: Path) -> dict[str, Any]:
    weights_first = sorted(job.files, key=lambda path: (path.suffix != SUFFIX, path.name))
    served = [(path, served_file(path, runs_dir)) for path in weights_first]
    return {
        "id": job.id,
        "step": job.step,
        "title": TITLES[job.format][0],
        "state": job.state,
        "finished": job.is_finished,
        "done": job.done,
        "total": job.total,
        "message": job.message,
        "path": str(job.target),
        "bytes": sum(path.stat().st_size for path in job.files),
        "files": [{"name": path.name, "path": own, "bytes": path.stat().st_size} for path, own in served if own],
    }
