"""The address of the page: Back, a second tab, a second browser and a copied address all show the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from app_process import AppProcess
from page_run import FakeRun

pytestmark = pytest.mark.browser

PAGES = ("Train", "Monitor", "Faces", "Compare", "Runs", "Playground")


def _wait_for(page: Any, tab: str) -> None:
    page.get_by_role("tab", name=tab, exact=True, selected=True).wait_for()


def _wait_for_run(page: Any, run: FakeRun) -> None:
    page.wait_for_function("run => document.querySelector('.hd-runs').value === run", arg=run.folder.id)


def _two_runs(runs_dir: Path) -> tuple[FakeRun, FakeRun]:
    runs = FakeRun(runs_dir, "the first", prompts=("one",)), FakeRun(runs_dir, "the second", prompts=("one",))
    for run in runs:
        run.step(3)
    return runs


def test_back_and_forward_walk_through_the_pages(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    _two_runs(runs_dir)
    page = watched.open(app.address)
    for name in PAGES[1:]:
        page.get_by_role("tab", name=name, exact=True).click()
        page.wait_for_function("name => location.hash.startsWith('#' + name)", arg=name.lower())
    for name in reversed(PAGES[:-1]):
        page.go_back()
        _wait_for(page, name)
    page.go_forward()
    _wait_for(page, "Monitor")


def test_the_arrow_keys_move_between_pages_and_the_address_follows(
    app: AppProcess, watched: Any, runs_dir: Path
) -> None:
    page = watched.open(app.address)
    page.get_by_role("tab", name="Train", exact=True).focus()
    page.keyboard.press("ArrowRight")
    _wait_for(page, "Monitor")
    page.wait_for_function("location.hash.startsWith('#monitor')")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    _wait_for(page, "Playground")


def test_an_address_opens_its_page_and_run_in_any_browser(
    app: AppProcess, watched: Any, chromium: Any, runs_dir: Path
) -> None:
    first, second = _two_runs(runs_dir)
    page = watched.open(app.address)
    page.get_by_role("tab", name="Monitor", exact=True).click()
    page.locator(".hd-runs").select_option(first.folder.id)
    page.wait_for_function("run => location.hash.includes(run)", arg=first.folder.id)
    _wait_for_run(page, first)
    address = page.url

    same_browser = watched.context.new_page()
    same_browser.goto(address)
    _wait_for(same_browser, "Monitor")
    _wait_for_run(same_browser, first)

    other_browser = chromium.new_context().new_page()
    other_browser.goto(address)
    _wait_for(other_browser, "Monitor")
    _wait_for_run(other_browser, first)

    other_browser.locator(".hd-runs").select_option(second.folder.id)
    _wait_for_run(other_browser, second)
    other_browser.go_back()
    _wait_for_run(other_browser, first)
    first.step(4)
    for shown in (page, same_browser, other_browser):
        shown.get_by_text("Step 4 of 60").first.wait_for()
    other_browser.context.close()


def test_an_address_of_a_run_that_is_not_there_says_so(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    first, second = _two_runs(runs_dir)
    page = watched.open(f"{app.address}/#monitor?run=../../etc")
    page.get_by_text("There is no run").wait_for()
    _wait_for_run(page, second)
    page.wait_for_function("run => location.hash.endsWith('run=' + run)", arg=second.folder.id)


def test_a_link_survives_the_restart_of_the_app(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    first, _ = _two_runs(runs_dir)
    page = watched.open(f"{app.address}/#monitor?run={first.folder.id}")
    _wait_for_run(page, first)
    app.kill()
    first.step(5)
    with page.expect_navigation():
        again = AppProcess(runs_dir, port=app.port)
    with again:
        _wait_for(page, "Monitor")
        _wait_for_run(page, first)
        page.get_by_text("Step 5 of 60").first.wait_for()
