"""One thing of the catalogue into one folder: what is whole stays, the rest is fetched, and then it is ready to use."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rewardfl_app.downloads import DownloadError, Tell, hub
from rewardfl_app.downloads.catalog import Archive, Offer, Repository
from rewardfl_app.downloads.fetch import RemoteFile, digest_of, fetch, num_bytes, part_of
from rewardfl_app.downloads.unpack import require_room, unpack
from rewardfl_app.runs.file_lock import held
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.reserve import is_full


def obtain(offer: Offer, folder: Path, tell: Tell) -> None:
    """Bring everything of an offer into a folder. Raises DownloadError; what has come is kept for the next call."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder / ".download.lock", wait=False) as alone:
            if not alone:
                raise DownloadError(f"Another download writes into {folder}: wait for it, or name another folder.")
            if isinstance(offer.origin, Archive):
                _archive(offer.origin, folder, tell)
            else:
                _repository(offer.origin, folder, tell)
    except OSError as error:
        if is_full(error):
            raise DownloadError(
                f"The disk of {folder} is full: make room and run the same command again; what has come is kept."
            ) from error
        raise DownloadError(f"{error.filename or folder} cannot be written ({error.strerror or error}).") from error


class _Record:
    """Which files of a folder were verified, so that a hundred gigabytes are not read again to see that they are whole.

    A file that was touched since is looked at anew.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / ".download.json"
        self._content = read_json(self._path) or {}

    def has(self, file: RemoteFile) -> bool:
        """Whether what came of it is there as it was left."""
        entry = self._content.get(file.name)
        if not isinstance(entry, dict) or entry.get("digest") != file.digest:
            return False
        states = entry.get("files")
        return isinstance(states, dict) and all(_state(self._folder / name) == was for name, was in states.items())

    def add(self, file: RemoteFile, paths: list[Path]) -> None:
        """Note that these files are what came of it."""
        states = {str(path.relative_to(self._folder)): _state(path) for path in paths}
        self._content[file.name] = {"digest": file.digest, "files": states}
        write_json_atomic(self._path, self._content)


def _state(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _archive(archive: Archive, folder: Path, tell: Tell) -> None:
    record = _Record(folder)
    file = RemoteFile(archive.name, archive.url, archive.size, archive.digest)
    if record.has(file):
        return
    path = folder / archive.name
    if num_bytes(path) != file.size or digest_of(path, file.digest) != file.digest:
        require_room(folder, archive.unpacked + max(file.size - num_bytes(part_of(path)), 0))
        fetch(file, path, tell)
    tell(f"unpacking {archive.name}", file.size, file.size)
    record.add(file, unpack(path, folder))
    path.unlink()


def _repository(repository: Repository, folder: Path, tell: Tell) -> None:
    tell(f"listing {repository.name}", 0, 0)
    record, files = _Record(folder), hub.files(repository)
    total = sum(file.size for file in files)
    missing = []
    for file in files:
        path = folder / file.name
        if record.has(file):
            continue
        if num_bytes(path) == file.size and path.is_file():
            tell(f"checking {file.name}", 0, total)
            if digest_of(path, file.digest) == file.digest:
                record.add(file, [path])
                continue
        missing.append(file)
    require_room(folder, sum(max(file.size - num_bytes(part_of(folder / file.name)), 0) for file in missing))
    before = total - sum(file.size for file in missing)
    for file in missing:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        fetch(file, path, _among(tell, before, total), hub.token())
        record.add(file, [path])
        before += file.size
    listing = folder / "model_paths.json"
    if repository.model_paths is not None and not listing.exists():  # one that is there may have been changed
        names = [file.name for file in files]
        write_json_atomic(listing, _model_paths(repository.model_paths, names))


def _among(tell: Tell, before: int, total: int) -> Tell:
    """Tells of a file as a share of all of them."""
    return lambda name, done, _: tell(name, before + done, total)


def _model_paths(entries: dict[str, str], names: list[str]) -> dict[str, Any]:
    """Each network with its file or folder, or with the list of its shards."""
    return {
        network: [name for name in names if fnmatchcase(name, entry)] if "*" in entry else entry
        for network, entry in entries.items()
    }
