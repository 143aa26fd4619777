from __future__ import annotations

import pytest
import torch
from transformers import get_scheduler

from rewardfl_app.config.schema import TrainConfig
from rewardfl_app.training.schedulers import learning_rate


@pytest.mark.parametrize("kind", ["constant", "constant_with_warmup", "linear", "cosine", "polynomial"])
def test_equals_transformers(kind: str) -> None:
    train = TrainConfig(learning_rate=3e-4, lr_scheduler_type=kind, warmup_steps=4, max_steps=15)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=train.learning_rate)
    scheduler = get_scheduler(kind, optimizer, num_warmup_steps=4, num_training_steps=15)
    for step in range(1, 16):
        assert learning_rate(train, step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=1e-15)
        optimizer.step()
        scheduler.step()
