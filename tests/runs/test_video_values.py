"""What was measured on the videos of an evaluation: shared between processes, written, read, and summed up."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardfl_app.runs import metrics, samples, video_values
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.video_values import VideoValues

MEASURES = ("reward", "judge")


def videos(gain: float = 0.0) -> dict[str, VideoValues]:
    return {
        "a": VideoValues({"reward": 0.1 + gain, "judge": 1 / 3}, {"judge_curve": [1.0, 0.5 + gain]}),
        "b": VideoValues({"reward": 0.3 + 2 * gain, "judge": None}, {"judge_curve": [0.9, None]}),
        "c": VideoValues({"reward": float("nan"), "judge": 0.7}),
    }


@pytest.mark.parametrize("num_processes", [1, 2, 3, 5])
def test_however_they_are_shared_out_the_sum_has_every_bit(num_processes: int) -> None:
    given = list(videos().values())
    shares = [dict(list(enumerate(given))[rank::num_processes]) for rank in range(num_processes)]
    summed = [sum(n) for n in zip(*(video_values.to_numbers(s, 3, MEASURES, 2) for s in shares), strict=True)]
    found = video_values.from_numbers(summed, 3, MEASURES, 2)
    assert found[:2] == given[:2]
    assert found[2] == VideoValues({"reward": None, "judge": 0.7})


def test_the_file_has_every_bit(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path)
    assert video_values.read(run, 0) is None
    samples.sample_folder(run, 10, "a")
    kept = {name: video for name, video in videos(1 / 7).items() if name != "c"}
    video_values.write(run, 10, kept)
    assert video_values.read(run, 10) == kept
    assert samples.list_samples(run) == {}, "the file is no sample"


def test_the_record_has_means_changes_and_intervals() -> None:
    record = video_values.evaluation_record(videos(0.1), videos())
    assert metrics.is_evaluation(record)
    assert record["eval/reward"] == pytest.approx(0.35) and record["eval/reward_baseline"] == pytest.approx(0.2)
    # changes 0.1 and 0.2: mean 0.15, standard error 0.05, t(1) = 12.706
    assert record["eval/reward_gain"] == pytest.approx(0.15)
    assert record["eval/reward_gain_low"] == pytest.approx(0.15 - 12.706 * 0.05)
    assert record["eval/reward_gain_high"] == pytest.approx(0.15 + 12.706 * 0.05)
    assert record["eval/judge_gain"] == 0 and record["eval/judge"] == pytest.approx((1 / 3 + 0.7) / 2)
    assert record["eval/judge_curve"] == [0.95, 0.6]
    assert "eval/similarity_curve" not in record


def test_the_base_model_has_no_changes() -> None:
    record = video_values.evaluation_record(videos())
    assert set(record) == {"eval/reward", "eval/judge", "eval/judge_curve"}
