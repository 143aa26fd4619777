"""What the Runs page shows of an opened run: notes, origin, checkpoints and what can be had of them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardfl_app.config import family
from rewardfl_app.config.plain_file import open_plain
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.runs import archive, best
from rewardfl_app.runs import changes as run_changes
from rewardfl_app.runs.checkpoints import Checkpoint, list_checkpoints
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.jsontext import parse
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.runs.samples import list_steps
from rewardfl_app.supervisor import supervisor
from rewardfl_app.supervisor.supervisor import state
from rewardfl_app.ui import run_exports
from rewardfl_app.ui.difference import difference, name_of
from rewardfl_app.ui.media import served_file

_LARGEST_HEADER = 64 * 2**20
NO_BEST = (
    "No step is the best by the rule yet: it needs an evaluation after training in which the identity is up, at least "
    "95% of the motion is left and there is no alarm."
)


def details(run: RunFolder, runs_dir: Path) -> dict[str, Any]:
    """Everything about a run that its row leaves out."""
    info = read_json(run.run_info) or {}
    now = state(run)
    runs = {other.id: other for other in list_runs(runs_dir)}
    parent = runs.get(str(info.get("parent"))) if info.get("parent") else None
    chosen, samples = best.read(run), list_steps(run)
    ended, experts = now.exit or {}, _experts(run)
    return {
        "run": run.id,
        "path": str(run.path),
        "name": name_of(run),
        "notes": str(info.get("notes") or ""),
        "tags": [str(tag) for tag in tags] if isinstance(tags := info.get("tags"), list) else [],
        "parent": {"id": parent.id, "name": name_of(parent)} if parent else None,
        "parent_gone": str(info["parent"]) if info.get("parent") and parent is None else None,
        "from_parent": difference([parent, run])["rows"] if parent else [],
        "changes": [change.sentence for change in run_changes.read(run)],
        "bytes": archive.num_bytes(run),
        "can_compare": any(step > 0 for step in samples),
        "checkpoints": [
            _checkpoint(saved, chosen, saved.step in samples, experts, runs_dir)
            for saved in reversed(list_checkpoints(run))
        ],
        "formats": run_exports.formats(run),
        "best": {"step": chosen.step, "why": chosen.why} if chosen else None,
        "no_best": "" if chosen else NO_BEST,
        "exit": {key: str(ended.get(key) or "") for key in ("cause", "sentence", "next_step")} if ended else None,
        "state": now.state,
        "finished": now.is_finished,
        "can_resume": now.state in {"stopped", "failed", "lost"} and run.config.is_file(),
        "has_settings": run.config.is_file(),
    }


def _experts(run: RunFolder) -> dict[str, str]:
    """What the file of each expert is called; nothing where the model has one network, or is not known."""
    try:
        kind = family.of(supervisor.settings(run).model)
    except (ConfigError, RunError, OSError):
        return {}
    return {"high_noise": "high noise", "low_noise": "low noise"} if kind.is_mixture else {}


def _checkpoint(
    saved: Checkpoint, chosen: best.Best | None, has_videos: bool, experts: Mapping[str, str], runs_dir: Path
) -> dict[str, Any]:
    files = [path for path in sorted(saved.path.iterdir()) if path.is_file()]
    return {
        "step": saved.step,
        "bytes": sum(path.stat().st_size for path in files),
        "has_videos": has_videos,
        "best": chosen is not None and chosen.step == saved.step,
        "files": [_weights(path, experts, runs_dir) for path in files if _is_weights(path)],
    }


def _is_weights(path: Path) -> bool:
    """Whether it is what a checkpoint is used by: one file per trained expert (see `training.checkpointing`)."""
    return path.name in {"high_noise.safetensors", "low_noise.safetensors"}


def _weights(path: Path, experts: Mapping[str, str], runs_dir: Path) -> dict[str, Any]:
    is_lora = "lora_adapter_metadata" in _metadata(path)
    return {
        "expert": experts.get(path.stem, ""),
        "kind": "LoRA" if is_lora else "weights",
        "bytes": path.stat().st_size,
        "path": served_file(path, runs_dir),
    }


def _metadata(path: Path) -> dict[str, Any]:
    """The metadata of a safetensors file, from its header alone; {} when it is none."""
    try:
        with open_plain(path) as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = parse(file.read(size)) if size <= _LARGEST_HEADER else {}
    except (OSError, ValueError, struct.error):
        return {}
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else {}
