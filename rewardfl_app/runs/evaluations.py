"""The evaluation records of a run, followed as metrics.jsonl grows, without parsing its training records.

A list of many long runs asks for these alone: fifty runs of ten thousand steps are read in the time that one of them
takes to parse.
"""

from __future__ import annotations

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonlines import JsonLinesReader, Record

_EVALUATION = b'"eval/'
_STEP = b'{"step": '


class EvaluationReader(JsonLinesReader):
    """Call `look`, then read `records`: the evaluations that stand, in the order of their steps."""

    def __init__(self, run: RunFolder) -> None:
        super().__init__(run.metrics)
        self._run = run
        self.records: list[Record] = []

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
                    self.records.append(record)
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
