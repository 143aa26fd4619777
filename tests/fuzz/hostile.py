"""Values, texts and kinds of files that no writer of this project makes, for readers that must refuse them calmly."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# As JSON text, so that what Python itself could not write is among them.
JSON_VALUES: tuple[str, ...] = (
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1.5",
    "1e400",
    "-1e400",
    "1e308",
    "NaN",
    "-Infinity",
    "9" * 25,
    "9" * 400,
    "9" * 5000,
    '""',
    '"text"',
    '"12"',
    '"\\u0000"',
    '"\\ud800"',
    '"../../victim"',
    '"<img src=x onerror=alert(1)>"',
    json.dumps("x" * 20_000),
    "[]",
    "[[]]",
    '[1, "a", null, {}]',
    "{}",
    '{"state": [], "a": {"b": [1e400]}}',
    "[" * 200 + "]" * 200,
)
# Texts that stand in place of a whole file.
TEXTS: tuple[bytes, ...] = (
    b"",
    b"\n",
    b"\x00",
    b"\x00" * 4096,
    b"\xff\xfe\x00",
    b"\xef\xbb\xbf{}",
    b"{",
    b"{}",
    b"[]",
    b"null",
    b"0",
    b'"text"',
    b"{}{}",
    b'{"a": 1, "a": 2}',
    b"[" * 20_000,
    b'{"a":' * 5_000,
    b'{"a": ' + b"[" * 990 + b"]" * 990 + b"}",
    b'{"a": ' + b"9" * 100_000 + b"}",
    b'{"a": "' + b"x" * 1_000_000 + b'"}',
    '{"name": "ünïcode"}'.encode("latin-1"),
    '{"name": "ünïcode"}'.encode("utf-16"),
    b"x" * 300_000,
    b"\r\n" * 1000,
    b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    b"PK\x03\x04" + b"\x00" * 60,
    b"%YAML 1.2\n---\n!!python/object/apply:os.system ['true']\n",
)


def json_variants(content: Any) -> Iterator[tuple[str, str]]:
    """Every field of a JSON object, at any depth, without it and with each hostile value in its place: (what, text)."""
    for place in places(content):
        name = "/".join(map(str, place)) or "everything"
        if place:
            yield f"without {name}", json.dumps(_changed(content, place, None, remove=True))
        for value in JSON_VALUES:
            yield f"{name} = {value[:30]}", with_text(content, place, value)


def places(content: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of a JSON value are: (), ("a",), ("a", 0), ...; of a list the first two entries alone."""
    yield above
    if isinstance(content, dict):
        for key, value in content.items():
            yield from places(value, (*above, key))
    elif isinstance(content, list):
        for index, value in enumerate(content[:2]):
            yield from places(value, (*above, index))


def with_text(content: Any, place: tuple[Any, ...], text: str) -> str:
    """The JSON text in which this text stands at the place."""
    mark = "\ue000here\ue000"
    whole = json.dumps(_changed(content, place, mark), ensure_ascii=False)
    return whole.replace(json.dumps(mark, ensure_ascii=False), text)


def _changed(content: Any, place: tuple[Any, ...], value: Any, remove: bool = False) -> Any:
    if not place:
        return value
    copy = dict(content) if isinstance(content, dict) else list(content)
    if len(place) == 1 and remove:
        del copy[place[0]]
    else:
        copy[place[0]] = _changed(content[place[0]], place[1:], value, remove)
    return copy


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_bytes(b"{}")


def _socket(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # the address of a socket may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


# Things that are no plain file, under the name of one.
ODD_FILES: dict[str, Callable[[Path], None]] = {
    "nothing": lambda path: None,
    "a folder": _folder,
    "a pipe": lambda path: os.mkfifo(path),
    "a socket": _socket,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to an endless file": lambda path: path.symlink_to("/dev/zero"),
    "a link to a terminal": lambda path: path.symlink_to("/dev/tty"),
    "a link to its folder": lambda path: path.symlink_to("."),
    "a link to a file of the system": lambda path: path.symlink_to("/etc/passwd"),
}


def remove(path: Path) -> None:
    """Take away whatever is at the path."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
