"""What DeepSpeed is told."""

from __future__ import annotations

import pytest

from rewardfl_app.config import presets
from rewardfl_app.training import engine


@pytest.mark.parametrize(("trained", "bucket"), [(306_708_480, 306_708_480), (14_290_000_000, 500_000_000)])
def test_the_buffer_of_reductions_is_no_longer_than_what_trains(trained: int, bucket: int) -> None:
    told = engine._deepspeed_config(presets.preset("wan22_i2v_a14b"), trained)
    assert told["zero_optimization"]["reduce_bucket_size"] == bucket
    assert told["zero_optimization"]["stage"] == 2 and told["gradient_clipping"] == 1.0
