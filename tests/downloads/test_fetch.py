"""One file from a server that fails in every way a server can."""

from __future__ import annotations

import errno
import hashlib
import random
from pathlib import Path

import pytest
from file_origin import Origin

from rewardfl_app.downloads import DownloadError, fetch, web
from rewardfl_app.downloads.fetch import RemoteFile

CONTENT = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)


def quiet(*_: object) -> None:
    """Progress that nobody looks at."""


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def file(origin: Origin) -> RemoteFile:
    origin.contents["/w.bin"] = CONTENT
    return RemoteFile("w.bin", f"{origin.url}/w.bin", len(CONTENT), sha256(CONTENT))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.bin"


def assert_whole(path: Path) -> None:
    """The right bytes, and nothing left of the way there."""
    assert path.read_bytes() == CONTENT
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_it_comes_and_tells_how_far_it_is(file: RemoteFile, path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    fetch.fetch(file, path, lambda *state: told.append(state))
    assert_whole(path)
    assert told[0] == ("w.bin", 0, len(CONTENT)) and told[-2] == ("w.bin", len(CONTENT), len(CONTENT))


def test_a_file_of_no_bytes(origin: Origin, path: Path) -> None:
    fetch.fetch(RemoteFile("w.bin", f"{origin.url}/empty", 0, sha256(b"")), path, quiet)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("with_etag", [True, False])
def test_it_goes_on_where_the_connection_broke_off(
    origin: Origin, file: RemoteFile, path: Path, with_etag: bool
) -> None:
    origin.breaks, origin.with_etag = [100_000, 50_000], with_etag
    fetch.fetch(file, path, quiet)
    assert_whole(path)
    assert origin.ranges() == [None, "bytes=100000-", "bytes=150000-"]
    assert ("if-range" in origin.asked[1][1]) == with_etag


def test_as_long_as_more_comes_it_goes_on(origin: Origin, file: RemoteFile, path: Path) -> None:
    origin.breaks = [10_000] * 20  # far more often than there are pauses
    fetch.fetch(file, path, quiet)
    assert_whole(path)


def test_a_server_without_parts_begins_again(origin: Origin, file: RemoteFile, path: Path) -> None:
    origin.breaks, origin.gives_parts = [100_000], False
    fetch.fetch(file, path, quiet)
    assert_whole(path)


def test_a_connection_that_never_holds_is_an_error_and_the_part_stays(
    origin: Origin, file: RemoteFile, path: Path
) -> None:
    origin.breaks = [100_000] + [0] * 10
    with pytest.raises(DownloadError, match=r"w\.bin cannot be fetched, the connection failed 4 times .*100000 of 300"):
        fetch.fetch(file, path, quiet)
    assert fetch.part_of(path).read_bytes() == CONTENT[:100_000] and not path.exists()
    origin.breaks = []
    fetch.fetch(file, path, quiet)
    assert_whole(path)
    assert origin.ranges()[-1] == "bytes=100000-"


def test_an_interrupted_call_leaves_the_part_for_the_next(origin: Origin, file: RemoteFile, path: Path) -> None:
    def interrupt(_: str, done: int, __: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch(file, path, interrupt)
    there = fetch.num_bytes(fetch.part_of(path))
    assert 0 < there <= len(CONTENT)
    fetch.fetch(file, path, quiet)
    assert_whole(path)
    assert origin.ranges()[1:] == ([f"bytes={there}-"] if there < len(CONTENT) else [])


def test_a_whole_part_is_not_asked_for_again(origin: Origin, file: RemoteFile, path: Path) -> None:
    fetch.part_of(path).write_bytes(CONTENT)
    fetch.fetch(file, path, quiet)
    assert_whole(path)
    assert not origin.asked


def test_a_changed_file_is_not_glued_to_the_old_part(origin: Origin, path: Path, file: RemoteFile) -> None:
    origin.contents["/w.bin"], origin.breaks = OTHER, [100_000, 0, 0, 0, 0]
    with pytest.raises(DownloadError):
        fetch.fetch(file, path, quiet)
    assert fetch.part_of(path).read_bytes() == OTHER[:100_000]
    origin.contents["/w.bin"], origin.breaks = CONTENT, []
    origin.asked.clear()
    fetch.fetch(file, path, quiet)
    assert_whole(path)
    assert len(origin.asked) == 1  # If-Range: the answer was the whole new file, at once


def test_a_part_of_another_version_is_not_gone_on_with(origin: Origin, path: Path, file: RemoteFile) -> None:
    origin.breaks = [100_000, 0, 0, 0, 0]
    with pytest.raises(DownloadError):
        fetch.fetch(file, path, quiet)
    origin.contents["/w.bin"], origin.breaks = OTHER, []
    origin.asked.clear()
    fetch.fetch(RemoteFile("w.bin", file.url, len(OTHER), sha256(OTHER)), path, quiet)
    assert path.read_bytes() == OTHER and origin.ranges() == [None]


def test_a_part_that_is_too_long_begins_again(file: RemoteFile, path: Path) -> None:
    fetch.part_of(path).write_bytes(CONTENT + b"x")
    fetch.fetch(file, path, quiet)
    assert_whole(path)


def test_a_wrong_file_is_fetched_once_more_and_then_named(origin: Origin, file: RemoteFile, path: Path) -> None:
    origin.contents["/w.bin"] = OTHER
    with pytest.raises(DownloadError, match=r"w\.bin has come twice with another content"):
        fetch.fetch(file, path, quiet)
    assert len(origin.asked) == 2 and not path.exists() and not fetch.part_of(path).exists()


@pytest.mark.parametrize(("difference", "word"), [(1, "more"), (-1, "fewer")])
@pytest.mark.parametrize("resumed", [False, True])
def test_another_size_than_announced_is_an_error(
    origin: Origin, file: RemoteFile, path: Path, difference: int, word: str, resumed: bool
) -> None:
    if resumed:
        origin.breaks = [100_000, 0, 0, 0, 0]
        with pytest.raises(DownloadError):
            fetch.fetch(file, path, quiet)
        origin.breaks, origin.with_etag = [], False  # else the answer is the whole new file
        (path.parent / "w.bin.part.json").write_text(f'{{"digest": "{file.digest}"}}')
    origin.contents["/w.bin"] = (CONTENT + b"x")[: len(CONTENT) + difference]
    with pytest.raises(DownloadError, match=rf"w\.bin: the server has {word} bytes"):
        fetch.fetch(file, path, quiet)
    assert not path.exists()


def test_more_bytes_without_an_announcement(origin: Origin, file: RemoteFile, path: Path) -> None:
    origin.contents["/w.bin"], origin.announces_nothing = CONTENT + b"x", True
    with pytest.raises(DownloadError, match=r"w\.bin: the server has more bytes"):
        fetch.fetch(file, path, quiet)


def test_fewer_bytes_without_an_announcement(origin: Origin, file: RemoteFile, path: Path) -> None:
    origin.contents["/w.bin"], origin.announces_nothing = CONTENT[:-1], True
    with pytest.raises(DownloadError, match=r"w\.bin cannot be fetched"):
        fetch.fetch(file, path, quiet)


def test_a_server_that_is_busy_is_asked_again(origin: Origin, file: RemoteFile, path: Path) -> None:
    origin.statuses = [503, 429]
    fetch.fetch(file, path, quiet)
    assert_whole(path)


@pytest.mark.parametrize("status", [401, 403, 404, 410, 451])
def test_a_refusal_is_told_at_once(origin: Origin, file: RemoteFile, path: Path, status: int) -> None:
    origin.statuses = [status]
    with pytest.raises(DownloadError, match=rf"w\.bin is .*\({status}\)"):
        fetch.fetch(file, path, quiet)
    assert len(origin.asked) == 1


def test_a_full_disk_keeps_what_has_come(
    file: RemoteFile, path: Path, monkeypatch: pytest.MonkeyPatch, origin: Origin
) -> None:
    class Full:
        def __init__(self, *_: object, **__: object) -> None: ...
        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None: ...
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "open", Full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        fetch.fetch(file, path, quiet)
    assert len(origin.asked) == 1  # another try would not help


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/w",
        "ftp://127.0.0.1/w",
        "file:///etc/passwd",
        "https://me:secret@example.org/w",
        "http://[",
        "",
    ],
)
def test_other_addresses_than_https_are_refused(url: str, path: Path) -> None:
    with pytest.raises(DownloadError, match="https") as caught:
        fetch.fetch(RemoteFile("w", url, 1, sha256(b"x")), path, quiet)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("target", ["http://example.org/w", "ftp://127.0.0.1/w"])
