"""The blind vote of the Compare page: one pair at a time without its names, and what all votes come to."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardfl_app.config.plain_file import read_plain
from rewardfl_app.runs import votes
from rewardfl_app.runs.votes import CHOICES, Contest, Standing, VoteError
from rewardfl_app.ui import comparison
from rewardfl_app.ui.charts import number
from rewardfl_app.ui.comparison import Side
from rewardfl_app.ui.media import served_file

# The result is kept back until so many pairs were judged (or all, where there are fewer): knowing it sways the eye.
SHOWN_FROM = 6


def answer(runs_dir: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """What the page asks about a contest {a: {run, step}, b: {run, step}}, with `do` "look", "vote" or "undo".

    For a vote `number` is the ballot's and `choice` left, right or same; `reveal` asks for the result at once. Returns
    {ballot, standing, error}: `ballot` has both videos as data addresses, so that not even their names tell which is
    which; `standing` is None while it is kept back.
    """
    sides = _sides(runs_dir, request)
    if sides is None:
        return {"ballot": None, "standing": None, "error": "One of the two runs is no longer there."}
    before, after = sides
    contest = Contest(before.run.id, before.step, after.run.id, after.step)
    names = comparison.pair_names(before, after)
    error = ""
    try:
        if request.get("do") == "undo":
            votes.undo(after.run, contest)
        elif request.get("do") == "vote":
            choice = next((known for known in CHOICES if known == request.get("choice")), None)
            asked = request.get("number")
            if choice is None or not isinstance(asked, int):
                raise VoteError("That is no vote: choose left, right or the same.")
            votes.vote(after.run, contest, names, asked, choice)
    except VoteError as refused:
        error = str(refused)
    try:
        ballot = votes.next_ballot(after.run, contest, names)
    except VoteError as refused:
        return {"ballot": None, "standing": None, "error": str(refused)}
    now = votes.standing(after.run, contest)
    shown = now.votes >= min(SHOWN_FROM, len(names)) or (bool(request.get("reveal")) and now.votes > 0)
    left, right = (after, before) if ballot.swapped else (before, after)
    about = left.samples[ballot.name].load_faces()
    return {
        "ballot": {
            "number": ballot.number,
            "round": ballot.round,
            "place": ballot.place,
            "count": len(names),
            "left": _data_address(left.samples[ballot.name].video, runs_dir),
            "right": _data_address(right.samples[ballot.name].video, runs_dir),
            "prompt": str(about.get("prompt") or ""),
            "fps": number(about.get("fps")),
            "num_frames": number(about.get("num_frames")),
        },
        "votes": now.votes,
        "shown_from": min(SHOWN_FROM, len(names)),
        "standing": result(now, before, after) if shown else None,
        "error": error,
    }


def result(now: Standing, before: Side, after: Side) -> dict[str, Any]:
    """The rate of "after" with its interval and what they mean, in words."""
    return {
        "votes": now.votes,
        "after": now.after,
        "before": now.before,
        "same": now.same,
        "rate": now.rate,
        "low": now.low,
        "high": now.high,
        "names": {"before": _name(before, after), "after": _name(after, before)},
        "sentence": meaning(now),
    }


def meaning(now: Standing) -> str:
    """What a standing tells, and what it does not."""
    if now.rate is None or now.low is None or now.high is None:
        return "Nobody saw a difference so far: every vote was for “the same”."
    if now.low > 0.5:
        said = "The one after is preferred, more often than chance alone brings."
    elif now.high < 0.5:
        said = "The one before is preferred, more often than chance alone brings."
    else:
        said = "Half lies inside the interval, so this may be chance."
        needed = votes.votes_to_tell(now.rate) if now.rate != 0.5 else None
        decided = now.after + now.before
        if needed is not None and needed > decided:
            said += f" If the rate stays as it is, about {needed} votes that choose would tell."
    if now.votes > now.videos:
        said += " Some pairs were judged more than once; such votes are not independent, so the interval is too narrow."
    return said


def _sides(runs_dir: Path, request: Mapping[str, Any]) -> tuple[Side, Side] | None:
    found = []
    for key in ("a", "b"):
        asked = request.get(key)
        if not isinstance(asked, Mapping) or not isinstance(asked.get("step"), int):
            return None
        run = comparison.find_run(runs_dir, asked.get("run"))
        if run is None:
            return None
        found.append(comparison.side(run, asked["step"]))
    return found[0], found[1]


def _name(one: Side, other: Side) -> str:
    return one.label if one.run.path == other.run.path else f"{one.name}, {one.label.lower()}"


def _data_address(video: Path, runs_dir: Path) -> str | None:
    served = served_file(video, runs_dir)
    try:
        content = None if served is None else read_plain(served)
    except OSError:
        content = None
    return None if content is None else "data:video/mp4;base64," + base64.b64encode(content).decode("ascii")
