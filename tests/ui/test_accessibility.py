"""axe-core on every page, light and dark: nothing serious for people who use a keyboard or a screen reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from app_process import AppProcess
from page_run import FakeRun

pytestmark = pytest.mark.browser

PAGES = ("Train", "Monitor", "Faces", "Compare", "Runs", "Playground")
SERIOUS = {"serious", "critical"}


def _empty(runs_dir: Path) -> None:
    """Nothing was ever started."""


def _running(runs_dir: Path) -> None:
    _finished(runs_dir)
    run = FakeRun(runs_dir, "one that runs")
    run.baseline()
    for step in range(1, 12):
        run.step(step)
    run.evaluate(10, motion=0.8)


def _finished(runs_dir: Path) -> None:
    run = FakeRun(runs_dir, "one that is done", total=20)
    run.baseline()
    for step in range(1, 21):
        run.step(step)
    run.evaluate(20)
    run.checkpoint(20)
    run.status("completed", 20)
    run.finish()


def _failed(runs_dir: Path) -> None:
    run = FakeRun(runs_dir, "one that failed")
    run.folder.log.write_text("what it said\n")
    run.finish("bad_data", "Row 3 of metadata.csv shows no face.", "Choose another clip for row 3.", 2)


@pytest.mark.parametrize(
    ("folder", "schemes"),
    [(_empty, ["light"]), (_running, ["light", "dark"]), (_finished, ["dark"]), (_failed, ["light"])],
    ids=["empty", "running", "finished", "failed"],
)
def test_no_page_has_a_serious_violation(
    folder: Callable[[Path], None], schemes: list[str], app: AppProcess, watched: Any, runs_dir: Path
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    folder(runs_dir)
    page = watched.open(app.address)
    found = []
    for scheme in schemes:
        page.evaluate("scheme => document.body.classList.toggle('dark', scheme === 'dark')", scheme)
        for name in PAGES:
            page.get_by_role("tab", name=name, exact=True).click()
            page.wait_for_timeout(800)
            for violation in Axe().run(page).response["violations"]:
                if violation["impact"] in SERIOUS:
                    places = [f"{node['target']} {node['failureSummary']}" for node in violation["nodes"][:3]]
                    found.append(f"{name}, {scheme}: {violation['id']}: {violation['help']}: {places}")
    assert not found, "\n".join(found)


def test_every_page_has_one_main_heading_and_a_language(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    _running(runs_dir)
    page = watched.open(app.address)
    assert page.locator("html").get_attribute("lang")
    for name in PAGES:
        page.get_by_role("tab", name=name, exact=True).click()
        page.wait_for_timeout(1000)
        headings = page.locator("h1:visible, h2:visible").all_inner_texts()
        assert [text for text in headings if text.strip()], f"{name} has no heading"
