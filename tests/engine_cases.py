"""Engines beside a plain AdamW, in one group of processes: `python engine_cases.py FOLDER`, started once per rank.

Every case makes a few updates of tiny networks whose gradient is different on every rank, and compares with the same
updates made by torch alone on the mean over the ranks. The results are left in FOLDER/rankN.json.
"""

from __future__ import annotations

import functools
import json
import math
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tiny_wan
import torch
from torch import Tensor, nn

from rewardfl_app.config.schema import Config, Expert
from rewardfl_app.models import adaptation, lora_linear, sampling
from rewardfl_app.models.adaptation import Adaptation
from rewardfl_app.runs.process_end import end_process
from rewardfl_app.training.engine import Engine
from rewardfl_app.training.ranks import Ranks

EXPERTS: tuple[Expert, ...] = ("high_noise", "low_noise")
# The expert of each backward pass, per update: the last pass does not reach all parameters, one update leaves half out.
UPDATES: tuple[tuple[Expert, ...], ...] = (
    ("low_noise", "high_noise", "low_noise"),
    ("low_noise", "low_noise"),
    ("high_noise", "low_noise"),
)
# Rank 1 has no samples for this pass.
WITHOUT_SAMPLES = (2, 0)
RATE, DECAY, CLIP = 1e-2, 0.1, 0.7


@dataclass(frozen=True)
class Case:
    stage: int
    full: bool = False
    offload_optimizer: bool = False
    offload_parameters: bool = False
    checkpointing: bool = False
    dtype: str = "float32"

    @property
    def name(self) -> str:
        words = [name for name, value in asdict(self).items() if value is True]
        return "-".join([f"zero{self.stage}", *words, *(["bf16"] if self.dtype == "bfloat16" else [])])

    def config(self) -> Config:
        return Config(
            model=tiny_wan.model_config(Path("unused"), dtype=self.dtype, trainable_models="dit,dit2"),
            lora={"lora_base_model": "none" if self.full else "dit,dit2", "lora_rank": 2},
            reward={"kl_weight": 0.5},
            train={
                "learning_rate": RATE,
                "weight_decay": DECAY,
                "max_grad_norm": CLIP,
                "per_device_train_batch_size": 1,
            },
            deepspeed={
                "zero_stage": self.stage,
                "offload_optimizer": self.offload_optimizer,
                "offload_parameters": self.offload_parameters,
            },
        )


CASES = (
    *(Case(stage) for stage in range(4)),
    *(Case(stage, full=True) for stage in (2, 3)),
    *(Case(stage, offload_optimizer=True) for stage in (1, 2)),
    Case(3, offload_optimizer=True, offload_parameters=True, checkpointing=True),
    Case(3, checkpointing=True, dtype="bfloat16"),
)


def make(full: bool = False, dtype: str = "float32", checkpointing: bool = False) -> dict[Expert, Adaptation]:
    """Adapted experts whose trained values are not those they start with."""
    made: dict[Expert, Adaptation] = {}
    for number, name in enumerate(EXPERTS):
        with torch.random.fork_rng():
            torch.manual_seed(number)
            network = tiny_wan.transformer(layers=1).requires_grad_(False).eval()
        if dtype == "bfloat16":
            for key, weight in network.named_parameters():
                if not set(key.split(".")) & set(network._keep_in_fp32_modules):
                    weight.data = weight.data.bfloat16()
        if checkpointing:
            network.enable_gradient_checkpointing()
        made[name] = adaptation.adapt(network, Case(0, full=full).config(), seed=number)
        generator = torch.Generator().manual_seed(10 + number)
        with torch.no_grad():
            for parameter in made[name].parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return made


def surrogate(adapted: Adaptation, update: int, place: int, rank: int) -> Tensor:
    """A scalar of one pass, with a divergence from the untrained network in it."""
    seed = 1000 * update + 10 * place + rank
    with adapted.base(), torch.no_grad():
        reference = velocity(adapted, seed)
    v = velocity(adapted, seed)
    noise = torch.randn(v.shape, generator=torch.Generator().manual_seed(seed + 5))
    return (v * noise).sum() / 50 + (v - reference).square().mean()


