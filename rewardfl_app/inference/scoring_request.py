"""What the scoring process is asked, as a JSON file, and what it tells of itself while it works."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardfl_app.config import files, presets, validation
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic

WRITABLE = frozenset({"video", "faces", "crops", "heat", "heat_over_video", "overlay"})
_WRITE_EVERY = 0.2  # seconds


@dataclass(frozen=True)
class ScoringRequest:
    """One video to score. `write` names what goes into the folder `out`; `status` is the file that tells how far it is.

    `reference` is an image or a video, None for the video's own first frame.
    """

    video: Path
    reference: Path | None
    reward: RewardConfig
    out: Path
    status: Path
    write: frozenset[str]
    check_insightface: bool

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> ScoringRequest:
        """The request in a JSON object. Raises ConfigError with every problem of its settings."""
        unknown = sorted(set(content) - {"video", "reference", "reward", "out", "status", "write", "check_insightface"})
        write = frozenset(content.get("write") or ())
        missing = [name for name in ("video", "reward", "out") if not content.get(name)]
        problems = [Problem(name, f"The request does not name {name}.") for name in missing]
        problems += [Problem(name, f"There is no {name} in a scoring request.") for name in unknown]
        problems += [Problem("write", f"{name} cannot be written.") for name in sorted(write - WRITABLE)]
        if problems:
            raise ConfigError(problems)
        out = Path(content["out"])
        return cls(
            video=Path(content["video"]),
            reference=Path(content["reference"]) if content.get("reference") else None,
            reward=reward_settings(content["reward"]),
            out=out,
            status=Path(content.get("status") or out / "status.json"),
            write=write,
            check_insightface=bool(content.get("check_insightface")),
        )


def reward_settings(mapping: Mapping[str, Any]) -> RewardConfig:
    """The `reward` section of a configuration, checked with its files. Raises ConfigError."""
    base = files.to_mapping(presets.preset("pocket"))  # all other sections are as they should be
    try:
        reward = validation.build({**base, "reward": dict(mapping)}).reward
    except ConfigError as error:
        raise ConfigError([p for p in error.problems if p.field.startswith("reward")] or error.problems) from error
    if not reward.reward_model_path:
        raise ConfigError([Problem("reward.reward_model_path", "Name the folder of a face pack, or pocket.")])
    return reward


def read_request(path: Path) -> dict[str, Any]:
    """The JSON object in a request file. Raises ConfigError."""
    content = read_json(path)
    if content is None:
        raise ConfigError([Problem("", f"{path} cannot be read as a request.")])
    return content


class Status:
    """The status file: {state, done, total, message}, `done` of `total` frames over all passes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._done, self._total, self._message = 0, 0, ""
        self._written = 0.0

    def start(self, total: int | None = None, message: str = "Loading the face pack") -> None:
        """Tell that work has begun; `total` frames are to be gone through, None where that is not known yet."""
        self._total, self._message = total or 0, message
        self._write("working" if total else "starting")

    def advance(self, count: int, message: str) -> None:
        """`count` more frames are done; the file is written a few times a second at most."""
        self._done += count
        self._message = message
        if time.monotonic() - self._written >= _WRITE_EVERY:
            self._write("working")

    def done(self, message: str) -> None:
        """All is written."""
        self._total = self._done
        self._message = message
        self._write("done")

    def failed(self, message: str) -> None:
        """It cannot be done; the message is the one sentence that says why."""
        self._message = message
        self._write("failed")

    def _write(self, state: str) -> None:
        # A damaged file has fewer frames than it says, and some have more.
        total = max(self._total, self._done) or None
        content = {"state": state, "done": self._done, "total": total, "message": self._message}
        write_json_atomic(self._path, content)
        self._written = time.monotonic()
