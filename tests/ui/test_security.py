"""What a stranger's request gets: no file but those of the pages, no route but the page's, no change by looking."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from app_process import AppProcess
from page_run import FakeRun

from rewardfl_app.ui.dataset_view import embedded_clips

MARK = "MARKER-5f1c"
FILE = "/gradio_api/file="
# What the page asks for; every other route of Gradio is closed.
REACHABLE_BY_GET = {
    "/", "/config", "/favicon.ico", "/theme.css", "/gradio_api/theme.css", "/static/img/logo.svg",
    "/assets/img/logo.svg", "/gradio_api/app_id", "/gradio_api/startup-events", "/gradio_api/heartbeat/session",
}  # fmt: skip
REACHABLE_BY_POST = {"/login", "/login/", "/gradio_api/component_server", "/gradio_api/component_server/"} | {
    "/gradio_api/run/predict", "/gradio_api/run/predict/", "/gradio_api/upload"
}  # fmt: skip


class House:
    """A person's working folder with secrets in it, the runs folder inside, and the app started from there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.runs.mkdir()
        self.secrets = [folder / name for name in (".env", "id_rsa", "secrets.txt", "metadata.csv")]
        for path in self.secrets:
            path.write_text(f"API_KEY={MARK}\n")
        self.run = FakeRun(self.runs, "mine", prompts=("one",))
        self.run.baseline()
        self.run.evaluate(10)
        self.run.checkpoint(10)
        self.run.finish()
        embedded_clips(self.runs)  # else the app renders them while the test looks for changes
        self.shown = [self._made(name) for name in self._shown_names()]
        self.hidden = [self._made(name) for name in self._hidden_names()]

    def _made(self, name: str) -> Path:
        path = self.runs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(f"{MARK} {path.name}")
        return path

    def _shown_names(self) -> list[str]:
        run, job = self.run.folder.id, "20260101-000000-000-abcd"
        sample = f"{run}/samples/step_000010/row_000"
        return [
            *(f"{sample}/{name}" for name in ("video.mp4", "faces.json", "crops.jpg", "heat.mp4", "heat.json")),
            *(f"{run}/{name}" for name in ("train.log", "checkpoints/step_000010/low_noise.safetensors")),
            *(f"{run}/comparisons/{name}" for name in ("passport.html", "passport_step_000010.html")),
            *(f"{run}/comparisons/ab12/{name}" for name in ("side_by_side.mp4", "report.html", "report.json")),
            *(f"{run}/exports/step_000010_diffusers/{name}" for name in ("transformer.safetensors", "README.md")),
            *(f"{run}/exports/step_000010_diffusers/{name}" for name in ("transformer_2.safetensors", "export.json")),
            *(f"{run}/exports/step_000010_comfyui/{n}_noise.safetensors" for n in ("high", "low")),
            *(f".faces/{job}/{name}" for name in ("video.mp4", "faces.json", "crops.jpg", "reference/faces.json")),
            *(f".preview/results/{job}/{name}" for name in ("picture.png", "side_by_side.mp4", "tuned/video.mp4")),
        ]

    def _hidden_names(self) -> list[str]:
        run, job = self.run.folder.id, "20260101-000000-000-abcd"
        names = [f"{run}/{name}" for name in ("config.yaml", "run.json", "process.json", "status.json", "exit.json")]
        names += [f"{run}/{name}" for name in (".start.lock", "control/00001.json", "metrics.jsonl", "own.html")]
        names += [f"{run}/comparisons/ab12/{name}" for name in ("request.json", "log.txt", "x.svg", "a/report.html")]
        lora, merged = f"{run}/exports/step_000010_diffusers", f"{run}/exports/step_000010_merged"
        names += [f"{lora}/{name}" for name in ("config.yaml", "own.html", "x.safetensors", "a/README.md", ".env")]
        names += [f"{merged}/{name}" for name in ("transformer.safetensors", "export.json", "README.md")]
        names += [f"{run}/exports/{name}/README.md" for name in ("mine", "step_1_merged_original", ".step_1_comfyui-x")]
        names += [f"{run}/exports/.jobs/step_1_comfyui/{name}" for name in ("request.json", "log.txt", "README.md")]
        names += [f".faces/{job}/{name}" for name in ("request.json", "input.mp4", "log.txt")]
        names += [f".preview/results/{job}/request.json", ".preview/worker.json", ".preview/pictures/upload-0.png"]
        names += [".queue.json", ".tokens/x.json", ".cache/x.safetensors", "inside.txt", "inside.html", ".env"]
        return names


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def web(house: House) -> Iterator[httpx.Client]:
    with AppProcess(house.runs, cwd=house.folder) as app, httpx.Client(base_url=app.address, timeout=30) as client:
        yield client


