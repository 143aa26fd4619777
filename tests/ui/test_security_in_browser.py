"""What a real browser makes of it: no script runs in a report, another site's page gets nothing, videos still play."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from app_process import AppProcess
from page_run import FakeRun

from rewardfl_app.runs.registry import list_runs

pytestmark = pytest.mark.browser

SCRIPTED = """<!doctype html><title>report</title><p id="text">before</p>
<script>document.getElementById("text").textContent = "changed"; window.hacked = 1</script>
<img src="x" onerror="window.hacked = 2"><a id="link" href="javascript:window.hacked = 3">link</a>
<iframe srcdoc="<script>parent.hacked = 4</script>"></iframe><video src="side_by_side.mp4" muted></video>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Another site on this machine: its address and its folder."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", folder
    server.shutdown()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page that may complain: what is forbidden is told in its console."""
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def _run(runs_dir: Path) -> FakeRun:
    run = FakeRun(runs_dir, "mine", prompts=("one",))
    run.baseline()
    run.evaluate(10)
    run.finish()
    return run


def test_a_report_shows_its_videos_and_runs_no_script(app: AppProcess, runs_dir: Path, page: Any) -> None:
    folder = _run(runs_dir).folder.comparisons / "ab12"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text(SCRIPTED)
    shutil.copy(next(runs_dir.rglob("samples/baseline/*/video.mp4")), folder / "side_by_side.mp4")
    page.goto(f"{app.address}/gradio_api/file={quote(str(folder / 'report.html'))}")
    page.wait_for_function("document.querySelector('video').readyState >= 1")
    page.click("#link")
    assert page.inner_text("#text") == "before"
    assert page.evaluate("window.hacked") is None


def test_another_sites_page_gets_nothing(
    app: AppProcess, runs_dir: Path, page: Any, elsewhere: tuple[str, Path]
) -> None:
    run = _run(runs_dir).folder
    address, folder = elsewhere
    (folder / "index.html").write_text("<!doctype html><title>elsewhere</title><body></body>")
    video = f"{app.address}/gradio_api/file={quote(str(next(run.samples.rglob('video.mp4'))))}"
    page.goto(app.address)  # the browser knows the app
    page.wait_for_selector(".hd-brand")
    page.goto(address)
    tried = page.evaluate(
        """async ([app, video, wish]) => {
          const told = {};
          const headers = {"Content-Type": "application/json"}, post = app + "/gradio_api/component_server";
          const form = new FormData(); form.append("files", new Blob(["x"]), "x.png");
          const asks = {
            config: [app + "/config", {credentials: "include"}], file: [video, {}],
            simple: [post, {method: "POST", body: wish, credentials: "include"}],
            preflight: [post, {method: "POST", body: wish, headers, credentials: "include"}],
            upload: [app + "/gradio_api/upload", {method: "POST", body: form, credentials: "include"}],
          };
          for (const [name, [url, options]] of Object.entries(asks))
            told[name] = await fetch(url, options).then(r => "answered " + r.status, () => "refused");
          const shown = (tag, done, props) => new Promise(resolve => {
            const node = document.createElement(tag);
            node[done] = () => resolve("shown"); node.onerror = () => resolve("refused");
            Object.assign(node, props); document.body.append(node);
          });
          told.video = await shown("video", "onloadedmetadata", {src: video});
          told.script = await shown("script", "onload", {src: app + "/config"});
          return told;
        }""",
        [app.address, video, json.dumps({"component_id": 1, "fn_name": "start_run", "session_hash": "x", "data": {}})],
    )
    assert set(tried.values()) == {"refused"}, tried
    page.set_content(
        f'<form method="post" action="{app.address}/gradio_api/component_server"><button>go</button></form>'
    )
    with page.expect_navigation():
        page.click("button")
    assert "another site" in page.inner_text("body")
    page.goto(address)
    page.evaluate(
        "url => { const f = document.createElement('iframe'); f.src = url; document.body.append(f); }", app.address
    )
    page.wait_for_timeout(1000)
    assert not any(frame.url.startswith(app.address) for frame in page.frames)
    assert [found.id for found in list_runs(runs_dir)] == [run.id]
    page.set_content(f'<a href="{app.address}/">the app</a>')
    page.click("a")  # a link does work
    page.wait_for_selector(".hd-brand")


def test_the_page_asks_for_a_password_and_then_plays_its_videos(runs_dir: Path, page: Any) -> None:
    _run(runs_dir)
    complaints: list[str] = []
    with AppProcess(runs_dir, REWARDFL_AUTH="me:pass:word") as app:
        page.goto(app.address)
        page.get_by_role("button", name="Login").wait_for()
        assert "mine" not in page.inner_text("body") and "up to a minute" in page.inner_text("body")
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.locator("input").nth(0).fill("me")
        page.locator("input").nth(1).fill("pass:word")
        page.get_by_role("button", name="Login").click()
        page.wait_for_selector(".hd-brand")
        page.get_by_role("tab", name="Compare").click()
        page.wait_for_function("[...document.querySelectorAll('video')].some(video => video.readyState >= 2)")
    assert complaints == []
