"""How near each way of taking the gradient comes to the exact one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rewardfl_app.bench.report import Mark, Progress, Report
from rewardfl_app.bench.workload import Workload, changed
from rewardfl_app.config.schema import Config

EXACT_STEPS = 4
DRAWS = 8
_EXACT = 1e-5
_COLUMNS = ("cosine", "relative error", "length", "what", "draws", "seconds each")


@dataclass(frozen=True)
class Way:
    """A way of taking the gradient. `draws`: updates that are averaged. `exact`: a mark is set on its error."""

    name: str
    changes: dict[str, dict[str, Any]]
    draws: int = 1
    exact: bool = False


def _sampling(**values: Any) -> dict[str, dict[str, Any]]:
    return {"sampling": values}


def _region(margin: float) -> dict[str, dict[str, Any]]:
    return _sampling(decode_region=True, decode_margin=margin, decode_chunk=None)


WAYS = (
    Way("step by step, decoded at once", _sampling(decode_chunk=None), exact=True),
    Way("decoded 1 latent frame at a time", _sampling(decode_chunk=1), exact=True),
    Way("decoded 2 latent frames at a time", _sampling(decode_chunk=2), exact=True),
    Way("face region, margin 0.25", _region(0.25)),
    Way("face region, margin 0.5", _region(0.5)),
    Way("face region, margin 1", _region(1.0)),
    Way("every 2nd frame", {"reward": {"gradient_frame_stride": 2}}),
    Way("every 2nd frame, mean", {"reward": {"gradient_frame_stride": 2}}, draws=DRAWS),
    Way("every 4th frame", {"reward": {"gradient_frame_stride": 4}}),
    Way("every 4th frame, mean", {"reward": {"gradient_frame_stride": 4}}, draws=2 * DRAWS),
    Way("gradient_decay 0.5", _sampling(gradient_decay=0.5)),
    Way("gradient_decay 0 (DRTune)", _sampling(gradient_decay=0.0)),
    Way("last 2 steps", _sampling(mid_timestep=8 - 2)),
    Way("last step", _sampling(mid_timestep=8 - 1)),
    Way("random_k, mean", _sampling(gradient_mode="random_k"), draws=DRAWS),
    Way("random_steps, 2 of them, mean", _sampling(gradient_mode="random_steps", num_gradient_steps=2), draws=DRAWS),
    Way("draft_lv, 1 noising", _sampling(gradient_mode="draft_lv", num_renoised=1)),
    Way("draft_lv, 4 noisings", _sampling(gradient_mode="draft_lv", num_renoised=4)),
    Way("refl, mean", _sampling(gradient_mode="refl"), draws=DRAWS),
)


def measure(config: Config, progress: Progress, ways: tuple[Way, ...] = WAYS) -> Report:
    """Cosine and relative error to one graph over the last four of eight steps, decoded whole. Raises ConfigError."""
    base = changed(
        config,
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
        reward={"kl_weight": 0.0, "gradient_frame_stride": 1},
    )
    total = len(ways) + 1
    progress("one graph", 0, total)
    workload = Workload(base)
    started = time.perf_counter()
    exact = workload.plain_gradient(base)
    report = Report("gradients", _COLUMNS)
    report.rows.append([1.0, 0.0, 1.0, "one graph (straightforward)", 1, time.perf_counter() - started])
    for number, way in enumerate(ways):
        progress(way.name, number + 1, total)
        settings = changed(base, **way.changes)
        started = time.perf_counter()
        gradient = sum_of(workload, settings, way.draws) / way.draws
        seconds = (time.perf_counter() - started) / way.draws
        error = float((gradient - exact).norm() / exact.norm())
        cosine = float(torch.nn.functional.cosine_similarity(gradient, exact, dim=0))
        length = float(gradient.norm() / exact.norm())
        report.rows.append([cosine, error, length, way.name, way.draws, seconds])
        if way.exact:
            report.marks.append(Mark(f"relative error: {way.name}", error, _EXACT))
    report.notes.append(
        f"All against the exact gradient of the reward through the last {EXACT_STEPS} of 8 steps, of "
        f"{config.train.train_batch_size} videos, in float32. length: its norm, as a share of the exact one's. draws: "
        "updates with draws of their own, averaged before they are compared."
    )
    report.parameters = {"gradient_steps": EXACT_STEPS, "trained_values": exact.numel()}
    return report


def sum_of(workload: Workload, config: Config, draws: int) -> Tensor:
    """The sum of the gradients of as many updates on the same samples."""
    total = workload.gradient(config, 1)
    for update in range(2, draws + 1):
        total = total + workload.gradient(config, update)
    return total