def velocity(adapted: Adaptation, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x, condition = (torch.randn(1, channels, 2, 4, 4, generator=generator) for channels in (16, 20))
    text = torch.randn(1, 5, 16, generator=generator)
    return sampling.predict_velocity(adapted.expert, x, 0.5, text, condition)


@functools.cache
def plain(
    full: bool, dtype: str, ranks: int, apart: bool
) -> tuple[list[float], list[Tensor], dict[Expert, Adaptation]]:
    """Gradient norms, trained values and networks of the same updates by torch alone.

    `apart`: the LoRA is PEFT's, as over weights that ZeRO 3 divides; over bfloat16 the two round differently.
    """
    adapted = make(full, dtype)
    parameters = [parameter for each in adapted.values() for parameter in each.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    norms = []
    for number, passes in enumerate(UPDATES):
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        for rank in range(ranks):
            for place, expert in enumerate(passes):
                if rank == 0 or (number, place) != WITHOUT_SAMPLES:
                    with lora_linear.apart() if apart else nullcontext():
                        (surrogate(adapted[expert], number, place, rank) / ranks).backward()
        norms.append(float(nn.utils.clip_grad_norm_(parameters, CLIP)))
        optimizer.step()
    return norms, parameters, adapted


def accumulate(engine: Engine, adapted: dict[Expert, Adaptation], number: int, rank: int) -> None:
    """The backward passes of update `number`."""
    passes = UPDATES[number]
    engine.begin_update(len(passes))
    for place, expert in enumerate(passes):
        empty = rank > 0 and (number, place) == WITHOUT_SAMPLES
        engine.backward(surrogate(adapted[expert], number, place, rank) * (0 if empty else 1))


def largest_difference(mine: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest difference, relative to the largest value."""
    scale = max(float(value.detach().abs().max()) for value in wanted)
    return max(float((a - b).detach().abs().max()) for a, b in zip(mine, wanted, strict=True)) / scale


def run(case: Case, ranks: Ranks) -> dict[str, Any]:
    """What one case comes to: norms, values, and what is said of a gradient that is not finite."""
    wanted_norms, wanted, made = plain(case.full, case.dtype, ranks.size, case.stage == 3)
    adapted = make(case.full, case.dtype, case.checkpointing)
    engine = Engine(adapted, case.config())
    # Updates that are dropped, one of them not finite on one rank alone, leave nothing behind.
    accumulate(engine, adapted, 0, ranks.rank)
    engine.discard()
    engine.begin_update(1)
    engine.backward(surrogate(adapted["low_noise"], 0, 0, 0) * (math.nan if ranks.rank == ranks.size - 1 else 1.0))
    result: dict[str, Any] = {"broken_norm": engine.gradient_norm(), "broken_where": engine.where_not_finite()}
    engine.discard()
    result["norms"] = []
    for number, norm in enumerate(wanted_norms):
        accumulate(engine, adapted, number, ranks.rank)
        result["norms"].append((engine.gradient_norm(), norm))
        engine.step(RATE)
    with engine.gathered(), torch.no_grad():
        mine = [parameter for each in adapted.values() for parameter in each.parameters()]
        result["difference"] = largest_difference(mine, wanted)
        # Inside, a rank may run a network by itself.
        result["alone"] = float(velocity(adapted["low_noise"], 0).sum()) if ranks.is_first else 0.0
    with engine.gathered(base=True), adaptation.untrained(adapted.values()), torch.no_grad():
        result["base"] = float(velocity(adapted["low_noise"], 0).sum()) if ranks.is_first else 0.0
    with adaptation.untrained(made.values()), torch.no_grad():
        result["wanted_base"] = float(velocity(made["low_noise"], 0).sum())
    return result


def main(folder: Path) -> int:
    torch.set_num_threads(1)
    ranks = Ranks()
    ranks.connect()
    results: dict[str, Any] = {}
    for case in CASES:
        try:
            results[case.name] = run(case, ranks)
        except Exception:
            results[case.name] = {"error": traceback.format_exc()[-3000:]}
            break  # the other ranks are lost now
    (folder / f"rank{ranks.rank}.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    end_process(main(Path(sys.argv[1])))
