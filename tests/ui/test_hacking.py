"""The reward-hacking panel: what it says of runs that gain, freeze, lose the judge or measured nothing."""

from __future__ import annotations

from typing import Any

from rewardfl_app.runs import alarm
from rewardfl_app.ui import hacking

BASE = {"reward": 0.6, "judge": 0.65, "motion": 4.0, "face_rate": 1.0, "face_size": 40.0, "sharpness": 50.0}


def _evaluation(step: int, half: float | None = 0.01, **gains: float) -> dict[str, Any]:
    """An evaluation whose measures changed by `gains` from BASE, each with an interval of `half` to both sides."""
    record: dict[str, Any] = {"step": step, "time": 1.0 + step}
    for name, before in BASE.items():
        gain = gains.get(name, 0.0)
        record |= {f"eval/{name}": before + gain}
        if step:
            ends = (None, None) if half is None else (gain - half, gain + half)
            record |= {f"eval/{name}_baseline": before, f"eval/{name}_gain": gain}
            record |= {f"eval/{name}_gain_low": ends[0], f"eval/{name}_gain_high": ends[1]}
    return record


def _measure(payload: dict[str, Any], key: str) -> dict[str, Any]:
    return next(row for row in payload["measures"] if row["key"] == key)


def test_before_the_first_evaluation_it_waits() -> None:
    for records in ([], [_evaluation(0)]):
        shown = hacking.payload(records)
        assert (shown["level"], shown["measures"], shown["chart"]["series"]) == ("waiting", [], [])


def test_a_gain_that_the_judge_shares_looks_real() -> None:
    shown = hacking.payload([_evaluation(0), _evaluation(20, reward=0.05, judge=0.05)])
    assert shown["level"] == "good" and shown["since"] is None and shown["to_do"] == []
    reward, judge = shown["chart"]["series"]
    assert (reward["x"], reward["y"], reward["band"]) == ([0, 20], [0, 0.05], [[0, 0.04], [0, 0.06]])
    assert judge["role"] == "judge" and shown["chart"]["lines"][0]["y"] == 0


def test_a_frozen_face_is_marked_where_it_parts_and_told_what_to_do() -> None:
    records = [_evaluation(20, reward=0.05, judge=0.05), _evaluation(40, reward=0.1, judge=0.1, motion=-1.0)]
    shown = hacking.payload(records)
    assert (shown["level"], shown["since"], shown["best"]) == ("warn", 40, 20)
    assert alarm.ADVICE not in shown["sentence"] and "75%" in shown["sentence"]
    assert "step 20" in shown["to_do"][0] and "kl_weight" in shown["to_do"][1]
    assert shown["chart"]["marks"][0]["step"] == 40
    motion = _measure(shown, "motion")
    assert motion["tone"] == "warn" and motion["chart"]["series"][0]["y"] == [100, 100, 75]
    assert [line["y"] for line in motion["chart"]["lines"]] == [100, 95, 85]


def test_a_judge_that_does_not_follow_is_an_alarm() -> None:
    shown = hacking.payload([_evaluation(20, reward=0.1, judge=-0.03)])
    assert shown["level"] == "warn" and any("learning_rate" in text for text in shown["to_do"])


def test_larger_faces_are_pointed_out_without_an_alarm() -> None:
    shown = hacking.payload([_evaluation(20, reward=0.05, judge=0.05, face_size=8.0)])
    assert shown["level"] == "good"
    assert (_measure(shown, "face_size")["tone"], _measure(shown, "sharpness")["tone"]) == ("note", "flat")


def test_a_single_video_has_no_band_and_nothing_is_called_sure() -> None:
    shown = hacking.payload([_evaluation(20, half=None, reward=0.01, judge=0.01, face_size=8.0)])
    assert "band" not in shown["chart"]["series"][0]
    assert shown["title"] == "No sure gain yet" and _measure(shown, "face_size")["tone"] == "flat"


def test_an_earlier_step_is_judged_by_what_was_known_then() -> None:
    records = [_evaluation(20, reward=0.05, judge=0.05), _evaluation(40, reward=0.1, judge=0.1, motion=-1.0)]
    shown = hacking.payload(records, step=20)
    assert shown["level"] == "good" and shown["chart"]["marks"][0]["step"] == 20
    assert shown["chart"]["series"][0]["x"] == [0, 20, 40]


def test_what_was_not_measured_is_left_out() -> None:
    record = {key: value for key, value in _evaluation(20, reward=0.05).items() if "judge" not in key}
    record["eval/sharpness"] = None
    shown = hacking.payload([record])
    assert shown["title"] == "Not confirmed" and len(shown["chart"]["series"]) == 1
    assert "sharpness" not in [row["key"] for row in shown["measures"]]


def test_thousands_of_evaluations_stay_few_points() -> None:
    shown = hacking.payload([_evaluation(step, reward=0.05, judge=0.05) for step in range(1, 2002)])
    points = shown["chart"]["series"][0]["x"]
    assert len(points) < 400 and points[-1] == 2001
