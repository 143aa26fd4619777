"""Valid files, damaged: bits flipped, ends cut off, pieces swapped, doubled, zeroed and put in; drawn by hypothesis."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

KINDS = ("flip", "cut", "drop", "double", "swap", "zero", "fill", "insert", "number", "append")
_PIECES = (
    b"\x00" * 8,
    b"\xff" * 8,
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"1e400",
    b"-1",
    b"NaN",
    b'"',
    b"{",
    b"[" * 2000,
    b"\n",
    b"\xed\xa0\x80",
    b"\xff\xfe",
    b"null",
    b"99999999999999999999999999",
    b": &a [*a, *a]",
    b"../../../../etc/passwd",
)


@dataclass(frozen=True)
class Cut:
    """One damage. `place` and `other` are shares (0 to 1) of the length, `size` a number of bytes."""

    kind: str
    place: float
    other: float
    size: int
    piece: int

    def __call__(self, data: bytes) -> bytes:
        first, second = sorted((int(self.place * len(data)), int(self.other * len(data))))
        size = min(self.size, max(0, second - first)) or 1
        piece = _PIECES[self.piece % len(_PIECES)]
        match self.kind:
            case "flip":
                return (
                    data[:first]
                    + bytes([(data[first : first + 1] or b"\0")[0] ^ 1 << self.piece % 8])
                    + data[first + 1 :]
                )
            case "cut":
                return data[:first]
            case "drop":
                return data[:first] + data[first + size :]
            case "double":
                return data[: first + size] + data[first:]
            case "swap":
                return (
                    data[:first]
                    + data[second : second + size]
                    + data[first + size : second]
                    + data[first : first + size]
                    + data[second + size :]
                )
            case "zero":
                return data[:first] + bytes(size) + data[first + size :]
            case "fill":
                return data[:first] + b"\xff" * size + data[first + size :]
            case "insert":
                return data[:first] + piece + data[first:]
            case "number":  # a size, a count or an offset of a binary format
                return data[:first] + piece[:4].ljust(4, b"\xff") + data[first + 4 :]
            case _:
                return data + data[first:second] + piece


def cuts(largest: int = 64) -> st.SearchStrategy[list[Cut]]:
    """One to four damages. Half of the places lie in the first twentieth, where formats say what follows."""
    share = st.floats(0, 1, allow_nan=False)
    place = st.one_of(share, share.map(lambda value: value / 20))
    single = st.builds(
        Cut, st.sampled_from(KINDS), place, place, st.integers(1, largest), st.integers(0, len(_PIECES) * 8 - 1)
    )
    return st.lists(single, min_size=1, max_size=4)


def damaged(data: bytes, by: list[Cut]) -> bytes:
    """The data after every damage, one after the other."""
    for cut in by:
        data = cut(data)
    return data
