"""With a password: nothing is told before the log-in, passwords cannot be tried out, and the password stays here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from app_process import AppProcess
from page_run import FakeRun

from rewardfl_app.supervisor.command import package_environment
from rewardfl_app.ui import launching
from rewardfl_app.ui.login_attempts import FREE, LONGEST_SECONDS, LoginAttempts

NAME = "the run of the house"
PASSWORD = "correct:horse battery"
OPEN = ("/", "/theme.css", "/static/fonts/none", "/assets/none.js", "/favicon.ico", "/gradio_api/startup-events")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AppProcess, FakeRun]]:
    """The app with a password from the environment, open to the network."""
    runs = tmp_path_factory.mktemp("house") / "runs"
    run = FakeRun(runs, NAME, prompts=("one",))
    run.baseline()
    run.finish()
    with AppProcess(runs, REWARDFL_AUTH=f"me:{PASSWORD}") as process:
        yield process, run


def client(app: AppProcess) -> httpx.Client:
    return httpx.Client(base_url=app.address, timeout=30)


def log_in(web: httpx.Client, password: str = PASSWORD, user: str = "me") -> httpx.Response:
    return web.post("/login", data={"username": user, "password": password})


def test_before_the_log_in_nothing_is_told(app: tuple[AppProcess, FakeRun]) -> None:
    web, run = client(app[0]), app[1].folder
    video = next(run.samples.rglob("video.mp4"))
    reads = [f"/gradio_api/file={quote(str(path))}" for path in (video, run.config, "/etc/passwd")]
    reads += ["/config", "/config/", "/gradio_api/app_id", "/gradio_api/heartbeat/x", "/gradio_api/queue/data"]
    reads += ["/gradio_api/info", "/monitoring", "/monitoring/summary", "/gradio_api/deep_link", "/gradio_api/token"]
    writes = ["component_server", "component_server/", "run/predict", "upload", "queue/join", "cancel", "reset"]
    for path in reads:
        assert web.get(path).status_code in (401, 404), path
    for path in writes:
        answer = web.post(f"/gradio_api/{path}", json={"component_id": 1, "fn_name": "start_run", "data": {}})
        assert answer.status_code in (401, 404), path
    assert web.get(reads[0]).status_code == 401
    for path in OPEN:
        answer = web.get(path)
        assert answer.status_code in (200, 404)
        for told in (NAME, run.id, str(run.path.parent), PASSWORD, "start_run"):
            assert told not in answer.text, f"{path} tells {told}"


def test_a_made_up_log_in_is_none(app: tuple[AppProcess, FakeRun]) -> None:
    web = client(app[0])
    assert log_in(web).status_code == 200
    for name in list(web.cookies):
        for value in ("", "x", "None", "null"):
            stranger = client(app[0])
            stranger.cookies.set(name, value)
            assert stranger.get("/config").status_code == 401
    assert client(app[0]).get("/config", headers={"Authorization": "Bearer me"}).status_code == 401


def test_after_the_log_in_the_page_works_and_its_cookies_are_its_own(app: tuple[AppProcess, FakeRun]) -> None:
    web, run = client(app[0]), app[1].folder
    answer = log_in(web)
    assert answer.status_code == 200
    cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 2
    for cookie in cookies:
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie
    web.cookies.update(answer.cookies)
    assert web.get("/config").status_code == 200
    video = next(run.samples.rglob("video.mp4"))
    assert web.get(f"/gradio_api/file={quote(str(video))}").content == video.read_bytes()
    assert web.get(f"/gradio_api/file={quote(str(run.config))}").status_code == 403
    assert web.get("/logout").status_code == 404  # it would log out by a mere look


def test_another_sites_page_cannot_log_in_or_use_the_log_in(app: tuple[AppProcess, FakeRun]) -> None:
    web = client(app[0])
    assert log_in(web).status_code == 200
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert web.get("/config", headers=headers).status_code == 403
        assert web.post("/login", headers=headers, data={"username": "me", "password": PASSWORD}).status_code == 403
    asks = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = web.options("/config", headers={**asks, "Host": "station.example:7860"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    # The name of the machine in its network is nobody's secret; the password is.
    assert web.get("/config", headers={"Host": "station.example:7860"}).status_code == 200


def test_passwords_cannot_be_tried_out_quickly(runs_dir: Path) -> None:
    with AppProcess(runs_dir, REWARDFL_AUTH=f"me:{PASSWORD}") as app:
        known, stranger = client(app), client(app)
        assert log_in(known).status_code == 200
        tried = [log_in(stranger, f"guess {number}").status_code for number in range(FREE + 5)]
        assert tried[:FREE] == [400] * FREE and set(tried[FREE:]) == {429}
        refused = log_in(stranger)  # the right one has to wait, too
        assert refused.status_code == 429 and int(refused.headers["Retry-After"]) >= 1
        assert known.get("/config").status_code == 200


def test_each_further_attempt_waits_longer() -> None:
    now = [0.0]
    attempts = LoginAttempts(lambda: now[0])
    assert [attempts.begin() for _ in range(FREE)] == [0] * FREE
    waits = []
    for _ in range(10):
        waits.append(attempts.begin())
        now[0] += waits[-1]
        assert attempts.begin() == 0
    assert waits[:4] == [1, 2, 4, 8] and waits[-1] == LONGEST_SECONDS
    now[0] += LONGEST_SECONDS
    assert attempts.begin() == 0
    attempts.succeed()
    assert [attempts.begin() for _ in range(FREE)] == [0] * FREE


def test_where_the_password_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "auth"
    file.write_text("you:from file\n")
    monkeypatch.setenv("REWARDFL_AUTH", "me:from variable")
    assert launching.credentials("i:from line", file) == ("i", "from line")
    assert "REWARDFL_AUTH" not in os.environ
    monkeypatch.setenv("REWARDFL_AUTH", "me:from variable")
    assert launching.credentials(None, file) == ("you", "from file")
    monkeypatch.setenv("REWARDFL_AUTH", "me:from variable")
    assert launching.credentials(None) == ("me", "from variable")
    assert launching.credentials(None) is None
    for bad in ("nobody", ":x", "x:"):
        with pytest.raises(launching.UsageError, match="USER:PASSWORD") as told:
            launching.credentials(bad)
        assert bad not in str(told.value).replace("USER:PASSWORD", "")
    with pytest.raises(launching.UsageError, match="--auth-file"):
        launching.credentials(None, tmp_path / "none")


def test_no_child_inherits_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDFL_AUTH", "me:secret")
    assert "REWARDFL_AUTH" not in package_environment()
