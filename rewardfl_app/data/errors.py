"""What can be wrong with the data, as one sentence for people."""

from __future__ import annotations


class DataError(Exception):
    """A problem of the training data; the message names the file, and the row and column where there is one."""
