"""One file over HTTP into one place: it goes on where it was cut off, and is verified before it gets its name."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from rewardfl_app.config.plain_file import open_plain
from rewardfl_app.downloads import DownloadError, Tell
from rewardfl_app.downloads.web import BrokenOff, NoSuchRange, Token, ask, persist
from rewardfl_app.runs import durable
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic

_CHUNK = 2**20  # bytes


@dataclass(frozen=True)
class RemoteFile:
    """A file of a server: its path below the folder it goes to, its size in bytes, its digest as `digest_of` has it."""

    name: str
    url: str
    size: int
    digest: str


def fetch(file: RemoteFile, path: Path, tell: Tell, token: Token | None = None) -> None:
    """Fetch a file to `path`; what was cut off before lies beside it as .part and goes on.

    Raises DownloadError, naming the file, when it cannot be had, is of another size or twice of another content than
    its source states; and OSError when it cannot be written.
    """
    part = part_of(path)
    for _ in range(2):
        if num_bytes(part) > file.size:
            _drop(part)
        if num_bytes(part) < file.size:
            persist(file.name, lambda: _receive(file, part, tell, token), lambda: num_bytes(part))
        part.touch()  # the file may be empty
        tell(f"checking {file.name}", file.size, file.size)
        if digest_of(part, file.digest) == file.digest:
            durable.put_in_place(part, path)
            _note_of(part).unlink(missing_ok=True)
            return
        _drop(part)
    raise DownloadError(
        f"{file.name} has come twice with another content than its source states ({file.digest}), and was deleted: "
        "try again later, or on another network."
    )


def part_of(path: Path) -> Path:
    """Where a file lies while it comes."""
    return path.with_name(f"{path.name}.part")


def num_bytes(path: Path) -> int:
    """Size of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def digest_of(path: Path, like: str) -> str:
    """`sha256:...`, or `git:...` for what git calls a blob, of the same kind as `like`. Raises OSError."""
    kind = like.partition(":")[0]
    with open_plain(path) as file:
        if kind == "sha256":
            digest = hashlib.sha256()
        else:
            digest = hashlib.sha1(b"blob %d\0" % os.fstat(file.fileno()).st_size, usedforsecurity=False)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return f"{kind}:{digest.hexdigest()}"


def _note_of(part: Path) -> Path:
    """What the bytes of a part belong to, for the next call."""
    return part.with_name(f"{part.name}.json")


def _drop(part: Path) -> None:
    """Begin again."""
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def _receive(file: RemoteFile, part: Path, tell: Tell, token: Token | None) -> None:
    """Fetch what is missing of the part. Raises BrokenOff when it has come to less than the whole."""
    note = read_json(_note_of(part)) or {}
    there = num_bytes(part) if note.get("digest") == file.digest else 0
    known = str(note.get("etag") or "")
    headers = {"Range": f"bytes={there}-"} if there else {}
    if there and known.startswith('"'):  # a weak one may not be compared so
        headers["If-Range"] = known
    try:
        response = ask(file.url, headers, token)
    except NoSuchRange:
        _drop(part)
        raise
    with response:
        etag = response.headers.get("ETag", "")
        there = _goes_on_at(response, file, there)
        if there and known and etag and etag != known:
            _drop(part)
            raise BrokenOff("the file has changed at its source")
        if not there:
            part.unlink(missing_ok=True)
        write_json_atomic(_note_of(part), {"digest": file.digest, "etag": etag})
        _write(response, file, part, there, tell)


def _goes_on_at(response: HTTPResponse, file: RemoteFile, asked: int) -> int:
    """The byte at which an answer begins: where it was asked to, or 0 from a server that gives no parts."""
    begin, total = 0, response.headers.get("Content-Length")
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != asked:
            raise DownloadError(f"{file.name}: the server sends other bytes than it was asked for; try again later.")
        begin, total = asked, match[2].replace("*", "") or None
    if total is not None and total.isdecimal() and int(total) != file.size:
        raise _other_size(file, int(total))
    return begin


def _write(response: HTTPResponse, file: RemoteFile, part: Path, there: int, tell: Tell) -> None:
    # Without a buffer: what has come is in the file, whatever happens next.
    with open(part, "ab", buffering=0) as out:
        while True:
            tell(file.name, there, file.size)
            try:
                chunk = response.read1(_CHUNK)
            except (OSError, HTTPException) as error:
                raise BrokenOff(str(error) or type(error).__name__) from error
            if not chunk:
                break
            there += len(chunk)
            if there > file.size:
                out.truncate(0)
                raise _other_size(file, there)
            rest = memoryview(chunk)
            while rest:
                rest = rest[out.write(rest) :]
    if there < file.size:
        raise BrokenOff(f"it ended after {there} of {file.size} bytes")


def _other_size(file: RemoteFile, size: int) -> DownloadError:
    word = "more" if size > file.size else "fewer"
    return DownloadError(
        f"{file.name}: the server has {word} bytes ({size}) than its source states ({file.size}); try again later."
    )
