"""votes.jsonl: which of two videos people prefer when they are not told which is which.

It lies in the run whose model is "after", is only appended to, and holds for each contest (two models) when voting on a
set of videos began, every vote, and what was taken back. Which video is shown when, and on which side, follows from a
seed drawn at the beginning: a page that is opened again, or twice, shows the same ballot.
"""

from __future__ import annotations

import math
import random
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rewardfl_app.runs import file_lock, typed
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.runs.jsonlines import Record, append, read_all

Choice = Literal["left", "right", "same"]
CHOICES: tuple[Choice, ...] = ("left", "right", "same")
_Z95 = 1.959964


class VoteError(RunError):
    """A vote that does not count; the message is one sentence."""


@dataclass(frozen=True)
class Contest:
    """Two models: a run (its id) and a step each; step 0 is the base model."""

    before_run: str
    before_step: int
    after_run: str
    after_step: int


@dataclass(frozen=True)
class Ballot:
    """The pair to be judged next. `number` counts the votes of the contest from 0; `swapped`: after is on the left."""

    number: int
    round: int
    place: int
    name: str
    swapped: bool


@dataclass(frozen=True)
class Standing:
    """What the votes of a contest come to. `rate`: share of "after" among the votes that chose, with its 95% interval.

    `rate`, `low` and `high` are None while no vote has chosen. `videos`: how many different videos were judged.
    """

    votes: int
    after: int
    before: int
    same: int
    videos: int
    rate: float | None
    low: float | None
    high: float | None


def votes_file(run: RunFolder) -> Path:
    """The votes on the models of a run."""
    return run.path / "votes.jsonl"


def next_ballot(run: RunFolder, contest: Contest, names: Sequence[str]) -> Ballot:
    """The pair to be judged next among the videos of these names; voting begins with the first call.

    Every round goes once through all videos in a new order. Raises VoteError when there is no video.
    """
    if not names:
        raise VoteError("There is no pair of videos to vote on: the two sides share none.")
    with _alone(run):
        return _ballot(run, contest, sorted(names))


def vote(run: RunFolder, contest: Contest, names: Sequence[str], number: int, choice: Choice) -> None:
    """Keep a choice on the ballot `number`.

    Raises VoteError when that ballot is not the one to be judged now (it was judged in another window).
    """
    with _alone(run):
        ballot = _ballot(run, contest, sorted(names))
        if ballot.number != number:
            raise VoteError("This pair was judged already, perhaps in another window: here is the next one.")
        chosen: str = choice
        if choice != "same":
            chosen = "after" if (choice == "left") == ballot.swapped else "before"
        shown = {"left": "after", "right": "before"} if ballot.swapped else {"left": "before", "right": "after"}
        record = {"kind": "vote", "time": time.time(), "contest": asdict(contest), "video": ballot.name}
        append(votes_file(run), {**record, "shown": shown, "choice": choice, "chosen": chosen})


def undo(run: RunFolder, contest: Contest) -> None:
    """Take the last vote of a contest back; its pair is the next ballot again. Raises VoteError when there is none."""
    with _alone(run):
        if not _votes(_records(run, contest)):
            raise VoteError("There is no vote to take back.")
        append(votes_file(run), {"kind": "undo", "time": time.time(), "contest": asdict(contest)})


def standing(run: RunFolder, contest: Contest) -> Standing:
    """What the votes of a contest come to so far."""
    kept = _votes(_records(run, contest))
    after, before = (sum(record.get("chosen") == side for record in kept) for side in ("after", "before"))
    low, high = wilson(after, after + before)
    return Standing(
        votes=len(kept),
        after=after,
        before=before,
        same=len(kept) - after - before,
        videos=len({typed.text(record.get("video")) for record in kept}),
        rate=after / (after + before) if after + before else None,
        low=low,
        high=high,
    )


def wilson(successes: int, count: int) -> tuple[float | None, float | None]:
    """Wilson's 95% interval of a share of `count` independent trials; (None, None) without a trial."""
    if count == 0:
        return None, None
    share, z2 = successes / count, _Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    margin = _Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, centre - margin), min(1.0, centre + margin)


def votes_to_tell(rate: float, most: int = 2000) -> int | None:
    """From how many votes on an interval around this share would exclude a half; None beyond `most`."""
    better = max(rate, 1 - rate)
    for count in range(1, most + 1):
        low, _ = wilson(math.floor(better * count), count)
        if low is not None and low > 0.5:
            return count
    return None


def _ballot(run: RunFolder, contest: Contest, names: list[str]) -> Ballot:
    records = _records(run, contest)
    begun = [record for record in records if record.get("kind") == "begin"]
    if not begun or begun[-1].get("videos") != names:  # more videos have come since: a new order over all of them
        record = {"kind": "begin", "time": time.time(), "contest": asdict(contest), "videos": names}
        append(votes_file(run), {**record, "seed": secrets.randbits(63)})
        records = _records(run, contest)
        begun = [record for record in records if record.get("kind") == "begin"]
    since = len(_votes(records)) - len(_votes(records[: records.index(begun[-1])]))
    turn, place = divmod(max(0, since), len(names))
    chance = random.Random(f"{begun[-1].get('seed')} {turn}")
    order = chance.sample(names, len(names))
    swapped = [chance.random() < 0.5 for _ in names]
    return Ballot(len(_votes(records)), turn, place, order[place], swapped[place])


def _records(run: RunFolder, contest: Contest) -> list[Record]:
    wanted = asdict(contest)
    return [record for record in read_all(votes_file(run)) if record.get("contest") == wanted]


def _votes(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The votes that stand."""
    kept: list[dict[str, Any]] = []
    for record in records:
        if record.get("kind") == "vote":
            kept.append(record)
        elif record.get("kind") == "undo" and kept:
            kept.pop()
    return kept


@contextmanager
def _alone(run: RunFolder) -> Iterator[None]:
    """One writer at a time, also from another process. Raises VoteError when the run's folder cannot be written."""
    try:
        with file_lock.held(votes_file(run)):
            yield
    except OSError as error:
        message = f"The vote cannot be kept in {votes_file(run)} ({error.strerror or error}): free space there."
        raise VoteError(message) from error
