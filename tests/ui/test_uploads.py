"""Files that a browser sends: its own and nobody else's, of a bearable size, and gone with the app."""

from __future__ import annotations

import fcntl
import http.client
import io
import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_process import AppProcess
from PIL import Image

from rewardfl_app.ui import uploads
from rewardfl_app.ui.uploads import KEPT, LARGEST_MB, LARGEST_MEGAPIXELS, Received, UploadError, accept

UPLOAD = "/gradio_api/upload"


@pytest.fixture
def app(runs_dir: Path, tmp_path: Path) -> Iterator[AppProcess]:
    """The app; what is temporary goes into a folder of the test."""
    (tmp_path / "temporary").mkdir()
    with AppProcess(runs_dir, TMPDIR=str(tmp_path / "temporary")) as process:
        yield process


def browser(app: AppProcess) -> httpx.Client:
    """Another person's browser with the page open."""
    client = httpx.Client(base_url=app.address, timeout=60)
    client.config = client.get("/config").json()  # type: ignore[attr-defined]
    client.get("/")
    return client


def picture(width: int = 64, height: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 150, 120)).save(buffer, format="PNG")
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes that says it is side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    made = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        made += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return made


def send(client: httpx.Client, content: bytes, name: str = "me.png") -> dict[str, str]:
    answer = client.post(UPLOAD, files={"files": (name, content)})
    assert answer.status_code == 200, answer.text
    return {"path": answer.json()[0], "name": name}


def call(client: httpx.Client, function: str, request: Any) -> Any:
    """What a function of the page's server answers to this browser."""
    components = client.config["components"]  # type: ignore[attr-defined]
    ids = [one["id"] for one in components if function in (one["props"].get("server_fns") or [])]
    content = {"component_id": ids[0], "fn_name": function, "session_hash": "x", "data": request}
    answer = client.post("/gradio_api/component_server", json=content)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_upload_is_its_senders_alone(app: AppProcess) -> None:
    me, other = browser(app), browser(app)
    cookie = next(iter(me.cookies.jar))
    assert cookie.has_nonstandard_attr("HttpOnly") and cookie.get_nonstandard_attr("SameSite") == "Strict"
    sent = send(me, picture())
    for client in (other, me, httpx.Client(base_url=app.address)):
        assert client.get(f"/gradio_api/file={sent['path']}").status_code == 403
    refused = call(other, "keep_picture", {"file": sent})
    assert "not there any more" in json.dumps(refused)
    video = send(me, b"no video", "me.mp4")
    refused = call(other, "start_score", {"video": video, "pack": "pocket"})
    assert [problem["field"] for problem in refused["problems"]] == ["video"]
    assert Path(sent["path"]).is_file() and Path(video["path"]).is_file()
    assert call(me, "keep_picture", {"file": sent})["picture"].startswith("upload:")


def test_a_file_beside_the_uploads_is_no_upload(app: AppProcess, tmp_path: Path) -> None:
    me = browser(app)
    folder = Path(send(me, picture())["path"]).parents[1]
    (folder / "planted.png").write_bytes(picture())
    for path in (folder / "planted.png", tmp_path / "x.png", Path("/etc/passwd")):
        assert "not there" in json.dumps(call(me, "keep_picture", {"file": {"path": str(path), "name": "x.png"}}))


def test_no_event_of_the_page_takes_a_file_by_its_name(app: AppProcess, tmp_path: Path) -> None:
    """Gradio copies files that a value names; only those of the upload folder, and nobody can fetch the copy."""
    me, other = browser(app), browser(app)
    (tmp_path / "secret.txt").write_text("MARKER-77")
    mine = send(me, b"MARKER-77", "mine.txt")["path"]
    before = sorted(path for path in (tmp_path / "temporary").rglob("*") if path.is_file())
    for function in other.config["dependencies"]:  # type: ignore[attr-defined]
        for path in (str(tmp_path / "secret.txt"), "/etc/passwd", mine):
            file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "x.txt"}
            content = {"data": [file] * len(function["inputs"]), "fn_index": function["id"], "session_hash": "x"}
            answer = other.post("/gradio_api/run/predict", json=content)
            assert "MARKER-77" not in answer.text and "root:x:" not in answer.text
    assert sorted(path for path in (tmp_path / "temporary").rglob("*") if path.is_file()) == before


