"""Zip files that are what they should be, and those that are made to do harm."""

from __future__ import annotations

import os
import random
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rewardfl_app.downloads import DownloadError, unpack

Member = tuple[str | zipfile.ZipInfo, bytes]


def member(name: str, kind: int = stat.S_IFREG) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return info


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    """Writes a zip file of these members, besides a good one."""

    def write(*members: Member) -> Path:
        path = tmp_path / "pack.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in [("pack/good.onnx", b"good"), *members]:
                archive.writestr(name, content)
        return path

    return write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "to"
    path.mkdir()
    return path


def test_nested_files_lie_directly_in_the_folder(pack: Callable[..., Path], folder: Path) -> None:
    archive = pack(("pack/", b""), ("pack/deep/b.onnx", b"b"), (member("c.txt"), b"c"))
    (folder / "good.onnx").write_bytes(b"old")
    assert unpack.unpack(archive, folder) == [folder / "good.onnx", folder / "b.onnx", folder / "c.txt"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "good.onnx": b"good",
        "b.onnx": b"b",
        "c.txt": b"c",
    }
    assert stat.S_IMODE(os.stat(folder / "c.txt").st_mode) == 0o644


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil.onnx", "leads out"),
        ("pack/../../evil.onnx", "leads out"),
        ("..", "leads out"),
        ("/etc/evil.onnx", "no plain relative path"),
        ("pack\\evil.onnx", "no plain relative path"),
        ("C:/evil.onnx", "no plain relative path"),
        ("pack/ev\nil.onnx", "no plain relative path"),
        ("pack/.download.json", "hidden"),
        ("other/good.onnx", "two files"),
        ("other/GOOD.onnx", "two files"),
        (member("pack/evil.onnx", stat.S_IFLNK), "link"),
        (member("pack/evil.onnx", stat.S_IFIFO), "link or a device"),
    ],
)
def test_what_could_do_harm_is_refused(
    pack: Callable[..., Path], folder: Path, name: str | zipfile.ZipInfo, words: str
) -> None:
    archive = pack((name, b"/etc/passwd"))
    with pytest.raises(DownloadError, match=words):
        unpack.unpack(archive, folder)
    assert not list(folder.iterdir()) and {path.name for path in folder.parent.iterdir()} == {"pack.zip", "to"}


def test_a_bomb_is_refused(pack: Callable[..., Path], folder: Path) -> None:
    archive = pack(("pack/bomb.onnx", bytes(5_000_000)))
    with pytest.raises(DownloadError, match="times its size"):
        unpack.unpack(archive, folder)
    assert not list(folder.iterdir())


def test_more_than_a_pack_can_have_is_refused(
    pack: Callable[..., Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "MOST_BYTES", 1000)
    with pytest.raises(DownloadError, match="more than 1.0 kB"):
        unpack.unpack(pack(("big.onnx", random.Random(0).randbytes(1000))), folder)
    with pytest.raises(DownloadError, match="301 files"):
        unpack.unpack(pack(*((f"{index}.onnx", b"") for index in range(300))), folder)
    assert not list(folder.iterdir())


def spoil(archive: Path, change: Callable[[bytearray], None]) -> None:
    content = bytearray(archive.read_bytes())
    change(content)
    archive.write_bytes(content)


def test_an_encrypted_member_is_refused(pack: Callable[..., Path], folder: Path) -> None:
    def encrypt(content: bytearray) -> None:
        content[content.index(b"PK\x01\x02") + 8] |= 1

    archive = pack()
    spoil(archive, encrypt)
    with pytest.raises(DownloadError, match="good.onnx' is encrypted"):
        unpack.unpack(archive, folder)


def test_a_member_that_is_larger_than_it_claims_is_damaged(pack: Callable[..., Path], folder: Path) -> None:
    def understate(content: bytearray) -> None:
        struct.pack_into("<L", content, content.index(b"PK\x01\x02") + 24, 2)

    archive = pack()
    spoil(archive, understate)
    with pytest.raises(DownloadError, match="good.onnx is damaged"):
        unpack.unpack(archive, folder)
    assert not list(folder.iterdir())


def test_a_wrong_checksum_is_told_and_nothing_of_the_archive_is_put_in_place(
    pack: Callable[..., Path], folder: Path
) -> None:
    content = random.Random(0).randbytes(1000)
    archive = pack(("pack/bad.onnx", content))

    def flip(packed: bytearray) -> None:
        packed[packed.index(content[100:200]) + 5] ^= 1

    spoil(archive, flip)
    with pytest.raises(DownloadError, match="bad.onnx is damaged"):
        unpack.unpack(archive, folder)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("content", [b"", b"<html>not here</html>", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_pack_is_told(tmp_path: Path, folder: Path, content: bytes) -> None:
    (tmp_path / "pack.zip").write_bytes(content)
    with pytest.raises(DownloadError, match=r"pack\.zip (is no sound zip file|has no \.onnx)"):
        unpack.unpack(tmp_path / "pack.zip", folder)


def test_every_damaged_byte_ends_in_one_sentence(pack: Callable[..., Path], folder: Path) -> None:
    archive = pack()
    sound = archive.read_bytes()
    for position in range(len(sound)):
        archive.write_bytes(sound[:position] + bytes([sound[position] ^ 0xFF]) + sound[position + 1 :])
        shutil.rmtree(folder)
        folder.mkdir()
        try:
            unpack.unpack(archive, folder)
        except DownloadError:
            assert not list(folder.iterdir())


def test_too_little_room_is_told_before(
    pack: Callable[..., Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))  # type: ignore[attr-defined]
    monkeypatch.setattr(unpack, "SPARE_BYTES", 5)
    with pytest.raises(DownloadError, match="5 bytes of it to spare: make room for 8 bytes more"):
        unpack.unpack(pack(), folder)
    assert not list(folder.iterdir())
