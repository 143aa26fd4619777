"""Noticing that one of several training processes is gone or silent, while the others wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rewardfl_app.runs import identity, pulse
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.pulse import Rank

# DeepSpeed's launcher ends the others itself, within 30 s and what it takes to notice.
_LAUNCHER_SECONDS = 45.0


@dataclass(frozen=True)
class LostRank:
    """The process that went first. `code`: its return code, negative for a signal, None where nobody knows;
    `silent_seconds`: how long it had given no sign of life when it was given up, None when it ended."""

    number: int
    size: int
    code: int | None = None
    silent_seconds: float | None = None


class RankWatch:
    """Watches the processes of one attempt. A run of one process is never ended for its silence: there is nobody who
    waits for it."""

    def __init__(
        self, run: RunFolder, patience_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """patience_seconds: how long one may be silent while another is not."""
        self._run = run
        self._patience = patience_seconds
        self._clock = clock
        self._beats: dict[int, tuple[int, float]] = {}  # by rank: the beat, and when it was seen first
        self._since = 0.0
        self.lost: LostRank | None = None

    def look(self) -> None:
        """Sees who is gone or silent; the first is `lost` from then on."""
        ranks, now = pulse.read(self._run), self._clock()
        for rank in ranks:
            if self._beats.get(rank.number, (None, 0.0))[0] != rank.beat:
                self._beats[rank.number] = rank.beat, now
        if self.lost is not None or not ranks or len(ranks) < ranks[0].size:
            return
        here = [rank for rank in ranks if identity.on_this_machine(rank.record)]
        gone = [rank for rank in here if not identity.is_running(rank.record)]
        if gone:
            # Of several that are gone already, the one that was killed is the cause: the others fail without it.
            codes = {rank.number: identity.exit_code(rank.record) for rank in gone}
            first = min(gone, key=lambda rank: (-1 if (codes[rank.number] or 0) < 0 else 0, not codes[rank.number]))
            if len(gone) < len(ranks) or codes[first.number]:
                self._lose(LostRank(first.number, first.size, codes[first.number]), now)
            return
        silences = {rank.number: now - self._beats[rank.number][1] for rank in ranks}
        longest = max(silences, key=lambda number: silences[number])
        if len(ranks) > 1 and silences[longest] > self._patience > 2 * min(silences.values()):
            self._lose(LostRank(longest, ranks[0].size, silent_seconds=silences[longest]), now)

    @property
    def is_overdue(self) -> bool:
        """Whether the others still wait for one that is lost, and nobody else will end them."""
        if self.lost is None:
            return False
        waited = self._clock() - self._since
        return self.lost.silent_seconds is not None or waited > min(_LAUNCHER_SECONDS, self._patience)

    def _lose(self, lost: LostRank, now: float) -> None:
        self.lost, self._since = lost, now


def is_suspended(ranks: list[Rank]) -> bool:
    """Whether a training process of this machine is stopped by a signal (SIGSTOP), so that the run stands still."""
    return any(identity.on_this_machine(rank.record) and identity.is_suspended(rank.record) for rank in ranks)
