"""Blind votes: which pair is shown, what is kept, and what the votes come to."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from rewardfl_app.runs import votes
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.votes import Contest, VoteError

NAMES = ("ada", "bo", "cy", "dee")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "voted on")


def contest(run: RunFolder, step: int = 40) -> Contest:
    return Contest(run.id, 0, run.id, step)


def prefer(run: RunFolder, side: str, which: Contest | None = None) -> str:
    """Vote for before or after, whatever side it is on; returns the video."""
    one = which or contest(run)
    ballot = votes.next_ballot(run, one, NAMES)
    on_left = (side == "after") == ballot.swapped
    votes.vote(run, one, NAMES, ballot.number, "left" if on_left else "right")
    return ballot.name


def test_every_round_shows_each_video_once_and_both_sides_occur(run: RunFolder) -> None:
    seen, swapped = [], set()
    for number in range(3 * len(NAMES)):
        ballot = votes.next_ballot(run, contest(run), NAMES)
        assert (ballot.number, ballot.round, ballot.place) == (number, number // len(NAMES), number % len(NAMES))
        swapped.add(ballot.swapped)
        seen.append(ballot.name)
        votes.vote(run, contest(run), NAMES, number, "same")
    rounds = [seen[at : at + len(NAMES)] for at in range(0, len(seen), len(NAMES))]
    assert all(sorted(names) == sorted(NAMES) for names in rounds)
    assert swapped == {True, False} or len(set(map(tuple, rounds))) > 1  # chance, but not every time the same


def test_the_same_ballot_is_shown_until_it_is_judged(run: RunFolder) -> None:
    first = votes.next_ballot(run, contest(run), NAMES)
    assert votes.next_ballot(run, contest(run), reversed_names()) == first
    votes.vote(run, contest(run), NAMES, first.number, "left")
    assert votes.next_ballot(run, contest(run), NAMES).number == 1


def reversed_names() -> list[str]:
    return list(reversed(NAMES))


def test_a_choice_counts_for_the_side_that_was_there(run: RunFolder) -> None:
    for side in ("after", "after", "before"):
        prefer(run, side)
    ballot = votes.next_ballot(run, contest(run), NAMES)
    votes.vote(run, contest(run), NAMES, ballot.number, "same")
    now = votes.standing(run, contest(run))
    assert (now.votes, now.after, now.before, now.same) == (4, 2, 1, 1)
    assert now.rate == pytest.approx(2 / 3) and now.videos == 4
    kept = [json.loads(line) for line in votes.votes_file(run).read_text().splitlines()]
    for record in (record for record in kept if record["kind"] == "vote" and record["choice"] != "same"):
        assert record["shown"][record["choice"]] == record["chosen"]


def test_a_ballot_counts_once(run: RunFolder) -> None:
    votes.vote(run, contest(run), NAMES, 0, "left")
    with pytest.raises(VoteError, match="judged already"):
        votes.vote(run, contest(run), NAMES, 0, "left")
    assert votes.standing(run, contest(run)).votes == 1


def test_the_last_vote_can_be_taken_back(run: RunFolder) -> None:
    prefer(run, "after")
    second = prefer(run, "before")
    votes.undo(run, contest(run))
    assert votes.next_ballot(run, contest(run), NAMES).name == second
    assert votes.standing(run, contest(run)).before == 0
    votes.undo(run, contest(run))
    with pytest.raises(VoteError, match="no vote"):
        votes.undo(run, contest(run))


def test_contests_are_counted_apart(run: RunFolder) -> None:
    prefer(run, "after")
    prefer(run, "before", contest(run, step=20))
    assert votes.standing(run, contest(run)).after == 1
    assert votes.standing(run, contest(run, step=20)).after == 0


def test_videos_that_come_later_are_shuffled_in_and_votes_stay(run: RunFolder) -> None:
    prefer(run, "after")
    prefer(run, "after")
    more = (*NAMES, "eve")
    seen = Counter()
    for number in range(2, 2 + len(more)):
        ballot = votes.next_ballot(run, contest(run), more)
        assert (ballot.number, ballot.place) == (number, number - 2)
        seen[ballot.name] += 1
        votes.vote(run, contest(run), more, number, "same")
    assert seen == Counter(more)
    assert votes.standing(run, contest(run)).after == 2


def test_without_videos_there_is_no_ballot(run: RunFolder) -> None:
    with pytest.raises(VoteError, match="share none"):
        votes.next_ballot(run, contest(run), ())


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"), [(5, 6, 0.4365, 0.9699), (0, 4, 0.0, 0.4899), (50, 100, 0.4038, 0.5962)]
)
def test_wilsons_interval(successes: int, count: int, low: float, high: float) -> None:
    assert votes.wilson(successes, count) == pytest.approx((low, high), abs=1e-4)


def test_without_a_choice_there_is_no_interval() -> None:
    assert votes.wilson(0, 0) == (None, None)


def test_votes_to_tell_is_where_the_interval_leaves_a_half() -> None:
    needed = votes.votes_to_tell(0.8)
    assert needed is not None and votes.wilson(int(0.8 * needed), needed)[0] > 0.5
    assert votes.votes_to_tell(0.501) is None
