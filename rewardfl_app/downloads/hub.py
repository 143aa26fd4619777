"""What a model repository at Hugging Face holds: names, sizes and digests, all of one commit."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from http.client import HTTPException
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from rewardfl_app.downloads import DownloadError
from rewardfl_app.downloads.catalog import Repository
from rewardfl_app.downloads.fetch import RemoteFile
from rewardfl_app.downloads.web import BrokenOff, Token, ask, origin, persist

_LARGEST_LIST = 2**24  # bytes
_MOST_PAGES = 100


def endpoint() -> str:
    """The address of the hub: a mirror's where HF_ENDPOINT names one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def token() -> Token | None:
    """HF_TOKEN, for the hub's own server. Raises DownloadError, without telling it, for what cannot be a token."""
    value = os.environ.get("HF_TOKEN", "").strip()
    if not re.fullmatch(r"[!-~]*", value):
        raise DownloadError("HF_TOKEN has characters that no token of Hugging Face has: correct it or unset it.")
    return Token(origin(endpoint()), value) if value else None


def files(repository: Repository) -> list[RemoteFile]:
    """The files that are wanted, sorted by name. Raises DownloadError when the repository has not got them."""
    api = f"{endpoint()}/api/models/{repository.name}"
    commit, _ = _get(f"{api}/revision/main", repository)
    revision = commit.get("sha") if isinstance(commit, dict) else None
    if not isinstance(revision, str) or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise _strange(repository)
    listed: list[Any] = []
    page: str | None = f"{api}/tree/{revision}?recursive=true"
    for _ in range(_MOST_PAGES):
        if page is None:
            break
        entries, page = _get(page, repository)
        if not isinstance(entries, list):
            raise _strange(repository)
        listed += entries
    found = sorted(_wanted(listed, repository, revision), key=lambda file: file.name)
    for pattern in repository.patterns:
        if not any(fnmatchcase(file.name, pattern) for file in found):
            raise DownloadError(f"{repository.name} at {endpoint()} has no {pattern}: see whether it has moved.")
    return found


def _wanted(listed: list[Any], repository: Repository, revision: str) -> Iterator[RemoteFile]:
    for entry in listed:
        try:
            name = str(entry["path"])
            if entry["type"] != "file" or not any(fnmatchcase(name, pattern) for pattern in repository.patterns):
                continue
            size = int(entry["size"])
            digest = f"sha256:{entry['lfs']['oid']}" if entry.get("lfs") else f"git:{entry['oid']}"
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _strange(repository) from error
        if not re.fullmatch(r"sha256:[0-9a-f]{64}|git:[0-9a-f]{40}", digest) or size < 0:
            raise _strange(repository)
        parts = PurePosixPath(name).parts
        if name != "/".join(parts) or ".." in parts or name.startswith("/") or "\\" in name or not name.isprintable():
            raise DownloadError(
                f"{repository.name} has a file whose name leads elsewhere ({name!r}): nothing is fetched."
            )
        yield RemoteFile(name, f"{endpoint()}/{repository.name}/resolve/{revision}/{quote(name)}", size, digest)


def _get(url: str, repository: Repository) -> tuple[Any, str | None]:
    """What an address of the hub tells, and the address of the next page."""

    def attempt() -> tuple[bytes, str]:
        with ask(url, token=token()) as response:
            try:
                content = response.read(_LARGEST_LIST)
            except (OSError, HTTPException) as error:
                raise BrokenOff(str(error)) from error
            if response.length:
                raise BrokenOff("the list is cut off")
            return content, response.headers.get("Link") or ""

    content, links = persist(f"the list of {repository.name}", attempt)
    following = re.search(r'<([^>]+)>\s*;\s*rel="next"', links)
    try:
        return json.loads(content), following[1] if following else None
    except (ValueError, RecursionError) as error:
        raise _strange(repository) from error


def _strange(repository: Repository) -> DownloadError:
    return DownloadError(
        f"{endpoint()} does not list {repository.name} as Hugging Face does: check HF_ENDPOINT, or try again later."
    )
