from __future__ import annotations

import pytest
import torch
from transformers import get_scheduler
from transformers.trainer_utils import SchedulerType

from rewardfl_app.config import learning_rates, presets
from rewardfl_app.config.learning_rates import OPTIONS
from rewardfl_app.config.schema import TrainConfig
from rewardfl_app.training.schedulers import learning_rate

COURSES: list[tuple[str, dict[str, float]]] = [
    *((kind, {}) for kind in OPTIONS if "min_lr" not in kind and kind != "warmup_stable_decay"),
    ("cosine", {"num_cycles": 1.25}),
    ("cosine_with_restarts", {"num_cycles": 3}),
    ("polynomial", {"lr_end": 1e-5, "power": 2}),
    ("inverse_sqrt", {"timescale": 7}),
    ("cosine_with_min_lr", {"min_lr": 1e-5}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.2, "num_cycles": 1}),
    ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.2}),
    ("cosine_warmup_with_min_lr", {"min_lr": 1e-5, "warmup_lr_rate": 0.1}),
    ("warmup_stable_decay", {"num_decay_steps": 5}),
    ("warmup_stable_decay", {"num_decay_steps": 5, "num_stable_steps": 3, "min_lr_ratio": 0.1}),
]


@pytest.mark.parametrize(("kind", "options"), COURSES)
@pytest.mark.parametrize("warmup", [4, 0])
def test_equals_transformers(kind: str, options: dict[str, float], warmup: int) -> None:
    written = ",".join(f"{name}={value}" for name, value in options.items())
    train = TrainConfig(
        learning_rate=3e-4, lr_scheduler_type=kind, lr_scheduler_kwargs=written, warmup_steps=warmup, max_steps=15
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=train.learning_rate)
    scheduler = get_scheduler(
        kind, optimizer, num_warmup_steps=warmup, num_training_steps=15, scheduler_specific_kwargs=options
    )
    for step in range(1, 16):
        assert learning_rate(train, step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=1e-15)
        optimizer.step()
        scheduler.step()


def test_every_course_that_is_a_function_of_the_step_is_there() -> None:
    assert {kind.value for kind in SchedulerType} - set(OPTIONS) == {"reduce_lr_on_plateau", "greedy"}
    for kind in OPTIONS:
        assert any(name == kind for name, _ in COURSES)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("linear", "num_cycles=2", "linear takes none, but there is num_cycles."),
        ("cosine", "num_cycle=2", "did you mean num_cycles"),
        ("cosine", "num_cycles=2,num_cycles=3", "given twice"),
        ("cosine_with_min_lr", "", "needs one of min_lr and min_lr_rate: write for example min_lr_rate=0.1."),
        ("cosine_with_min_lr", "min_lr=1e-6,min_lr_rate=0.1", "needs one of"),
        ("warmup_stable_decay", "min_lr_ratio=0.1", "needs num_decay_steps: write for example num_decay_steps=10."),
    ],
)
def test_wrong_options_are_named(kind: str, options: str, message: str) -> None:
    train = {"lr_scheduler_type": kind, "lr_scheduler_kwargs": options}
    config = presets.preset("pocket")
    config = config.model_copy(update={"train": config.train.model_validate({**config.train.model_dump(), **train})})
    (problem,) = learning_rates.options(config)
    assert problem.field == "train.lr_scheduler_kwargs" and message in problem.message
