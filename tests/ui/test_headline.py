"""What the page says about a run, and when it warns."""

from __future__ import annotations

from typing import Any

from rewardfl_app.ui.headline import headline


def _evaluation(step: int, reward: float, judge: float | None, motion: float) -> dict[str, Any]:
    base = {"eval/reward_baseline": 0.70, "eval/judge_baseline": 0.75, "eval/motion_baseline": 5.0}
    return {"step": step, "eval/reward": reward, "eval/judge": judge, "eval/motion": motion, **base}


BASE = _evaluation(0, 0.70, 0.75, 5.0)


def test_before_the_first_evaluation_nothing_is_claimed() -> None:
    assert headline([]).level == "waiting"
    untrained = headline([BASE])
    assert (untrained.level, untrained.step, untrained.reward.before, untrained.reward.delta) == (
        "waiting",
        0,
        0.70,
        None,
    )


def test_a_gain_that_the_judge_confirms_is_good() -> None:
    line = headline([BASE, _evaluation(10, 0.80, 0.82, 4.9)])
    assert line.level == "good"
    assert line.reward.delta is not None and abs(line.reward.delta - 0.10) < 1e-9
    assert "98% of before" in line.sentence


def test_a_falling_judge_is_possible_reward_hacking_and_says_since_when() -> None:
    line = headline(
        [BASE, _evaluation(10, 0.75, 0.76, 5.0), _evaluation(20, 0.8, 0.7, 5), _evaluation(30, 0.9, 0.6, 5)]
    )
    assert (line.level, line.judge_level) == ("warn", "warn")
    assert "reward hacking" in line.sentence and "step 20" in line.sentence


def test_a_freezing_face_is_a_warning_even_when_the_judge_agrees() -> None:
    line = headline([BASE, _evaluation(10, 0.85, 0.85, 4.0)])
    assert (line.level, line.motion_level) == ("warn", "warn")
    assert "80%" in line.sentence


def test_without_a_judge_a_gain_is_not_called_confirmed() -> None:
    records = [{**BASE, "eval/judge": None, "eval/judge_baseline": None}]
    records.append({**_evaluation(10, 0.8, None, 5.0), "eval/judge_baseline": None})
    line = headline(records)
    assert (line.level, line.judge.delta) == ("neutral", None)
    assert "No judge" in line.sentence


def test_noise_is_not_a_gain_and_a_loss_is_said() -> None:
    assert headline([BASE, _evaluation(10, 0.702, 0.75, 5.0)]).level == "neutral"
    assert headline([BASE, _evaluation(10, 0.60, 0.75, 5.0)]).level == "warn"


def test_an_earlier_step_can_be_asked_for() -> None:
    records = [BASE, _evaluation(10, 0.75, 0.78, 5.0), _evaluation(20, 0.9, 0.9, 5.0)]
    assert headline(records, step=10).reward.after == 0.75


def test_the_best_step_is_named_when_it_is_an_earlier_one() -> None:
    line = headline([BASE, _evaluation(10, 0.80, 0.85, 5.0), _evaluation(20, 0.81, 0.80, 5.0)])
    assert line.sentence.endswith("The best step so far is 10.")
    assert "best" not in headline([BASE, _evaluation(10, 0.80, 0.85, 5.0)]).sentence


def test_less_motion_that_may_be_chance_is_no_warning_but_not_called_good() -> None:
    line = headline([BASE, _evaluation(10, 0.80, 0.85, 4.7)])
    assert (line.level, line.motion_level) == ("neutral", "warn") and "94%" in line.sentence
