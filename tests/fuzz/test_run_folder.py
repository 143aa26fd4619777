"""Every file of a runs folder, damaged in every way, and everything that the page reads of it.

Nothing may come out of the page's functions but an answer that goes over the wire, and the run beside it stays shown.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hostile
import pytest
from budget import LEAST, LONGEST_SECONDS, Tally, drawn
from damage import cuts, damaged
from gradio.routes import ORJSONResponse
from guard import Hang, guarded
from hypothesis import given
from hypothesis import strategies as st
from run_house import DOING, House, Page

from rewardfl_app.runs import control, previews, video_values
from rewardfl_app.runs.checkpoints import list_checkpoints
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.supervisor import comparison_jobs, data_checks, face_jobs
from rewardfl_app.supervisor.run_state import state
from rewardfl_app.ui import playground_page, run_details
from rewardfl_app.ui.face_summary import summary
from rewardfl_app.ui.monitor_page import top_payload
from rewardfl_app.ui.run_view import RunView

# What reads these is asked only when they are damaged: it takes longer than all the rest.
SETTINGS_FILES = frozenset({"config.yaml", "changes.jsonl", "run.json"})
# Of the things that are no file, those that readers of one format can take differently.
UNLIKE = frozenset({"nothing", "a folder", "a pipe", "a link to itself"})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[House, Page]:
    with pytest.MonkeyPatch.context() as environment:
        house = House(tmp_path_factory.mktemp("house"), environment)
        page = Page(house)
        for run in (house.ended, house.going):
            page.read(run.folder.id)  # imports, caches
    return house, page


@pytest.fixture
def house(built: tuple[House, Page], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> House:
    caplog.set_level(logging.CRITICAL)  # thousands of files are said to be unreadable
    house = built[0]
    house.settle(monkeypatch)
    return house


@pytest.fixture
def page(built: tuple[House, Page], house: House) -> Page:
    return built[1]


def test_every_function_of_the_page_is_asked_or_known_to_do_something(page: Page) -> None:
    assert page.asked() | DOING == set(page.functions)
    assert not page.asked() & DOING


def test_files_that_are_no_files(house: House, page: Page) -> None:
    """A folder, a pipe, a device, a link to itself ... in place of one file of each kind, and of the folders."""
    for path in _one_of_each_kind(house):
        for kind, make in hostile.ODD_FILES.items():
            if kind in UNLIKE or path.name in {"status.json", "metrics.jsonl", "config.yaml", "video.mp4"}:
                _read(house, page, path, make)


def test_damaged_run_files(house: House, page: Page) -> None:
    ran, files = Tally("run files"), house.run_files()

    @drawn("run files")
    @given(st.sampled_from(files), st.data())
    def case(path: Path, data: st.DataObject) -> None:
        ran.one()
        _read(house, page, path, data.draw(_contents(path)))

    case()
    ran.check()


def test_damaged_files_beside_the_runs(house: House, page: Page) -> None:
    ran, files = Tally("job files"), house.job_files()

    @drawn("job files")
    @given(st.sampled_from(files), st.data())
    def case(path: Path, data: st.DataObject) -> None:
        ran.one()
        _read(house, page, path, data.draw(_contents(path)))

    case()
    ran.check()


def test_the_tests_would_notice(house: House, page: Page, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A reader that trusts its file, an answer that no wire carries, a write elsewhere, a wait: each fails its case."""
    path = house.ended.folder.best
    monkeypatch.setitem(page.functions, "runs.weigh", lambda _: json.loads(path.read_text())["step"] + 1)
    with pytest.raises(TypeError, match="NoneType"):
        _read(house, page, path, b'{"step": null}')
    monkeypatch.setitem(page.functions, "runs.weigh", lambda _: [10**30])
    with pytest.raises(TypeError, match="64-bit"):
        _read(house, page, path, b"{}")
    monkeypatch.setitem(page.functions, "runs.weigh", lambda _: path.read_text())
    with pytest.raises(Hang):
        _read(house, page, path, hostile.ODD_FILES["a pipe"], seconds=0.5)
    monkeypatch.setitem(page.functions, "runs.weigh", lambda _: (tmp_path / "elsewhere").write_text("x"))
    with pytest.raises(AssertionError, match="elsewhere"):
        _read(house, page, path, b"{}")