def raw(web: httpx.Client, method: str, target: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of a request whose path goes out exactly as written."""
    connection = http.client.HTTPConnection(web.base_url.host, web.base_url.port or 80, timeout=30)
    try:
        connection.putrequest(method, target, skip_host=bool(headers and "Host" in headers))
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read(65536)
    finally:
        connection.close()


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time of change and its content."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_what_the_pages_show_is_served_and_runs_no_script(web: httpx.Client, house: House) -> None:
    for path in house.shown:
        answer = web.get(FILE + quote(str(path)))
        assert (answer.status_code, answer.content) == (200, path.read_bytes()), path
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("sandbox ") and "allow-scripts" not in policy and "script-src" not in policy
        assert "default-src 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_part_of_a_video_is_served_and_tells_nothing_of_the_request(web: httpx.Client, house: House) -> None:
    video = house.shown[0].read_bytes()
    for asked, sent in (("bytes=4-9", video[4:10]), ("bytes=4-", video[4:])):
        answer = web.get(FILE + quote(str(house.shown[0])), headers={"Range": asked, "X-Private": MARK})
        assert (answer.status_code, answer.content) == (206, sent)
        assert answer.headers["Content-Range"].startswith("bytes 4-")
        assert MARK not in str(answer.headers) and "cookie" not in answer.headers


def test_other_files_of_the_runs_folder_are_not_served(web: httpx.Client, house: House) -> None:
    for path in (*house.hidden, house.runs, house.run.folder.path):
        answer = web.get(FILE + quote(str(path)))
        assert answer.status_code == 403 and MARK not in answer.text, path


def test_nothing_outside_of_the_runs_folder_is_served_however_it_is_written(web: httpx.Client, house: House) -> None:
    inside = house.shown[0].parent
    paths = ["/etc/passwd", "/proc/self/environ", "/proc/self/cmdline", "/dev/zero", "secrets.txt", "../secrets.txt"]
    paths += [".env", "runs/../.env", "~/.ssh/id_rsa", "file:///etc/passwd", "http://127.0.0.1/", "//etc/passwd", "\0"]
    paths += [str(path) for path in house.secrets] + [f"{house.runs}/../{path.name}" for path in house.secrets]
    paths += [f"{inside}/../../../../../secrets.txt", f"{inside}/video.mp4/../../../../../../.env"]
    paths += [str(Path(__file__)), f"{house.runs}%00.mp4", f"{house.runs}/..\\secrets.txt"]
    for path in paths:
        for written in (quote(path), quote(path, safe=""), quote(quote(path)), path.replace("..", "%2e%2e")):
            for route in (FILE, "/file=", "/gradio_api/file/", "/static/", "/assets/", "/svelte/", "/"):
                if re.search(r"[\x00- ]", written):
                    continue
                status, body = raw(web, "GET", route + written)
                assert status in (400, 403, 404), f"{route}{written} was answered with {status}"
                assert MARK.encode() not in body and b"root:x:" not in body
    for route in ("/static/", "/assets/", "/theme.css/"):
        for climb in ("../" * 12, "%2e%2e/" * 12, "..%2f" * 12, "..\\" * 12):
            status, body = raw(web, "GET", f"{route}{climb}etc/passwd")
            assert status in (400, 403, 404) and b"root:x:" not in body


def test_a_runs_folder_behind_a_link_shows_its_videos(house: House) -> None:
    link = house.folder / "linked-runs"
    link.symlink_to(house.runs)
    with AppProcess(link) as app, httpx.Client(base_url=app.address) as web:
        for runs in (link, house.runs):
            path = runs / house.shown[0].relative_to(house.runs)
            assert web.get(FILE + quote(str(path))).status_code == 200
        assert web.get(FILE + quote(str(link / house.run.folder.id / "config.yaml"))).status_code == 403


def test_links_lead_nowhere_outside(web: httpx.Client, house: House) -> None:
    sample = house.shown[0].parent
    elsewhere = house.folder / "elsewhere"
    (elsewhere / "samples" / "baseline" / "row_000").mkdir(parents=True)
    (elsewhere / "samples" / "baseline" / "row_000" / "faces.json").write_text(MARK)
    (elsewhere / "train.log").write_text(MARK)
    links = {
        sample.with_name("row_001") / "faces.json": house.secrets[0],
        house.runs / "linked-run": elsewhere,
        sample.with_name("row_002"): elsewhere / "samples" / "baseline" / "row_000",
        sample.with_name("row_003") / "faces.json": house.run.folder.process,
        sample.with_name("row_004") / "video.mp4": sample.with_name("row_004") / "video.mp4",
    }
    for link, target in links.items():
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(target)
    asked = [link for link in links if link.suffix]
    asked += [house.runs / "linked-run" / "train.log", sample.with_name("row_002") / "faces.json"]
    asked += [house.runs / "linked-run" / "samples" / "baseline" / "row_000" / "faces.json"]
    for path in asked:
        answer = web.get(FILE + quote(str(path)))
        assert answer.status_code == 403 and MARK not in answer.text, path


def _routes(runs: Path) -> Iterator[tuple[str, set[str]]]:
    """Path and methods of every route that Gradio has for this page, its parameters filled in."""
    from gradio.routes import App

    from rewardfl_app.ui.app import build_app

    values = {"path": "img/logo.svg", "session_hash": "session", "component_id": "1", "api_name": "predict"}
    for route in App.create_app(build_app(runs)).routes:
        router = getattr(route, "original_router", None)  # the routes of an included router are behind it
        for one in [route] if router is None else router.routes:
            path = re.sub(r"\{(\w+)(:\w+)?\}", lambda found: values.get(found[1], "x"), one.path)
            yield path, set(one.methods or ())


def test_every_route_that_the_page_does_not_need_is_closed_and_looking_changes_nothing(
    web: httpx.Client, house: House
) -> None:
    run = house.run.folder.id
    queries = ("", "?session_hash=session&deep_link=x&url=http://127.0.0.1/&upload_id=x&key=x", f"?run={run}&delete=1")
    queries += ("?component_id=1&fn_name=start_run&data={}&session_hash=x", "?data=[]&fn_index=0&event_id=x")
    before = tree(house.folder)
    read, written, routes = set(), set(), list(_routes(house.runs))
    assert len(routes) > 50
    for path, methods in routes:
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"):
            for query in queries if method in ("GET", "HEAD") else ("",):
                with web.stream(method, path + query) as answer:
                    if answer.status_code not in (403, 404):
                        read.add(path)
                        assert method in ("GET", "HEAD"), f"{method} {path} was answered with {answer.status_code}"
        if "POST" in methods and web.post(path, json={}).status_code != 404:
            written.add(path)
    assert read <= REACHABLE_BY_GET, "a route is open that the page does not need"
    assert read >= {path for path in REACHABLE_BY_GET if not path.endswith(".svg")}
    assert written == REACHABLE_BY_POST
    assert tree(house.folder) == before


def test_a_query_changes_nothing_about_the_page(web: httpx.Client) -> None:
    for query in ("page=monitor", "deep_link=x", "__theme=dark", "view=api"):
        answer = web.get(f"/?{query}")
        assert answer.status_code == 200 and "gradio" in answer.text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.8:7860", "", "localhost.evil", "["])
def test_a_foreign_name_that_leads_here_is_refused(web: httpx.Client, host: str) -> None:
    for target in ("/", "/config", "/theme.css"):
        assert raw(web, "GET", target, {"Host": host})[0] in (400, 421)


@pytest.mark.parametrize("host", ["localhost:9999", "127.0.0.1", "[::1]:7860", "run.localhost", "127.0.0.5:80"])
def test_every_name_of_this_machine_will_do(web: httpx.Client, host: str) -> None:
    """A tunnel ends on any port of this machine."""
    assert raw(web, "GET", "/theme.css", {"Host": host})[0] == 200
    assert raw(web, "GET", "/theme.css", {"Host": host, "Origin": f"http://{host}"})[0] == 200


FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "video"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_another_sites_page_reaches_nothing(web: httpx.Client, house: House, headers: dict[str, str]) -> None:
    before = tree(house.folder)
    wish = {"component_id": 1, "fn_name": "start_run", "session_hash": "x", "data": {}}
    for path in REACHABLE_BY_POST:
        assert web.post(path, json=wish, headers=headers).status_code == 403
    for path in ("/", "/config", FILE + quote(str(house.shown[0]))):
        answer = web.get(path, headers=headers)
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    asks = {**headers, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = web.options("/gradio_api/component_server", headers=asks)
    assert answer.status_code in (403, 404)
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert tree(house.folder) == before


def test_a_link_on_another_page_opens_the_app(web: httpx.Client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert web.get("/", headers=headers).status_code == 200
    assert web.post("/login", headers=headers, data={"username": "me", "password": "x"}).status_code == 403


def test_the_page_itself_can_send_nothing_elsewhere_and_stands_in_no_foreign_frame(web: httpx.Client) -> None:
    policy = web.get("/").headers["Content-Security-Policy"]
    parts: dict[str, Any] = {part.split()[0]: part.split()[1:] for part in policy.split(";")}
    assert parts["connect-src"] == ["'self'", "data:", "blob:"]
    assert parts["frame-ancestors"] == parts["form-action"] == parts["base-uri"] == ["'self'"]
    assert not [word for words in parts.values() for word in words if "http" in word or word == "*"]


def test_a_request_too_large_or_of_no_length_is_refused(web: httpx.Client) -> None:
    path = "/gradio_api/component_server"
    for size, status in ((5 * 2**20, 413), (10**15, 413)):
        assert raw(web, "POST", path, {"Content-Length": str(size), "Content-Type": "application/json"})[0] == status
    assert raw(web, "POST", path, {"Transfer-Encoding": "chunked", "Content-Type": "application/json"})[0] == 411
