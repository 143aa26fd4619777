"""What a process of a run prints, without its secrets: everything it prints is kept in a log."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from rewardfl_app.config.secrets import redacted


class QuietStream:
    """A text stream that blanks secrets in what is written; everything else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text without its secrets; returns the length of the text as it was given."""
        self._stream.write(redacted(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each of the lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def hide_secrets() -> None:
    """Blank secrets in all that this process prints from now on: logging, tracebacks, warnings, print.

    Call it before anything keeps hold of sys.stderr, once, where a process begins.
    """
    sys.stdout, sys.stderr = QuietStream(sys.stdout), QuietStream(sys.stderr)  # type: ignore[assignment]
