from __future__ import annotations

import pytest

from rewardfl_app.training.kl_control import adapted


def test_moves_towards_the_target_in_small_steps() -> None:
    assert adapted(1.0, 0.02, 0.01) == pytest.approx(1.02)
    assert adapted(1.0, 0.0, 0.01) == pytest.approx(0.98)
    assert adapted(1.0, 0.011, 0.01) == pytest.approx(1.01)
    assert adapted(1.0, 0.01, 0.01) == 1.0
    assert adapted(1.0, None, 0.01) == 1.0


def test_holds_a_divergence_that_falls_with_the_weight() -> None:
    weight = 0.1
    for _ in range(400):
        weight = adapted(weight, 0.02 / weight, 0.01)
    assert 0.02 / weight == pytest.approx(0.01, rel=0.02)
