"""How near each way of taking the gradient comes to the exact one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rewardfl_app.bench import smooth
from rewardfl_app.bench.report import Mark, Progress, Report
from rewardfl_app.bench.workload import Workload, changed, in_one_process
from rewardfl_app.config.schema import FACE_SIMILARITY, Config

EXACT_STEPS = 4
DRAWS = 8
_EXACT = 1e-5
_COLUMNS = ("cosine", "relative error", "length", "what", "draws", "seconds each")


# Half of float32's last digit, as a share of a number.
ROUNDING = 2.0**-24
SMOOTH = {"rewards": f"face_similarity=0,{smooth.NAME}=1"}


@dataclass(frozen=True)
class Way:
    """A way of taking the gradient. `draws`: updates that are averaged before they are compared."""

    name: str
    changes: dict[str, dict[str, Any]]
    draws: int = 1


def _sampling(**values: Any) -> dict[str, dict[str, Any]]:
    return {"sampling": values}


EXACT_WAYS = (
    Way("decoded at once", _sampling(decode_chunk=None)),
    Way("decoded 1 latent frame at a time", _sampling(decode_chunk=1)),
    Way("decoded 2 latent frames at a time", _sampling(decode_chunk=2)),
    Way("every step run again", _sampling(keep_graphs=0)),
    Way("2 steps' graphs kept", _sampling(keep_graphs=2)),
)
WAYS = (
    *EXACT_WAYS,
    Way("every 2nd frame", {"reward": {"gradient_frame_stride": 2}}),
    Way("every 2nd frame, mean", {"reward": {"gradient_frame_stride": 2}}, DRAWS),
    Way("every 4th frame", {"reward": {"gradient_frame_stride": 4}}),
    Way("every 4th frame, mean", {"reward": {"gradient_frame_stride": 4}}, 2 * DRAWS),
    Way("gradient_decay 0.5", _sampling(gradient_decay=0.5)),
    Way("gradient_decay 0 (DRTune)", _sampling(gradient_decay=0.0)),
    Way("last 2 steps", _sampling(mid_timestep=8 - 2)),
    Way("last step", _sampling(mid_timestep=8 - 1)),
    Way("random_k, mean", _sampling(gradient_mode="random_k"), DRAWS),
    Way("random_steps, 2 of them, mean", _sampling(gradient_mode="random_steps", num_gradient_steps=2), DRAWS),
    Way("draft_lv, 1 noising", _sampling(gradient_mode="draft_lv", num_renoised=1)),
    Way("draft_lv, 4 noisings", _sampling(gradient_mode="draft_lv", num_renoised=4)),
    Way("refl, mean", _sampling(gradient_mode="refl"), DRAWS),
)
MARGINS = (0.0, 0.25, 0.5, 1.0)


def measure(config: Config, progress: Progress, ways: tuple[Way, ...] = WAYS) -> Report:
    """Cosine and relative error to one graph over the last four of eight steps, decoded whole. Raises ConfigError."""
    base = changed(
        in_one_process(config),
        sampling={
            "num_inference_steps": 8,
            "mid_timestep": 8 - EXACT_STEPS,
            "final_timestep": 7,
            "gradient_mode": "last_k",
            "gradient_decay": 1.0,
            "decode_chunk": None,
            "decode_region": False,
        },
        # The divergence is the same in all of them and would only hide the difference.
        reward={"kl_weight": 0.0, "gradient_frame_stride": 1, "rewards": FACE_SIMILARITY},
    )
    rows = _Rows(progress, 3 + len(EXACT_WAYS) + len(ways) + len(MARGINS))
    rows.next("loading")
    workload = Workload(base)
    _smooth_rows(workload, base, rows)
    rows.next("one graph")
    exact = workload.plain_gradient(base)
    rows.next("one graph, x_0 rounded otherwise")
    rows.add("face: one graph, x_0 moved by float32's rounding", workload.plain_gradient(base, ROUNDING), exact)
    for way in ways:
        rows.next(way.name)
        rows.time(partial(mean_of, workload, changed(base, **way.changes), way.draws), way, exact, "face")
    _region_rows(workload, base, rows)
    report = rows.report
    report.notes.append(
        f"Against one graph (bench/straightforward.py) through the last {EXACT_STEPS} of 8 steps, of "
        f"{config.train.train_batch_size} videos, in float32. smooth: a reward without a kink, on which the exact ways "
        "must be exact. face: the face similarity, whose gradient moves with the last bits of what it is given (the "
        "row of the moved x_0 is one such rounding), so float32 cannot tell more there. face at the latents: the same "
        "for the latents of a clip with room around it, where the window is smaller than the "
        "picture. length: the gradient's norm as a share of the exact one's."
    )
    report.parameters = {"gradient_steps": EXACT_STEPS, "trained_values": exact.numel()}
    return report


def mean_of(workload: Workload, config: Config, draws: int) -> Tensor:
    """The mean of the gradients of as many updates on the same samples."""
    return torch.stack([workload.gradient(config, update) for update in range(1, draws + 1)]).mean(0)


def _smooth_rows(workload: Workload, base: Config, rows: _Rows) -> None:
    plain = changed(base, reward=SMOOTH)
    exact = workload.plain_gradient(plain)
    for way in EXACT_WAYS:
        rows.next(f"smooth: {way.name}")
        error = rows.time(partial(workload.gradient, changed(plain, **way.changes)), way, exact, "smooth")
        rows.report.marks.append(Mark(f"relative error: {way.name}", error, _EXACT))


def _region_rows(workload: Workload, base: Config, rows: _Rows) -> None:
    room = max(workload.data[0].size[1:])
    latents, reference = workload.latents((base.data.num_frames - 1) // 4 + 1, room)
    exact = workload.reward_gradient(latents, reference)()
    for margin in MARGINS:
        way = Way(f"around the faces, margin {margin:g}", _sampling(decode_region=True, decode_margin=margin))
        rows.next(way.name)
        taken = workload.reward_gradient(latents, reference, changed(base, **way.changes))
        rows.time(taken, way, exact, "face at the latents")


class _Rows:
    """The rows of the table as they are measured."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.report = Report("gradients", _COLUMNS)
        self._progress = progress
        self._total = total
        self._done = -1

    def next(self, what: str) -> None:
        self._done += 1
        self._progress(what, self._done, self._total)

    def time(self, taken: Callable[[], Tensor], way: Way, exact: Tensor, group: str) -> float:
        started = time.perf_counter()
        gradient = taken()
        seconds = (time.perf_counter() - started) / way.draws
        return self.add(f"{group}: {way.name}", gradient, exact, way.draws, seconds)

    def add(self, name: str, gradient: Tensor, exact: Tensor, draws: int = 1, seconds: float | None = None) -> float:
        """One row; returns the relative error."""
        found, wanted = gradient.flatten().double(), exact.flatten().double()
        error = float((found - wanted).norm() / wanted.norm())
        cosine = float(torch.nn.functional.cosine_similarity(found, wanted, dim=0))
        self.report.rows.append([cosine, error, float(found.norm() / wanted.norm()), name, draws, seconds])
        return error