def _read(
    house: House, page: Page, path: Path, content: bytes | Callable[[Path], None], seconds: float = LONGEST_SECONDS
) -> None:
    run = house.going if house.going.folder.path in path.parents else house.ended
    with house.instead(path, content), guarded(house.runs_dir, seconds):
        page.read(run.folder.id, settings=path.name in SETTINGS_FILES)


def _contents(path: Path) -> st.SearchStrategy[bytes]:
    """What may stand in a file: hostile texts, its own content damaged, and of JSON any field made hostile."""
    whole = path.read_bytes()
    ways: list[st.SearchStrategy[bytes]] = [
        st.sampled_from(hostile.TEXTS),
        cuts(32).map(lambda by: damaged(whole, by)),
        cuts(32).map(lambda by: damaged(whole, by)),
    ]
    if path.suffix == ".json" or path.name == "COMPLETE":
        content = json.loads(whole)
        fields = st.sampled_from(list(hostile.places(content)))
        hostiles = st.tuples(fields, st.sampled_from(hostile.JSON_VALUES))
        ways += [hostiles.map(lambda one: hostile.with_text(content, *one).encode("utf-8", "surrogatepass"))] * 4
    elif path.suffix == ".jsonl":
        lines = whole.decode().splitlines()
        ways += [_changed_line(lines)] * 4
    return st.one_of(ways)


@st.composite
def _changed_line(draw: st.DrawFn, lines: list[str]) -> bytes:
    """A JSON-lines file in which one field of one line is hostile."""
    number = draw(st.integers(0, len(lines) - 1))
    content = json.loads(lines[number])
    place = draw(st.sampled_from(list(hostile.places(content))))
    line = hostile.with_text(content, place, draw(st.sampled_from(hostile.JSON_VALUES)))
    return "\n".join([*lines[:number], line, *lines[number + 1 :], ""]).encode("utf-8", "surrogatepass")


def _one_of_each_kind(house: House, folders: bool = True) -> Iterator[Path]:
    run, seen = house.ended.folder, set()
    if folders:
        yield from (run.samples, run.samples / "baseline", run.checkpoints, run.control, run.comparisons)
    for path in [*house.run_files(), *house.job_files()]:
        kind = path.name if not path.name[0].isdigit() else path.suffix
        if kind not in seen:
            seen.add(kind)
            yield path


def test_every_field_of_every_file_hostile(house: House) -> None:
    """Each by the functions that read it, without the rest of the page, so that none is left to chance."""
    run, count = house.going.folder, 0
    for path in [*_one_of_each_kind(house, folders=False), run.status, run.process]:
        if path.suffix != ".json" and path.name != "COMPLETE":
            continue
        content = json.loads(path.read_bytes())
        with house.instead(path, b""), guarded(house.runs_dir, seconds=60):
            for _, text in hostile.json_variants(content):
                count += 1
                path.write_bytes(text.encode("utf-8", "surrogatepass"))
                _read_alone(path, run if run.path in path.parents else house.ended.folder, house)
    assert count > LEAST


def _read_alone(path: Path, run: RunFolder, house: House) -> None:
    """Make what the page shows of one file, as it goes over the wire."""
    match path.name:
        case "faces.json":
            content = read_json(path) or {}
            answers: list[Any] = [asdict(summary(content))]
        case "values.json":
            answers = [video_values.read(run, step) and None for step in (0, 20)]
        case "COMPLETE":
            answers = [len(list_checkpoints(run))]
        case "job.json" | "process.json" | "status.json" if path.parent != run.path:
            looks = (face_jobs.look, comparison_jobs.look, data_checks._look, previews.look)
            answers = [found and found.message for look in looks if (found := look(path.parent))]
        case "request.json" | "result.json":
            answers = playground_page.results(house.runs_dir, [house.preview.name])
        case "exit.json" | "status.json" | "process.json":
            answers = [asdict(state(run))]
        case _:
            view = RunView(run)
            view.look()
            answers = [top_payload(view), control.pending(run) and None, run_details.details(run, house.runs_dir)]
    ORJSONResponse._render(answers)
