"""The faces of a real clip as tensors and JSON, and back, without losing a bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rewardfl_app.rendering.scoring import ClipReference
from rewardfl_app.rewards.judge import JudgeReference
from rewardfl_app.rewards.protocol import RewardedClip
from rewardfl_app.rewards.reference import Person, Reference

if TYPE_CHECKING:
    from rewardfl_app.data.manifest import Row
    from rewardfl_app.rendering.store import Stored


def record(known: ClipReference) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON that `restored` makes the same reference from."""
    tensors: dict[str, Tensor] = {}
    for number, person in enumerate(known.reward.people):
        tensors[f"pool.{number}"] = person.pool
        if person.first is not None:
            tensors[f"first.{number}"] = person.first
    if known.judge is not None:
        tensors.update({f"judge.{number}": pool for number, pool in enumerate(known.judge.pools)})
    if known.clip is not None:
        tensors["first_frame"] = known.clip.first_frame
    about = {
        "visible": [sorted(person.visible) for person in known.reward.people],
        "num_frames": known.reward.num_frames,
        "faces": known.reward.faces,
        "tracks": known.reward.tracks,
        "judged": known.judge is not None,
        "devices": {name: tensor.device.type for name, tensor in tensors.items()},
    }
    return tensors, about


def restored(stored: Stored, row: Row, device: torch.device) -> ClipReference:
    """The reference of a row that `record` was made from; what was on a device is on `device`."""
    about = stored.meta
    at = {"cpu": torch.device("cpu")}
    tensors = {name: tensor.to(at.get(about["devices"][name], device)) for name, tensor in stored.tensors.items()}
    people = [
        Person(tensors[f"pool.{number}"], tensors.get(f"first.{number}"), frozenset(visible))
        for number, visible in enumerate(about["visible"])
    ]
    pools = [tensors[f"judge.{number}"] for number in range(len(people))] if about["judged"] else None
    frame = tensors.get("first_frame")
    return ClipReference(
        Reference(people, about["num_frames"], about["faces"], about["tracks"]),
        None if pools is None else JudgeReference(pools),
        None if frame is None else RewardedClip(row.prompt, frame, row.video),
    )