def test_a_redirect_to_another_address_than_https_is_refused(
    origin: Origin, file: RemoteFile, path: Path, target: str
) -> None:
    origin.redirects["/w.bin"] = target
    with pytest.raises(DownloadError, match="https"):
        fetch.fetch(file, path, quiet)


def test_a_redirect_from_https_may_not_lead_to_http_even_on_this_machine() -> None:
    request = web.Request("https://example.org/w")
    with pytest.raises(DownloadError, match="leads away from https"):
        web._Redirects(None).redirect_request(request, None, 302, "", {}, "http://127.0.0.1/w")  # type: ignore[arg-type]


def test_the_token_is_for_its_own_server_alone(origin: Origin, file: RemoteFile, path: Path) -> None:
    token = web.Token(origin.url, "hf_x")
    origin.contents["/there"] = CONTENT
    origin.redirects["/w.bin"] = "/there"
    fetch.fetch(file, path, quiet, token)
    assert [headers.get("authorization") for _, headers in origin.asked] == ["Bearer hf_x"] * 2
    path.unlink()
    origin.asked.clear()
    origin.redirects["/w.bin"] = origin.url.replace("127.0.0.1", "localhost") + "/there"
    fetch.fetch(file, path, quiet, token)
    assert [headers.get("authorization") for _, headers in origin.asked] == ["Bearer hf_x", None]
