"""Why a child process ended without a last word, as far as its log tells."""

from __future__ import annotations

import os
import re
from pathlib import Path

from rewardfl_app.config.plain_file import open_plain
from rewardfl_app.config.secrets import redacted

_ERROR_LINE = re.compile(r"^error: (.+)$", re.MULTILINE)
_EXCEPTION_LINE = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception)\b.*)$", re.MULTILINE)
_LOG_BYTES = 16_000


def last_words(log: Path, process: str) -> str:
    """One sentence from the end of a log: its last `error:` line, its last exception, else that it says nothing.

    Args:
        process: what it is called in the sentence, such as "scoring process".
    """
    try:
        with open_plain(log, follow=False) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        text = ""
    if told := _ERROR_LINE.findall(text):
        return redacted(told[-1])
    if raised := _EXCEPTION_LINE.findall(text):
        return f"The {process} failed: {redacted(raised[-1])} (log: {log})"
    return f"The {process} was ended before it was done, perhaps for want of memory: start it again (log: {log})."
