"""Which evaluation is the best, and best.json."""

from __future__ import annotations

from pathlib import Path

from made_up_runs import evaluation, records, rising

from rewardfl_app.runs import best
from rewardfl_app.runs.folder import RunFolder


def test_the_judge_decides_not_the_reward() -> None:
    found = best.choose([evaluation(10, 0.62, 0.80), evaluation(20, 0.70, 0.75)])
    assert found is not None and found.step == 10
    assert found.values["judge_gain"] is not None and abs(found.values["judge_gain"] - 0.1) < 1e-9
    assert "The judge is up by 0.100" in found.why and "100% of the base model's motion" in found.why


def test_without_a_judge_the_reward_decides() -> None:
    found = best.choose([evaluation(10, 0.62, None), evaluation(20, 0.70, None), evaluation(30, 0.65, None)])
    assert found is not None and found.step == 20 and "The reward is up" in found.why


def test_no_gain_little_motion_or_an_alarm_is_never_the_best() -> None:
    assert best.choose([]) is None
    assert best.choose([evaluation(0, 0.9, 0.9), evaluation(10, 0.59, 0.69)]) is None
    assert best.choose([evaluation(10, 0.7, 0.8, motion=0.94 * 6.0)]) is None
    assert best.choose([evaluation(10, 0.7, 0.8, face_rate=0.6)]) is None, "the alarm fires: faces are missing"
    kept = best.choose([evaluation(10, 0.62, 0.72), evaluation(20, 0.7, 0.9, motion=0.9 * 6.0)])
    assert kept is not None and kept.step == 10


def test_a_base_model_that_does_not_move_has_nothing_to_lose() -> None:
    still = {**evaluation(10, 0.7, 0.8), "eval/motion": None, "eval/motion_baseline": None}
    assert best.choose([still]) is not None
    lost = {**evaluation(10, 0.7, 0.8), "eval/motion": None}
    assert best.choose([lost]) is None, "no face was seen long enough to measure it"


def test_a_sure_gain_is_before_a_larger_one_that_may_be_chance() -> None:
    sure = evaluation(10, 0.65, 0.75) | {"eval/judge_gain_low": 0.01, "eval/judge_gain_high": 0.09}
    larger = evaluation(20, 0.65, 0.80) | {"eval/judge_gain_low": -0.02, "eval/judge_gain_high": 0.22}
    found = best.choose([sure, larger])
    assert found is not None and found.step == 10


def test_of_an_honest_run_it_is_late_and_of_a_hacking_one_early() -> None:
    late = best.choose(records(1, reward=rising(0.15), judge=rising(0.15)))
    assert late is not None and late.step >= 80

    def turns(share: float) -> float:
        return 0.12 * min(3 * share, 1.0) - max(0.0, share - 0.4) * 0.3

    early = best.choose(records(1, reward=rising(0.2), judge=turns))
    assert early is not None and early.step <= 60


def test_the_file_holds_what_was_chosen(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path)
    assert best.read(run) is None
    chosen = best.choose([evaluation(10, 0.62, 0.80)])
    best.write(run, chosen)
    assert best.read(run) == chosen
    best.write(run, None)
    assert best.read(run) is None and not run.best.exists()
    run.best.write_text('{"step": "ten"}')
    assert best.read(run) is None