def test_without_the_page_nothing_is_taken(app: AppProcess) -> None:
    stranger = httpx.Client(base_url=app.address)
    assert stranger.post(UPLOAD, files={"files": ("me.png", picture())}).status_code == 403
    stranger.cookies.set("rewardfl_browser", "x")
    assert stranger.post(UPLOAD, files={"files": ("me.png", picture())}).status_code == 403


def test_too_much_is_refused_before_it_is_read(app: AppProcess) -> None:
    me = browser(app)
    assert me.config["max_file_size"] == LARGEST_MB * 2**20  # type: ignore[attr-defined]
    cookie = f"rewardfl_browser={me.cookies['rewardfl_browser']}"
    for headers, status in (
        ({"Content-Length": str(LARGEST_MB * 10**6 + 2**20)}, 413),
        ({"Transfer-Encoding": "chunked"}, 411),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=30)
        kind = "multipart/form-data; boundary=x"
        connection.putrequest("POST", UPLOAD)
        for name, value in {**headers, "Content-Type": kind, "Cookie": cookie}.items():
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()


def test_several_files_at_once_are_refused_and_not_kept(app: AppProcess, tmp_path: Path) -> None:
    me = browser(app)
    answer = me.post(UPLOAD, files=[("files", (f"{number}.png", picture())) for number in range(20)])
    assert answer.status_code == 400 and "One file" in answer.text
    assert not list((tmp_path / "temporary").rglob("*.png"))


def test_what_is_no_picture_or_unfolds_to_gigabytes_is_refused(app: AppProcess) -> None:
    me = browser(app)
    cases = [("me.svg", b"<svg/>"), ("me.html", b"<script>"), ("me.png", b""), ("me.png", b"no picture")]
    cases += [("me.png", bomb(12_000)), ("me.png", bomb(60_000)), ("../../me.exe", b"MZ")]
    for name, content in cases:
        answer = call(me, "keep_picture", {"file": send(me, content, name)})
        assert "picture" not in answer and str(answer), name
    assert me.get("/theme.css").status_code == 200


def test_the_folder_is_private_and_gone_with_the_app(app: AppProcess, tmp_path: Path) -> None:
    folder = Path(send(browser(app), picture())["path"]).parents[1]
    assert folder.parent == tmp_path / "temporary" and folder.stat().st_mode & 0o777 == 0o700
    assert app.end() == 0
    assert not folder.exists()


def test_what_a_killed_app_left_is_removed_and_a_living_ones_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, living = (tmp_path / f"rewardfl-uploads-{name}" for name in ("left", "living"))
    for folder in (left, living):
        folder.mkdir()
        (folder / ".lock").touch()
    with open(living / ".lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with uploads.private_folder() as mine:
            assert mine.parent == tmp_path and mine.is_dir()
            assert (left.exists(), living.exists()) == (False, True)
    assert not mine.exists()


def test_files_that_were_never_used_do_not_pile_up(tmp_path: Path) -> None:
    received = Received()
    for number in range(KEPT + 5):
        path = tmp_path / f"{number}.png"
        path.touch()
        received.add(path, "me")
    assert len(os.listdir(tmp_path)) == KEPT and not (tmp_path / "0.png").exists()
    assert received.is_from(path, "me") and not received.is_from(path, "you")


def test_the_limit_of_pixels_is_told(tmp_path: Path) -> None:
    for side in (9_000, 20_000):
        (tmp_path / "big.png").write_bytes(bomb(side))
        with pytest.raises(UploadError, match=f"{LARGEST_MEGAPIXELS} million pixels"):
            accept({"path": str(tmp_path / "big.png"), "name": "big.png"}, frozenset({".png"}), tmp_path)
