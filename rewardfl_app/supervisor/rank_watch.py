"""Noticing that one of several training processes is gone or silent, while the others wait for it."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rewardfl_app.runs import identity, pulse
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.pulse import Rank

# DeepSpeed's launcher ends the others itself, within 30 s and what it takes to notice.
_LAUNCHER_SECONDS = 45.0
_LOOK_MS = 200


@dataclass(frozen=True)
class LostRank:
    """The process that went first. `number`: None where it cannot be told which of them was the first; `code`: its
    return code, negative for a signal, None where nobody knows; `silent_seconds`: how long it had given no sign of life
    when it was given up, None when it ended."""

    number: int | None
    size: int
    code: int | None = None
    silent_seconds: float | None = None


class RankWatch:
    """Watches the processes of one attempt. A run of one process is never ended for its silence: there is nobody who
    waits for it."""

    def __init__(self, run: RunFolder, patience_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """patience_seconds: how long one may be silent while another is not."""
        self._run = run
        self._patience = patience_seconds
        self._clock = clock
        self._ends = _Ends()
        self._beats: dict[int, tuple[int, float]] = {}  # by rank: the beat, and when it was seen first
        self._since = 0.0
        self.lost: LostRank | None = None

    def look(self) -> None:
        """Sees who is gone or silent; the first is `lost` from then on."""
        ended = self._ends.so_far()  # before the files are read: one that ended earlier has its file by then
        ranks, now = pulse.read(self._run), self._clock()
        for rank in ranks:
            self._ends.add(rank)
            if self._beats.get(rank.number, (None, 0.0))[0] != rank.beat:
                self._beats[rank.number] = rank.beat, now
        if self.lost is None and ranks and ranks[0].size > 1:
            self.lost = self._ends.first(ended) or (self._silent(ranks, now) if len(ranks) == ranks[0].size else None)
            self._since = now

    @property
    def is_overdue(self) -> bool:
        """Whether the others still wait for one that is lost, and nobody else will end them."""
        if self.lost is None:
            return False
        waited = self._clock() - self._since
        return self.lost.silent_seconds is not None or waited > min(_LAUNCHER_SECONDS, self._patience)

    def _silent(self, ranks: Sequence[Rank], now: float) -> LostRank | None:
        silences = {rank.number: now - self._beats[rank.number][1] for rank in ranks}
        longest = max(silences, key=lambda number: silences[number])
        if silences[longest] > self._patience > 2 * min(silences.values()):
            return LostRank(longest, ranks[0].size, silent_seconds=silences[longest])
        return None


class _Ends:
    """In which order the processes of this machine end, and how: seen at once, before their parent collects them."""

    def __init__(self) -> None:
        self._known: dict[int, Rank] = {}  # by the descriptor of the process
        self._numbers: set[int] = set()
        self._ended: list[list[LostRank]] = []  # in this order; those seen at once together
        self._gone_before: list[LostRank] = []  # before they could be followed
        self._poll = select.poll()
        self._lock = threading.Lock()

    def add(self, rank: Rank) -> None:
        """Follow a process from now on; one that is gone already has ended."""
        if rank.number in self._numbers or not identity.on_this_machine(rank.record):
            return
        self._numbers.add(rank.number)
        try:
            descriptor = os.pidfd_open(int(rank.record["pid"]))
        except OSError:
            descriptor = -1
        if descriptor < 0 or not identity.is_running(rank.record):
            self._gone_before.append(_how(rank))
            if descriptor >= 0:
                os.close(descriptor)
            return
        with self._lock:
            begins = not self._known
            self._known[descriptor] = rank
            self._poll.register(descriptor, select.POLLIN)
        if begins:
            threading.Thread(target=self._follow, name="ranks", daemon=True).start()

    def so_far(self) -> list[list[LostRank]]:
        """Those of the followed that have ended, in this order; those that were seen at once together."""
        with self._lock:
            return list(self._ended)

    def first(self, ended: Sequence[Sequence[LostRank]]) -> LostRank | None:
        """The process that ended first, None while all run. `ended`: what `so_far` gave before the last `add`."""
        together = [*self._gone_before, *(ended[0] if ended else ())]
        if not together:
            return None
        order = sorted(together, key=_lateness)
        if len(order) > 1 and _lateness(order[0]) == _lateness(order[1]):
            return LostRank(None, order[0].size, order[0].code)
        return order[0]

    def _follow(self) -> None:
        while True:
            self._poll.poll(_LOOK_MS)
            with self._lock:
                # Once more, with those that were added meanwhile: they may have ended first.
                seen = [descriptor for descriptor, _ in self._poll.poll(0)]
                for descriptor in seen:
                    self._poll.unregister(descriptor)
                ranks = [self._known.pop(descriptor) for descriptor in seen]
                if ranks:
                    self._ended.append([_how(rank) for rank in ranks])
                over = not self._known
            for descriptor in seen:
                os.close(descriptor)
            if over:
                return


def _lateness(lost: LostRank) -> int:
    """Of several ends that were seen at once: a launcher ends the others with SIGTERM, so any other end came first."""
    return 0 if lost.code not in (None, 0, -signal.SIGTERM) else 1 if lost.code is None else 2


def _how(rank: Rank) -> LostRank:
    return LostRank(rank.number, rank.size, identity.exit_code(rank.record))


def is_suspended(ranks: list[Rank]) -> bool:
    """Whether a training process of this machine is stopped by a signal (SIGSTOP), so that the run stands still."""
    return any(identity.on_this_machine(rank.record) and identity.is_suspended(rank.record) for rank in ranks)
