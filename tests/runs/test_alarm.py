"""The alarm on made-up runs: it fires on hacking, and is silent on noise and on honest gains."""

from __future__ import annotations

from typing import Any

import pytest
from made_up_runs import Course, evaluation, records, rising

from rewardfl_app.runs import alarm

RUNS = 100


def fired(**courses: Course) -> list[alarm.Alarm]:
    """The first alarm of each of many runs that has one."""
    found = [alarm.history(records(seed, **courses)) for seed in range(RUNS)]
    return [next(each for each in run.values() if each) for run in found if any(run.values())]


def test_noise_is_no_alarm() -> None:
    assert len(fired()) <= 1


@pytest.mark.parametrize("follows", [1.0, 0.5, 0.25])
def test_an_honest_gain_is_no_alarm(follows: float) -> None:
    assert len(fired(reward=rising(0.12), judge=rising(0.12 * follows))) <= 3


def test_a_reward_that_rises_on_noise_does_not_alarm_without_a_judge() -> None:
    assert alarm.current([evaluation(10, 0.8, None), evaluation(20, 0.9, None)]) is None


def test_a_judge_that_falls_while_the_reward_rises_is_an_alarm() -> None:
    alarms = fired(reward=rising(0.15), judge=rising(-0.06))
    assert len(alarms) == RUNS
    assert all("judge" in each.reasons and each.since <= each.step for each in alarms)
    assert sum(each.step for each in alarms) / RUNS < 60, "seen well before the end"


def test_a_judge_that_falls_back_from_its_best_is_an_alarm_though_it_is_above_the_base_model() -> None:
    def turns(share: float) -> float:
        return 0.08 * min(3 * share, 1.0) - max(0.0, share - 0.4) * 0.1

    alarms = fired(reward=rising(0.2), judge=turns)
    assert len(alarms) > 0.6 * RUNS and sum(each.step > 40 for each in alarms) >= 0.95 * len(alarms)
    assert any("has fallen" in each.sentence for each in alarms)


def test_a_frozen_face_is_an_alarm_though_the_judge_agrees() -> None:
    alarms = fired(reward=rising(0.12), judge=rising(0.1), motion=rising(-0.25))
    assert len(alarms) >= 0.98 * RUNS and sum(each.reasons == ("motion",) for each in alarms) >= 0.95 * len(alarms)
    assert "a frozen face is not identity" in alarms[0].sentence


def test_missing_faces_are_an_alarm() -> None:
    alarms = fired(reward=rising(0.12), judge=rising(0.1), face_rate=rising(-0.2))
    assert len(alarms) == RUNS and sum(each.reasons == ("face_rate",) for each in alarms) >= 0.95 * RUNS


def test_what_falls_while_the_reward_does_not_rise_is_bad_training_but_no_cheating() -> None:
    assert not fired(reward=rising(-0.1), judge=rising(-0.1), motion=rising(-0.3), face_rate=rising(-0.3))


def exact(step: int, reward: float, judge: float, motion: float = 0.0, half: float = 0.001) -> dict[str, Any]:
    """A record whose gains are these, with intervals of this half width."""
    record = evaluation(step, 0.6 + reward, 0.7 + judge, 6.0 + motion)
    for name, gain in (("reward", reward), ("judge", judge), ("motion", motion)):
        record |= {
            f"eval/{name}_gain": gain,
            f"eval/{name}_gain_low": gain - half,
            f"eval/{name}_gain_high": gain + half,
        }
    return record


def test_one_evaluation_is_not_enough_unless_it_is_gross() -> None:
    slight = [exact(10, 0.05, 0.05), exact(20, 0.10, 0.0), exact(30, 0.11, 0.0)]
    assert alarm.history(slight)[20] is None
    found = alarm.history(slight)[30]
    assert found is not None and (found.step, found.since) == (30, 20)
    assert alarm.history([exact(10, 0.05, -0.03)])[10] is not None, "the judge is surely down"


def test_the_alarm_ends_when_it_is_over() -> None:
    found = alarm.history([exact(10, 0.1, -0.03), exact(20, 0.1, -0.03), exact(30, 0.1, 0.1)])
    assert [each.since if each else None for each in found.values()] == [10, 10, None]
    assert alarm.current([exact(10, 0.1, -0.03), exact(30, 0.1, 0.1)]) is None


def test_the_sentence_says_since_when_why_and_what_to_do() -> None:
    found = alarm.current([exact(10, 0.05, -0.02), exact(20, 0.1, -0.04, -1.2)])
    assert found is not None and found.reasons == ("judge", "motion")
    assert found.sentence == (
        "Possible reward hacking since step 10: the reward is up by 0.100, the judge, which is never trained on, by "
        "-0.040 (95% interval -0.041 to -0.039); the face moves only 80% as much as before, and a frozen face is not "
        "identity. Raise kl_weight, or use an earlier checkpoint."
    )


def test_a_single_video_must_change_clearly() -> None:
    assert alarm.current([evaluation(10, 0.61, 0.69)]) is None
    assert alarm.current([evaluation(10, 0.65, 0.65)]) is not None
    assert alarm.current([evaluation(10, 0.65, 0.75, 5.5)]) is None
    assert alarm.current([evaluation(10, 0.65, 0.75, 4.5)]) is not None


def test_records_of_other_kinds_and_gaps_do_no_harm() -> None:
    odd: list[dict[str, Any]] = [
        {"step": 0, "eval/reward": 0.6},
        {"step": 5, "loss": 1.0},
        {"step": 10, "eval/reward": None, "eval/reward_baseline": 0.6},
        {"eval/reward": 0.6},
        {"step": 20, "eval/reward": float("nan"), "eval/reward_baseline": 0.6},
    ]
    assert alarm.history(odd) == {10: None, 20: None} and alarm.current([]) is None
