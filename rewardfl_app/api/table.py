"""Rows of numbers that a cell shows as a table."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

_MOST_ROWS = 60  # that are shown
_ONE_LINE = 32  # characters

Row = dict[str, Any]


class Table(list[Row]):
    """A list of rows, each a dict with the same keys; sorted, filtered and indexed as any list."""

    def column(self, name: str) -> list[Any]:
        """The values of one column from top to bottom."""
        return [row[name] for row in self]

    def only(self, *names: str) -> Table:
        """The table with these columns alone, in this order."""
        return Table({name: row[name] for name in names} for row in self)

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return Table(found) if isinstance(place, slice) else found

    def __repr__(self) -> str:
        rows = self._texts()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
        return "\n".join([*lines, *self._left_out()]) or "no rows"

    def _repr_html_(self) -> str:
        head, *rows = self._texts() or [[]]
        looks = [_look([row[name] for row in self[:_MOST_ROWS]]) for name in head]
        body = f"<thead><tr>{_cells('th', head, looks)}</tr></thead>"
        body += "".join(f"<tr>{_cells('td', row, looks)}</tr>" for row in rows)
        note = "".join(f"<div>{html.escape(line)}</div>" for line in self._left_out())
        return f"<table style='font-variant-numeric:tabular-nums'>{body}</table>{note}" if rows else "no rows"

    def _texts(self) -> list[list[str]]:
        """The head and the rows that are shown."""
        if not self:
            return []
        names, rows = list(self[0]), self[:_MOST_ROWS]
        digits = [_digits(rows.column(name)) for name in names]
        return [
            names,
            *([shown(row[name], places) for name, places in zip(names, digits, strict=True)] for row in rows),
        ]

    def _left_out(self) -> list[str]:
        return [f"… and {len(self) - _MOST_ROWS} more rows"] if len(self) > _MOST_ROWS else []


def shown(value: object, digits: int = 3) -> str:
    """A value as it stands in a table, a number with so many digits after the point."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(part, digits)}" for name, part in value.items())
    return str(value)


def _digits(values: Sequence[object]) -> int:
    """After the point, for all numbers of a column: the larger, the fewer."""
    largest = max((abs(value) for value in values if isinstance(value, float)), default=0.0)
    return 3 if largest < 10 else 1 if largest < 1000 else 0


def _look(values: Sequence[object]) -> str:
    """Text stands on the left, and in one line where it is short."""
    texts = [value for value in values if isinstance(value, str)]
    if not texts:
        return ""
    return " style='text-align:left" + (";white-space:nowrap'" if max(map(len, texts)) <= _ONE_LINE else "'")


def _cells(tag: str, texts: Sequence[str], looks: Sequence[str]) -> str:
    cells = zip(texts, looks, strict=True)
    return "".join(f"<{tag}{look}>{html.escape(text)}</{tag}>" for text, look in cells)
