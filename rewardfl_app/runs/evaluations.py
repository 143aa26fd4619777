"""The evaluation records of a run, followed as metrics.jsonl grows, without parsing its training records.

A list of many long runs asks for these alone: fifty runs of ten thousand steps are read in the time that one of them
takes to parse.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

from rewardfl_app.runs.change import number
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonlines import JsonLinesReader, Record

_EVALUATION = b'"eval/'
_STEP = b'{"step": '

# What a run is judged by (see `alarm` and `ui.hacking`), with the parts of an evaluation record that tell of each.
_NAMES = ("reward", "judge", "motion", "frame_motion", "first_frame_distance", "face_rate", "face_size", "sharpness")
_PARTS = ("", "_baseline", "_gain", "_gain_low", "_gain_high")
_PLACES = {key: place for place, key in enumerate(f"eval/{name}{part}" for name in _NAMES for part in _PARTS)}


class Evaluated(Mapping[str, Any]):
    """What of an evaluation record a run is judged by, in a twentieth of its memory: a page keeps all of a run."""

    __slots__ = ("_step", "_values")

    def __init__(self, record: Mapping[str, Any]) -> None:
        """The record must have a step."""
        self._step: int = record["step"]
        numbers = (number(record.get(key)) for key in _PLACES)
        self._values = array("d", [math.nan if value is None else value for value in numbers])

    def __getitem__(self, key: str) -> Any:
        if key == "step":
            return self._step
        value = self._values[_PLACES[key]]
        return None if math.isnan(value) else value

    def __iter__(self) -> Iterator[str]:
        yield "step"
        yield from _PLACES

    def __len__(self) -> int:
        return 1 + len(_PLACES)


class EvaluationReader(JsonLinesReader):
    """Call `look`, then read `records`: the evaluations that stand, in the order of their steps."""

    def __init__(self, run: RunFolder) -> None:
        super().__init__(run.metrics)
        self._run = run
        self.records: list[Evaluated] = []

    def look(self) -> bool:
        """Read what was written since the last call; whether `records` are others now."""
        restarts, before = self.restarts, list(self.records)
        new = self.read_new()
        if self.restarts != restarts:
            self.records = []
        for record in new:
            step = record.get("step")
            if isinstance(step, int):
                self._forget(step)
                if len(record) > 1:
                    self.records.append(Evaluated(record))
        return self.records != before

    def _forget(self, step: int) -> None:
        """A run that went on from an earlier checkpoint writes steps again: what it had written from there on falls."""
        while self.records and self.records[-1]["step"] >= step:
            self.records.pop()

    def _parse(self, text: bytes) -> list[Record]:
        """Evaluation records, and of a resumed run the bare steps between them."""
        if (self._run.path / "exit.1.json").exists():
            return [record for line in text.split(b"\n") for record in self._line(line)]
        found = []
        place = text.find(_EVALUATION)
        while place >= 0:
            end = text.find(b"\n", place)
            found += super()._parse(text[text.rfind(b"\n", 0, place) + 1 : end])
            place = text.find(_EVALUATION, end)
        return found

    def _line(self, line: bytes) -> list[Record]:
        if _EVALUATION in line:
            return super()._parse(line)
        step = line[len(_STEP) : line.find(b",")] if line.startswith(_STEP) else b""
        return [{"step": int(step)}] if step.isdigit() else []
