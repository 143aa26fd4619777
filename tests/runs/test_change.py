"""Paired changes and their intervals."""

from __future__ import annotations

import pytest

from rewardfl_app.runs import change
from rewardfl_app.runs.change import mean_change


def test_the_interval_is_students() -> None:
    found = mean_change([0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0])
    assert found is not None and found.low is not None and found.high is not None
    # mean 2.5, standard error 1.29099/2, t(3) = 3.182
    assert (found.low, found.high) == pytest.approx((2.5 - 2.0540, 2.5 + 2.0540), abs=1e-3)
    assert found.direction == 1


@pytest.mark.parametrize("degrees", [1, 5, 30, 31, 60, 1000])
def test_t_quantiles_agree_with_scipy(degrees: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert change._t95(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=6e-4)


def test_values_that_were_not_measured_are_left_out() -> None:
    found = mean_change([0.1, None, float("nan")], [0.3, 0.5, 0.5])
    assert found is not None and found.num_pairs == 1 and found.low is None and found.direction == 0
    assert mean_change([None], [1.0]) is None
    assert change.mean([1.0, None, float("inf"), 2.0]) == 1.5 and change.mean([None]) is None
