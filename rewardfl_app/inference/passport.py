"""The passport of a run: one HTML file that opens offline and says what was trained on what, how it went, what came of
it and how to do it again.

It is made from the run folder alone; no weights are loaded. Text and pictures that come from outside are escaped or
encoded, and the page's own policy forbids it to run scripts or to ask for anything.
"""

from __future__ import annotations

import base64
import io
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from rewardfl_app.config.schema import Config
from rewardfl_app.config.secrets import redacted_page
from rewardfl_app.data import video
from rewardfl_app.data.errors import DataError
from rewardfl_app.inference import passport_page
from rewardfl_app.inference.pairs import CompareError, Pair, pairs, side
from rewardfl_app.inference.passport_facts import Facts, collect
from rewardfl_app.inference.side_by_side import write_pair
from rewardfl_app.runs.change import number
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.runs.samples import BASELINE_STEP

NUM_CLIPS = 3
LARGEST_CLIP = 8 * 2**20  # bytes; a larger one is shown as a picture


class PassportError(RunError):
    """A passport that cannot be made; the message is one sentence."""


@dataclass(frozen=True)
class Clip:
    """One sample before (left) and after (right): data addresses of a video and of its first frame."""

    name: str
    prompt: str
    seed: int | None
    rank: str
    before: float | None
    after: float | None
    poster: str
    video: str | None


def place(run: RunFolder, step: int | None = None) -> Path:
    """Where the passport of a run is kept: that of the step it is about by itself, or of one that was named."""
    return run.comparisons / ("passport.html" if step is None else f"passport_step_{step:06d}.html")


def build(run: RunFolder, settings: Config, out: Path, step: int | None = None) -> Path:
    """Write the passport to `out` and return it; the file is replaced as a whole.

    settings: those of the run as a person gave them (see `supervisor.thaw`). step: of the evaluation it is about; None
    is the best one by the rule, else the last. Raises PassportError.
    """
    facts = collect(run, settings, step)
    if step is not None and facts.step != step:
        raise PassportError(f"Run {run.id} has no evaluation of step {step}: name a step that has one.")
    page = redacted_page(passport_page.render(facts, clips(run, facts)))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished = out.with_name(f".{out.name}.{os.getpid()}.part")
        try:
            unfinished.write_text(page, encoding="utf-8")
            os.replace(unfinished, out)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise PassportError(f"The passport cannot be written to {out} ({error.strerror or error}).") from error
    return out


def clips(run: RunFolder, facts: Facts) -> list[Clip]:
    """The sample that gained most, the one in the middle and the one that gained least, before and after."""
    if facts.step is None:
        return []
    try:
        found = pairs(side(run, BASELINE_STEP), side(run, facts.step))
    except CompareError:  # no videos are left of the base model or of this step
        return []
    return [_clip(pair, rank) for pair, rank in _chosen(found)]


def _chosen(found: Sequence[Pair]) -> list[tuple[Pair, str]]:
    ranked = sorted(found, key=_gain, reverse=True)
    if len(ranked) <= 1:
        return [(pair, "the only one") for pair in ranked]
    ends = [(ranked[0], "gained most"), (ranked[-1], "gained least")]
    if len(ranked) < NUM_CLIPS:
        return ends
    return [ends[0], (ranked[len(ranked) // 2], "in the middle"), ends[1]]


def _gain(pair: Pair) -> float:
    """Change of the reward; below every other where one side was not scored."""
    before, after = number(pair.before_faces.get("reward")), number(pair.after_faces.get("reward"))
    return -math.inf if before is None or after is None else after - before


def _clip(pair: Pair, rank: str) -> Clip:
    seed = pair.after_faces.get("seed")
    try:
        with tempfile.TemporaryDirectory() as folder:
            joined = Path(folder) / "pair.mp4"
            write_pair(joined, pair)
            poster, content = _poster(joined), joined.read_bytes()
    except (DataError, OSError) as error:
        raise PassportError(f"The videos of {pair.name} cannot be read: {error}") from error
    return Clip(
        name=pair.name,
        prompt=str(pair.after_faces.get("prompt") or ""),
        seed=seed if isinstance(seed, int) else None,
        rank=rank,
        before=number(pair.before_faces.get("reward")),
        after=number(pair.after_faces.get("reward")),
        poster=poster,
        video=_address("video/mp4", content) if len(content) <= LARGEST_CLIP else None,
    )


def _poster(path: Path) -> str:
    picture = Image.fromarray(video.read(path, num_frames=1)[0])
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=90)
    return _address("image/jpeg", buffer.getvalue())


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64," + base64.b64encode(content).decode("ascii")
