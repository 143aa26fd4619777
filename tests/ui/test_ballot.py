"""The blind vote as the page asks for it: nothing tells which is which, and the result comes when it is due."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from page_run import FakeRun

from rewardfl_app.runs.votes import Standing, votes_file, wilson
from rewardfl_app.ui import ballot
from rewardfl_app.ui.ballot import meaning


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    made = FakeRun(tmp_path, prompts=("one", "two"))
    made.baseline()
    made.evaluate(10)
    return made


def ask(run: FakeRun, **request: object) -> dict[str, Any]:
    sides = {"a": {"run": run.folder.id, "step": 0}, "b": {"run": run.folder.id, "step": 10}}
    return ballot.answer(run.folder.path.parent, {**sides, "do": "look", **request})


def test_a_ballot_brings_both_videos_without_their_names(run: FakeRun) -> None:
    answer = ask(run)
    shown = answer["ballot"]
    videos = {
        base64.b64encode((run.folder.samples / group / name / "video.mp4").read_bytes()).decode()
        for group in ("baseline", "step_000010")
        for name in ("row_000", "row_001")
    }
    assert {shown[side].removeprefix("data:video/mp4;base64,") for side in ("left", "right")} <= videos
    assert shown["left"] != shown["right"] and shown["prompt"] in ("one", "two")
    told = str({key: value for key, value in answer.items() if key != "ballot"}) + str(shown)
    assert "baseline" not in told and "step_0000" not in told and "swapped" not in told


def test_the_result_comes_when_it_is_due(run: FakeRun) -> None:
    assert ask(run, reveal=True)["standing"] is None  # nothing to show yet
    first = ask(run, do="vote", number=0, choice="left")
    assert first["standing"] is None and first["votes"] == 1 and first["shown_from"] == 2
    assert ask(run, reveal=True)["standing"]["votes"] == 1
    second = ask(run, do="vote", number=1, choice="right")
    result = second["standing"]
    assert result["votes"] == 2 and 0 <= result["low"] <= result["rate"] <= result["high"] <= 1
    assert result["names"] == {"before": "Base model", "after": "Step 10"}
    assert ask(run, do="undo")["votes"] == 1


@pytest.mark.parametrize("wrong", [{"choice": "after"}, {"choice": None}, {"number": "0"}])
def test_what_is_no_vote_is_refused(run: FakeRun, wrong: dict[str, object]) -> None:
    answer = ask(run, **{"do": "vote", "number": 0, "choice": "left", **wrong})
    assert "no vote" in answer["error"] and answer["votes"] == 0


def test_a_second_window_cannot_judge_the_same_pair(run: FakeRun) -> None:
    ask(run, do="vote", number=0, choice="left")
    late = ask(run, do="vote", number=0, choice="left")
    assert "judged already" in late["error"] and late["votes"] == 1 and late["ballot"]["number"] == 1


def test_a_run_elsewhere_is_not_voted_on(run: FakeRun, tmp_path: Path) -> None:
    answer = ballot.answer(tmp_path, {"a": {"run": "../x", "step": 0}, "b": {"run": run.folder.id, "step": 10}})
    assert answer["ballot"] is None and answer["error"]
    assert not votes_file(run.folder).exists()


def standing(after: int, before: int, same: int = 0, videos: int = 100) -> Standing:
    low, high = wilson(after, after + before)
    rate = after / (after + before) if after + before else None
    return Standing(after + before + same, after, before, same, videos, rate, low, high)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (standing(11, 1), "The one after is preferred"),
        (standing(1, 11), "The one before is preferred"),
        (standing(4, 2), "may be chance. If the rate stays"),
        (standing(3, 3), "may be chance."),
        (standing(0, 0, 4), "Nobody saw a difference"),
        (standing(11, 1, videos=2), "judged more than once"),
    ],
)
def test_the_meaning_is_honest_about_chance(now: Standing, words: str) -> None:
    assert words in meaning(now)
