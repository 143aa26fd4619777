"""A zip file whose files are wanted side by side: nothing is written before all of it is known to be sane."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

from rewardfl_app.downloads import DownloadError, readable
from rewardfl_app.runs import durable

MOST_BYTES = 4 * 10**9  # unpacked
SPARE_BYTES = 500 * 10**6  # left on the disk, for whatever else writes there meanwhile
_MOST_MEMBERS = 200
_MOST_RATIO = 200  # unpacked to packed, of a member above a megabyte: weights hardly shrink
_CHUNK = 2**20  # bytes


def unpack(archive: Path, folder: Path, needed: str = ".onnx") -> list[Path]:
    """Put the files of a zip, without the folders they lie in there, into `folder`; returns where they are.

    `needed`: the suffix of which there must be one at least. Raises DownloadError naming the archive and the member
    that is unsafe or damaged, before any file has got its place; OSError when it cannot be written.
    """
    unpacked = None
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _members(opened, archive, needed)
            require_room(folder, sum(info.file_size for info in members.values()))
            unpacked = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder))
            for name, info in members.items():
                _write(opened, info, unpacked / name, archive)
        for name in members:
            os.chmod(unpacked / name, 0o644)
            durable.put_in_place(unpacked / name, folder / name)
        return [folder / name for name in members]
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, struct.error) as error:
        raise DownloadError(f"{archive.name} is no sound zip file ({error}): delete it and download again.") from error
    finally:
        if unpacked is not None:
            shutil.rmtree(unpacked, ignore_errors=True)


def require_room(folder: Path, num_bytes: int) -> None:
    """Raises DownloadError, with what is missing, when the disk of a folder cannot take that and keep SPARE_BYTES."""
    if not num_bytes:
        return
    free, needed = shutil.disk_usage(folder).free, num_bytes + SPARE_BYTES
    if free < needed:
        raise DownloadError(
            f"{folder} has {readable(free)} free and {readable(needed)} are needed, {readable(SPARE_BYTES)} of it to "
            f"spare: make room for {readable(needed - free)} more, or name a folder on another disk with --to."
        )


def _members(opened: zipfile.ZipFile, archive: Path, needed: str) -> dict[str, zipfile.ZipInfo]:
    """The files by the names they get. Raises DownloadError for anything that an honest archive has not got."""
    found: dict[str, zipfile.ZipInfo] = {}
    infos = opened.infolist()
    if len(infos) > _MOST_MEMBERS:
        raise DownloadError(f"{archive.name} holds {len(infos)} files, which no face pack does: it is not unpacked.")
    for info in infos:
        if fault := _fault(info):
            raise DownloadError(f"{archive.name}: {info.orig_filename!r} {fault}; it is not unpacked.")
        if info.is_dir():
            continue
        name = info.filename.rpartition("/")[2]
        if name.casefold() in (known.casefold() for known in found):
            raise DownloadError(f"{archive.name} holds two files of the name {name}: it is not unpacked.")
        found[name] = info
    if sum(info.file_size for info in found.values()) > MOST_BYTES:
        raise DownloadError(f"{archive.name} would unpack to more than {readable(MOST_BYTES)}: it is not unpacked.")
    if not any(name.lower().endswith(needed) for name in found):
        raise DownloadError(f"{archive.name} has no {needed} file in it: see whether it is the right one.")
    return found


def _fault(info: zipfile.ZipInfo) -> str | None:
    """What makes a member unsafe, as the end of a sentence."""
    name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
    if name.startswith("/") or "\\" in name or ":" in name or not name.isprintable():
        return "is no plain relative path"
    if name.rpartition("/")[2].startswith("."):
        return "is hidden or leads out of its folder"
    if ".." in name.split("/"):
        return "leads out of its folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if info.header_offset < 0:
        return "lies outside of the file"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed in an unusual way"
    if info.file_size > 10**6 and info.file_size > _MOST_RATIO * info.compress_size:
        return f"claims to unpack to {info.file_size // max(info.compress_size, 1)} times its size"
    return None


def _write(opened: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, archive: Path) -> None:
    """One member, never more than it claims: zipfile stops there, and then the checksum does not match."""
    try:
        with opened.open(info) as source, open(path, "xb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DownloadError(
            f"{archive.name}: {info.filename} is damaged ({error}): delete {archive} and download again."
        ) from error
