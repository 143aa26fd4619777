"""`download` as a person uses it."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from file_origin import Origin

from rewardfl_app.cli import app, download
from rewardfl_app.downloads import catalog, obtain, unpack
from rewardfl_app.downloads.catalog import Archive, Name


@dataclass(frozen=True)
class Told:
    code: int
    stdout: str
    stderr: str


Cli = Callable[..., Told]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], origin: Origin) -> Cli:
    def run(*arguments: object) -> Told:
        code = app.main(["download", *map(str, arguments)])
        return Told(code, *capsys.readouterr())

    return run


@pytest.fixture
def pack(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small face pack where antelopev2 is."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("antelopev2/scrfd_10g_bnkps.onnx", b"detector")
        archive.writestr("antelopev2/glintr100.onnx", b"recogniser")
    content = written.getvalue()
    origin.contents["/antelopev2.zip"] = content
    small = Archive(
        "antelopev2.zip",
        f"{origin.url}/antelopev2.zip",
        len(content),
        18,
        f"sha256:{hashlib.sha256(content).hexdigest()}",
    )
    offer = dataclasses.replace(catalog.OFFERS[Name.ANTELOPEV2], origin=small)
    monkeypatch.setitem(catalog.OFFERS, Name.ANTELOPEV2, offer)
    return content


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".")


def test_the_face_pack_lies_in_the_folder_that_the_setting_names(
    cli: Cli, pack: bytes, origin: Origin, tmp_path: Path
) -> None:
    told = cli("antelopev2", "--to", tmp_path / "pack", "--yes")
    assert told.code == 0, told.stderr
    assert told.stderr == ""
    lines = told.stdout.splitlines()
    assert (
        "insightface" in lines[0]
        and lines[1].startswith("Licence: Non-commercial research")
        and "model_zoo" in lines[2]
    )
    assert lines[-1].strip() == f"reward.reward_model_path={tmp_path / 'pack'}"
    assert visible(tmp_path / "pack") == ["glintr100.onnx", "scrfd_10g_bnkps.onnx"]

    asked = len(origin.asked)
    assert cli("antelopev2", "--to", tmp_path / "pack", "--yes").code == 0
    assert len(origin.asked) == asked
    (tmp_path / "pack" / "glintr100.onnx").unlink()
    assert cli("antelopev2", "--to", tmp_path / "pack", "--yes").code == 0
    assert visible(tmp_path / "pack") == ["glintr100.onnx", "scrfd_10g_bnkps.onnx"]


def test_without_a_terminal_the_licence_has_to_be_accepted_by_an_option(
    cli: Cli, pack: bytes, origin: Origin, tmp_path: Path
) -> None:
    told = cli("antelopev2", "--to", tmp_path / "pack")
    assert told.code == 2 and "Licence: Non-commercial" in told.stdout
    [line] = told.stderr.splitlines()
    assert line.startswith("error: --yes: ")
    assert not origin.asked and not (tmp_path / "pack").exists()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("\n", 2)])
def test_on_a_terminal_it_asks(
    cli: Cli, pack: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(answer))
    told = cli("antelopev2", "--to", tmp_path / "pack")
    assert told.code == code and "Do you accept it?" in told.stdout + told.stderr
    assert (tmp_path / "pack").exists() == (code == 0)
    if code:
        assert told.stderr.splitlines()[-1].endswith("The licence was not accepted, so nothing was downloaded.")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["wan3", "--to", "x"], "wan3"),
        (["antelopev2"], "--to"),
        (["antelopev2", "--to", __file__, "--yes"], "is a file"),
    ],
)
def test_wrong_usage(cli: Cli, arguments: list[str], words: str) -> None:
    told = cli(*arguments)
    [line] = told.stderr.splitlines()
    assert told.code == 2 and line.startswith("error: ") and words in line


def test_an_error_is_one_line(cli: Cli, pack: bytes, origin: Origin, tmp_path: Path) -> None:
    origin.contents["/antelopev2.zip"] = pack[:-1] + b"?"
    told = cli("antelopev2", "--to", tmp_path, "--yes")
    [line] = told.stderr.splitlines()
    assert told.code == 1 and line.startswith("error: antelopev2.zip has come twice")
    assert visible(tmp_path) == []


def test_a_disk_that_becomes_full_is_one_line(
    cli: Cli, pack: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(obtain, "fetch", full)
    told = cli("antelopev2", "--to", tmp_path, "--yes")
    [line] = told.stderr.splitlines()
    assert told.code == 1 and line.startswith(f"error: The disk of {tmp_path} is full: make room")


def test_room_for_the_pack_and_for_what_is_in_it_is_asked_for_before(
    cli: Cli, pack: bytes, origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "SPARE_BYTES", 0)
    needed = len(pack) + len(b"detector" + b"recogniser")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, needed - 1))  # type: ignore[attr-defined]
    told = cli("antelopev2", "--to", tmp_path, "--yes")
    [line] = told.stderr.splitlines()
    assert told.code == 1 and "make room for 1 bytes more" in line
    assert not origin.asked


def test_a_folder_that_cannot_be_made_is_one_line(cli: Cli, pack: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = cli("antelopev2", "--to", tmp_path / "file" / "pack", "--yes")
    [line] = told.stderr.splitlines()
    assert told.code == 1 and "cannot be written" in line


def test_ctrl_c_keeps_the_part(cli: Cli, pack: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object, what: str, done: int, __: int) -> None:
        if done:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(download._Line, "__call__", interrupted)
        told = cli("antelopev2", "--to", tmp_path, "--yes")
    assert told.code == 130 and told.stderr.startswith("error: interrupted; what has come is kept")
    assert (tmp_path / "antelopev2.zip.part").exists()
    assert cli("antelopev2", "--to", tmp_path, "--yes").code == 0
    assert "antelopev2.zip.part" not in visible(tmp_path)


def test_progress_on_a_terminal_and_in_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(100, 1000, 10))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    line = download._Line()
    line("weights", 0, 10**9)
    line("weights", 10**8, 10**9)
    line.clear()
    shown = capsys.readouterr().err
    assert "0 bytes of 1.0 GB (0%)  weights" in shown
    assert "100.0 MB of 1.0 GB (10%), 10.0 MB/s, 2 min left  weights" in shown and "\n" not in shown

    line("the rest", 9 * 10**8, 10**9)  # of which much was there already
    assert capsys.readouterr().err.endswith("900.0 MB of 1.0 GB (90%)  the rest")
    line("the rest", 905 * 10**6, 10**9)
    assert capsys.readouterr().err.endswith("905.0 MB of 1.0 GB (90%), 500.0 kB/s, 3 min left  the rest")

    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    line = download._Line()
    for done in range(13):
        line("weights", done * 10**7, 10**9)
    assert len(capsys.readouterr().err.splitlines()) == 2
