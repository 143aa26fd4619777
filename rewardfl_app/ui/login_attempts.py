"""Passwords cannot be tried out quickly: after a few wrong ones each further attempt has to wait, ever longer.

There is one account, so the wrong attempts of everybody count together: an address can be made up behind a proxy.
Whoever is logged in already is not concerned.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

FREE = 5
LONGEST_SECONDS = 60.0


class LoginAttempts:
    """Counts wrong passwords in a row."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong = 0
        self._next = 0.0

    def begin(self) -> int:
        """Take an attempt; 0 when it may be made, else the whole seconds until the next may be.

        It counts as wrong until `succeed` is called, so that many at once are no way around.
        """
        now = self._clock()
        if now < self._next:
            return math.ceil(self._next - now)
        self._wrong += 1
        if self._wrong >= FREE:
            self._next = now + min(2.0 ** (self._wrong - FREE), LONGEST_SECONDS)
        return 0

    def succeed(self) -> None:
        """The password was right: start from the beginning."""
        self._wrong, self._next = 0, 0.0
