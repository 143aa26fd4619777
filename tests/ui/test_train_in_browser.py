"""The Train page in a real browser: drafts, forks, the queue, the search, wrong things, all clips with their faces."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_process import AppProcess
from page_run import FakeRun
from waiting import until

from rewardfl_app.config import family, files, presets
from rewardfl_app.data import video
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import data_checks, queue, supervisor

pytestmark = pytest.mark.browser

CHILDREN = Path(__file__).resolve().parents[1] / "supervisor"
INJECTION = '<img src=x onerror="window.hacked=1"><b>bold</b>'


@pytest.fixture
def app(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppProcess]:
    """The app over the runs folder, with small stand-ins where the trainer and the search for faces would be."""
    monkeypatch.setenv("REWARDFL_TRAINER", shlex.join([sys.executable, str(CHILDREN / "fake_trainer.py"), "completes"]))
    checker = shlex.join([sys.executable, str(CHILDREN / "fake_checker.py"), "wait"])
    monkeypatch.setenv(data_checks.CHECKER_VARIABLE, checker)
    with AppProcess(runs_dir) as process:
        yield process


def _end(runs_dir: Path) -> None:
    """Wait until what was really started has ended."""
    for run in list_runs(runs_dir):
        if run.exit.exists() or (read_json(run.process) or {}).get("command") == ["test"]:
            continue  # played by this process
        supervisor.wait(run)


def _finished(runs_dir: Path, name: str) -> FakeRun:
    run = FakeRun(runs_dir, name)
    run.status("completed", 60)
    run.finish()
    return run


def test_the_first_visit_is_told_what_to_do(app: AppProcess, watched: Any) -> None:
    page = watched.open(app.address)
    page.locator(".guide").wait_for()
    assert page.locator(".guide li").count() == 3
    page.wait_for_selector(".hero-strip img")
    page.get_by_role("radio", name="Wan2.2-I2V-A14B").click()
    page.wait_for_selector(".needs li[data-state=missing]")
    assert "antelopev2.zip" in page.locator(".needs").inner_text()
    page.get_by_role("button", name="Give Face pack").click()
    assert page.evaluate("document.activeElement.id") == "field-reward-reward_model_path"


def test_the_model_is_chosen_with_the_arrow_keys(app: AppProcess, watched: Any) -> None:
    page = watched.open(app.address)
    page.get_by_role("radio", name="Pocket").focus()
    for title in ("Wan2.2-TI2V-5B", "Wan2.2-I2V-A14B"):
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(f".family[aria-checked=true]:has-text('{title}')")
        until(page, lambda title=title: title in page.evaluate("document.activeElement.textContent"))
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".family[aria-checked=true]:has-text('Pocket')")
    assert page.locator(".family").count() == len(family.FAMILIES)


def test_the_machine_is_chosen_below_the_model_and_files_that_were_named_stay(app: AppProcess, watched: Any) -> None:
    page = watched.open(app.address)
    assert not page.locator(".machines").is_visible()
    page.get_by_role("radio", name="Wan2.2-I2V-A14B").click()
    page.get_by_role("radio", name="As the reference").and_(page.locator(":checked")).wait_for()
    page.get_by_label("Model paths", exact=True).fill("/mine/model_paths.json")
    page.get_by_role("radio", name="As the reference").focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_selector(".diff h3:has-text('Changed from Wan2.2-I2V-A14B, one card of 80 GB')")
    assert page.evaluate("document.activeElement.value") == "preset:wan22_80gb"
    assert page.get_by_label("Settings from").input_value() == "preset:wan22_80gb"
    assert presets.PRESETS["wan22_80gb"].text in page.locator(".side").inner_text()
    assert page.get_by_label("Width", exact=True).input_value() == "832"
    assert page.get_by_label("Model paths", exact=True).input_value() == "/mine/model_paths.json"

    page.get_by_role("radio", name="Two machines of eight cards").check()
    page.wait_for_selector(".diff h3:has-text('two machines')")
    page.get_by_label("Settings from").select_option("preset:wan22_80gb")
    page.get_by_role("radio", name="One card of 80 GB The").and_(page.locator(":checked")).wait_for()
    assert page.get_by_label("Hostfile", exact=True).input_value() == ""  # it belongs to the other machines
    page.reload()
    page.get_by_role("radio", name="One card of 80 GB The").and_(page.locator(":checked")).wait_for()


def test_the_memory_is_told_beside_the_form_and_made_to_fit(app: AppProcess, watched: Any) -> None:
    page = watched.open(app.address)
    page.locator(".memory[data-state=fits]").wait_for()
    page.get_by_role("radio", name="Wan2.2-I2V-A14B").click()
    page.get_by_label("Planned for").select_option("80")
    page.locator(".memory[data-state=short]").wait_for()
    assert "Does not fit" in page.locator(".memory").inner_text()
    bar = page.get_by_role("button", name=re.compile("^Decoding and scoring: "))
    bar.focus()
    assert "decoding and back" in page.locator(".mem-parts").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator(".mem-parts").is_visible()
    bar.hover()
    assert "decoding and back" in page.locator(".mem-parts").inner_text()

    rows = page.locator(".mem-changes .link").all_inner_texts()
    page.get_by_role("button", name="Make it fit").click()
    page.locator(".memory[data-state=fits]").wait_for()
    assert page.locator(".field.changed .f-help code").all_text_contents() == rows == ["decode_chunk"]
    page.wait_for_selector(".diff li:has-text('decode_chunk')")
    assert page.evaluate("document.activeElement.className") == "mem-sentence"

    tall = page.locator(".memory").bounding_box()["height"]
    page.get_by_label("Max steps", exact=True).fill("some")
    page.locator(".memory[data-state=unread]").wait_for()
    assert page.locator(".memory").bounding_box()["height"] == tall
    page.get_by_label("Max steps", exact=True).fill("9")
    page.locator(".memory[data-state=fits]").wait_for()
    page.reload()
    page.locator(".memory[data-state=fits]").wait_for()
    assert page.get_by_label("Planned for").input_value() == "80"
    page.locator("summary", has_text="All settings").click()
    page.get_by_role("button", name="Reset Decode chunk").click()
    page.locator(".memory[data-state=short]").wait_for()
    page.locator("summary", has_text="Phase by phase").click()
    assert page.locator(".mem-phases .mem-bar").count() == 8
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert _serious(page) == []


def test_a_model_with_one_network_has_no_fields_of_a_second(app: AppProcess, watched: Any) -> None:
    page = watched.open(app.address)
    page.locator("summary", has_text="All settings").click()
    only_two = ("Low noise LoRA", "Min timestep boundary", "Max timestep boundary", "Prefix seeds")
    for label in only_two:
        assert page.get_by_label(label, exact=True).is_visible()
    page.get_by_role("radio", name="Wan2.2-TI2V-5B").click()
    page.get_by_text("Wan2.2-TI2V-5B weights").wait_for()
    for label in only_two:
        assert not page.get_by_label(label, exact=True).is_visible()
    assert page.get_by_label("High noise LoRA", exact=True).is_visible()
    assert page.get_by_label("Trainable models", exact=True).input_value() == "dit"
    assert not page.locator(".machines").is_visible()
    page.wait_for_selector(".problems li")
    told = page.locator(".problems .link").all_inner_texts()
    assert told == ["Model paths", "Reward model path", "Metadata path"]  # nothing but the files is missing


def test_a_draft_survives_a_refresh_and_another_tab_has_its_own(app: AppProcess, watched: Any) -> None:
    page = watched.open(app.address)
    rate = page.get_by_label("Learning rate", exact=True)
    rate.fill("3e-4")
    page.get_by_label("Name").fill("mine")
    page.wait_for_selector(".diff li:has-text('learning_rate')")
    page.reload()
    page.wait_for_selector(".diff li:has-text('learning_rate')")
    assert (rate.input_value(), page.get_by_label("Name").input_value()) == ("3e-4", "mine")

    other = watched.context.new_page()
    other.goto(app.address)
    second = other.get_by_label("Learning rate", exact=True)
    other.wait_for_selector(".diff li:has-text('learning_rate')")
    assert second.input_value() == "3e-4"
    second.fill("7e-4")
    other.wait_for_selector(".diff li:has-text('7e-4')")
    page.reload()
    page.wait_for_selector(".diff li:has-text('3e-4')")
    assert rate.input_value() == "3e-4"
    rate.fill("0.0005")  # the preset's own value, as it may be written
    page.wait_for_selector(".diff .same")
    rate.fill("5e-4")
    page.wait_for_timeout(600)
    assert page.locator('[data-key="train.learning_rate"].changed').count() == 0


def test_two_tabs_and_a_second_browser_start_one_run(
    app: AppProcess, watched: Any, chromium: Any, runs_dir: Path
) -> None:
    page = watched.open(app.address)
    stranger = chromium.new_context()
    pages = [page, watched.context.new_page(), stranger.new_page()]
    for other in pages[1:]:
        other.goto(app.address)
    for each in pages:
        each.wait_for_selector(".guide:not([hidden])")
        each.wait_for_selector(".clip img")
    for each in pages:
        each.evaluate("for (let i = 0; i < 3; i++) document.querySelector('.start').click()")
    for each in pages:
        each.get_by_role("tab", name="Monitor", selected=True).wait_for()
    assert len(list_runs(runs_dir)) == 1
    stranger.close()
    _end(runs_dir)


def test_a_fork_shows_only_what_differs_and_has_a_parent(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    parent = _finished(runs_dir, "base <b>").folder
    page = watched.open(app.address)
    page.get_by_label("Learning rate", exact=True).fill("9e-4")
    page.evaluate("id => { RFL.send('fork', {source: 'run:' + id}); RFL.go('train'); }", parent.id)
    page.get_by_role("heading", name="Fork of base <b>").wait_for()
    assert page.locator(".diff li").count() == 0
    page.get_by_label("Learning rate", exact=True).fill("1e-4")
    page.get_by_label("Mid timestep", exact=True).fill("6")
    until(page, lambda: page.locator(".diff li").count() == 2)
    assert page.locator(".diff li button").all_inner_texts() == ["mid_timestep", "learning_rate"]
    page.reload()
    page.get_by_role("heading", name="Fork of base <b>").wait_for()
    until(page, lambda: page.locator(".diff li").count() == 2)
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("tab", name="Monitor", selected=True).wait_for()
    run = list_runs(runs_dir)[0]
    assert (read_json(run.run_info) or {})["parent"] == parent.id
    config = files.load(run.config)
    assert (config.train.learning_rate, config.sampling.mid_timestep) == (1e-4, 6)
    page.get_by_role("tab", name="Train").click()
    page.get_by_role("button", name="Leave the fork").click()
    page.get_by_role("heading", name="New run").wait_for()
    assert page.get_by_label("Learning rate", exact=True).input_value() == "9e-4"
    _end(runs_dir)


def test_while_a_run_goes_on_the_queue_comes_first(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    FakeRun(runs_dir, "busy").step(3)
    page = watched.open(app.address)
    add = page.get_by_role("button", name="Add to queue")
    add.wait_for()
    assert "“busy” is going on" in page.locator(".busy-note").inner_text()
    assert page.get_by_role("button", name="Start anyway").is_visible()
    page.get_by_label("Name").fill("later")
    add.click()
    page.get_by_text("1 run waits in the queue.").wait_for()
    (waiting,) = queue.queued(runs_dir)
    assert (read_json(waiting.run_info) or {})["name"] == "later"
    assert "waits in the queue" in page.locator(".toast").inner_text()
    page.get_by_label("Name").fill("at once")
    page.get_by_role("button", name="Start anyway").click()
    page.get_by_role("tab", name="Monitor", selected=True).wait_for()
    assert (read_json(list_runs(runs_dir)[0].run_info) or {})["name"] == "at once"
    queue.remove(waiting)
    _end(runs_dir)


def test_every_setting_is_found_by_its_words(app: AppProcess, watched: Any) -> None:
    page = watched.open(app.address)
    box = page.get_by_label("Search all settings")
    size = page.get_by_label("Detector size", exact=True)
    assert not size.is_visible()
    box.fill("detection square")
    size.wait_for()
    assert not page.get_by_label("Learning rate", exact=True).is_visible()
    assert page.locator(".find-count").inner_text() == "1 setting"
    size.fill("many")
    page.wait_for_selector('[data-key="reward.det_size"].wrong')
    box.press("Escape")
    page.get_by_label("Learning rate", exact=True).wait_for()
    assert not size.is_visible()
    page.get_by_role("checkbox", name="Only what was changed").check()
    size.wait_for()
    page.get_by_role("button", name="Reset Detector size").click()
    until(page, lambda: page.locator(".find-count").inner_text() == "Nothing was changed.")


def test_each_field_says_when_it_can_be_changed(app: AppProcess, watched: Any) -> None:
    page = watched.open(app.address)
    page.locator("summary", has_text="All settings").click()
    marks = page.locator(".field .applies")
    assert marks.count() == page.locator(".tr .field[data-key]").count() > 60
    assert set(marks.all_inner_texts()) == {"new run", "at resume", "live"}


def test_wrong_clips_are_answered_beside_the_field(app: AppProcess, watched: Any, tmp_path: Path) -> None:
    page = watched.open(app.address)
    field = page.get_by_label("Metadata path", exact=True).first
    error = page.locator('[data-key="data.metadata_path"] .f-error')
    field.fill("/no/such/metadata.csv")
    error.get_by_text("does not exist").wait_for()
    (tmp_path / "metadata.csv").write_text("video,prompt\nnone.mp4,x\n")
    field.fill(str(tmp_path / "metadata.csv"))
    error.get_by_text("Row 1: the file").wait_for()
    page.get_by_role("button", name="Start", exact=True).click()
    until(page, lambda: page.evaluate("document.activeElement.id") == "field-data-metadata_path")
    assert list_runs(app.runs_dir) == []


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """metadata.csv of 30 clips, wide ones, with a hostile prompt and a missing file."""
    for index in range(2):
        pixels = np.full((5, 32, 64, 3), 60 + 90 * index, np.uint8)
        video.write(tmp_path / f"{index}.mp4", pixels, 8)
    names = ['0.mp4,"' + INJECTION.replace('"', '""') + '"', *["1.mp4,a person"] * 28, "none.mp4,gone"]
    (tmp_path / "metadata.csv").write_text("\n".join(["video,prompt", *names]))
    return tmp_path / "metadata.csv"


def test_faces_are_found_and_shown_on_all_clips(app: AppProcess, watched: Any, clips: Path, runs_dir: Path) -> None:
    page = watched.open(app.address)
    page.get_by_label("Metadata path", exact=True).first.fill(str(clips))
    page.get_by_text("30 clips").first.wait_for()
    page.get_by_role("button", name="Show all, with faces").click()
    table = page.locator(".ds-table tbody tr")
    until(page, lambda: table.count() == 24)
    assert INJECTION in table.first.inner_text() and page.evaluate("window.hacked") is None
    assert "not looked for" in table.first.inner_text() and page.locator("img[src=x]").count() == 0

    page.get_by_role("button", name="Find faces").click()
    page.get_by_text(re.compile("Looking at clip . of 29")).wait_for()
    until(page, lambda: page.locator(".frame .face").count() > 0)
    page.get_by_role("button", name="Stop looking").click()
    page.get_by_text("it goes on from there").wait_for()

    page.get_by_role("button", name="Find the other faces").or_(page.get_by_role("button", name="Look again")).click()

    def done() -> bool:
        for request in (runs_dir / data_checks.FOLDER).glob("*/request.json"):
            (request.parent / "go").touch()
        found = page.get_by_text("29 with a face in the first frame").is_visible()
        return found and not page.locator(".ds-progress").is_visible()

    until(page, done)
    # Measured in the moment it is seen: the table is drawn again with every clip looked at, its pictures just after.
    box = page.wait_for_function(
        "() => { const [f] = document.querySelectorAll('.frame'); if (!f?.querySelector('.face')) return null;"
        " const [a, b] = [f, f.querySelector('.face')].map(n => n.getBoundingClientRect());"
        " return b.width > 0 && b.height > 0 ? [(b.left - a.left) / a.width, (b.top - a.top) / a.height] : null; }"
    ).json_value()
    assert box == [pytest.approx(0.2, abs=0.03), pytest.approx(0.2, abs=0.03)]
    assert "9 of 9" in table.first.inner_text()

    page.get_by_role("button", name="Next").click()
    until(page, lambda: table.count() == 6)
    page.get_by_role("button", name="Problems only").click()
    until(page, lambda: table.count() == 1)
    assert "none.mp4" in table.first.inner_text() and "does not exist" in table.first.inner_text()
    page.reload()
    page.get_by_role("heading", name="Clips", exact=True).first.wait_for()
    until(page, lambda: page.locator(".frame .face").count() == 24)
    page.go_back()
    page.get_by_role("button", name="Show all, with faces").wait_for()


def _serious(page: Any) -> list[tuple[str, str]]:
    """What axe finds that is serious, in both themes."""
    from axe_playwright_python.sync_playwright import Axe

    found = []
    for scheme in ("light", "dark"):
        page.evaluate("scheme => document.body.classList.toggle('dark', scheme === 'dark')", scheme)
        page.wait_for_timeout(300)
        found += [
            (each["id"], node["html"][:200])
            for each in Axe().run(page).response["violations"]
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]
    return found


def test_the_choice_of_the_machine_has_no_serious_violation(app: AppProcess, watched: Any) -> None:
    page = watched.open(app.address)
    page.get_by_role("radio", name="Wan2.2-I2V-A14B").click()
    page.locator(".machine").first.wait_for()
    page.wait_for_selector(".needs li")
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert _serious(page) == []


def test_forms_and_clips_have_no_serious_violation(app: AppProcess, watched: Any, clips: Path, runs_dir: Path) -> None:
    FakeRun(runs_dir, "busy").step(3)
    page = watched.open(app.address)
    page.get_by_role("button", name="Add to queue").wait_for()
    page.get_by_label("Metadata path", exact=True).first.fill(str(clips))
    page.get_by_label("Max steps", exact=True).fill("none")
    page.wait_for_selector(".problems li")
    page.locator("summary", has_text="All settings").click()
    for address in ("train", "train?view=clips"):
        page.evaluate(
            "address => RFL.go(...address.split('?').map((p, i) => i ? {view: p.split('=')[1]} : p))", address
        )
        page.wait_for_timeout(500)
        assert _serious(page) == []
