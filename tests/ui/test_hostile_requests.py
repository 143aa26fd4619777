"""What someone may send who is not the page: addresses outside the runs folder, ids with ../, values of every kind."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from app_process import AppProcess
from page_run import FakeRun

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.registry import list_runs

SECRET = "the secret of the house"
HOSTILE: tuple[Any, ...] = (
    "../victim",
    "..",
    "/etc/passwd",
    "run:../victim",
    "\x00",
    "<img src=x onerror=alert(1)>",
    "",
    None,
    True,
    -1,
    1e308,
    [],
    [{"run": "../victim"}],
    {"path": "/etc/passwd", "name": "../../x"},
)
KEYS = (
    "run runs step job source values name names notes tags video reference pack a b with sample pair vote "
    "choice id image prompt seed checkpoint field value changes path row rows page query by example token "
    "folder kind strength clip planned_for "
).split()


@pytest.fixture
def house(tmp_path: Path, runs_dir: Path) -> FakeRun:
    """A run in the runs folder, and beside that folder a run of somebody else and a secret."""
    (tmp_path / "secret.txt").write_text(SECRET)
    victim = FakeRun(tmp_path / "elsewhere", "victim", prompts=("one",))
    victim.folder.path.rename(tmp_path / "victim")
    (tmp_path / "victim" / "notes.txt").write_text(SECRET)
    run = FakeRun(runs_dir, "mine", prompts=("one", "two"))
    run.baseline()
    run.evaluate(10)
    run.checkpoint(10)
    run.finish()
    return run


def _get(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.status, answer.read(4096).decode("utf-8", errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read(4096).decode("utf-8", errors="replace")


def _post(address: str, content: Any) -> tuple[int, str]:
    body = json.dumps(content).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode("utf-8", errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", errors="replace")


def test_only_files_of_the_runs_folder_are_served(app: AppProcess, house: FakeRun, tmp_path: Path) -> None:
    video = next(house.folder.samples.rglob("video.mp4"))
    assert _get(f"{app.address}/gradio_api/file={quote(str(video))}")[0] == 200
    runs = house.folder.path.parent
    outside = (
        "/etc/passwd",
        str(tmp_path / "secret.txt"),
        f"{runs}/../secret.txt",
        f"{house.folder.path}/../../secret.txt",
        "../secret.txt",
        "pyproject.toml",
        str(Path(__file__).resolve()),
        "%2e%2e/secret.txt",
    )
    for path in outside:
        for written in (path, quote(path, safe=""), quote(quote(path, safe=""), safe="")):
            status, text = _get(f"{app.address}/gradio_api/file={written}")
            assert status in (400, 403, 404), f"{written} was answered with {status}"
            assert SECRET not in text and "root:" not in text


def test_a_link_in_the_runs_folder_leads_nowhere_outside(app: AppProcess, house: FakeRun, tmp_path: Path) -> None:
    link = house.folder.path / "link.txt"
    link.symlink_to(tmp_path / "secret.txt")
    status, text = _get(f"{app.address}/gradio_api/file={quote(str(link))}")
    assert status in (403, 404) and SECRET not in text


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "..", "a/../../evil", ".hidden", "\x00evil"])
def test_a_name_never_leads_out_of_the_runs_folder(name: str, runs_dir: Path) -> None:
    run = RunFolder.create(runs_dir, name)
    assert run.path.parent == runs_dir
    assert re.fullmatch(r"[0-9-]+-[a-z0-9-]+", run.id)
    assert [found.id for found in list_runs(runs_dir)] == [run.id]


def _requests(run: str) -> Iterator[Any]:
    yield from HOSTILE
    for value in HOSTILE:
        yield dict.fromkeys(KEYS, value)
        yield {**dict.fromkeys(KEYS, value), "run": run, "runs": [run], "id": run, "source": f"run:{run}"}
        yield {**dict.fromkeys(KEYS, value), "a": {"run": run, "step": value}, "b": {"run": value, "step": 10}}
        yield {"run": "mine", "values": {"data.metadata_path": value, "train.learning_rate": value}, "source": value}


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_no_request_breaks_the_app_or_reaches_outside(app: AppProcess, house: FakeRun, tmp_path: Path) -> None:
    before = _tree(tmp_path / "victim"), (tmp_path / "secret.txt").read_text()
    config = json.loads(_read(f"{app.address}/config"))
    functions = [
        (component["id"], function)
        for component in config["components"]
        for function in component["props"].get("server_fns") or component.get("server_fns") or []
    ]
    assert len(functions) > 15, "the pages' server functions were not found"
    broken = []
    for component, function in functions:
        for request in _requests(house.folder.id):
            content = {"component_id": component, "fn_name": function, "session_hash": "test", "data": request}
            status, text = _post(f"{app.address}/gradio_api/component_server", content)
            if status >= 500:
                broken.append(f"{function}({str(request)[:90]})")
            assert SECRET not in text and "root:x:" not in text, f"{function}({request!r}) told a secret"
    assert not broken, f"{len(broken)} requests ended in an error of the server: {broken[:12]}"
    assert (_tree(tmp_path / "victim"), (tmp_path / "secret.txt").read_text()) == before
    assert house.folder.exists(), "a run was deleted by a request that did not name it"
    assert _get(f"{app.address}/")[0] == 200


def _read(address: str) -> str:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read().decode()
