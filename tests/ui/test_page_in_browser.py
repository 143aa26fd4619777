"""The page as a person uses it, in a real browser against the real app."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from app_process import AppProcess
from page_run import FakeRun
from waiting import num_points, until

from rewardfl_app.runs.control import acknowledge, pending
from rewardfl_app.runs.registry import list_runs

pytestmark = pytest.mark.browser

INJECTION = '<img src=x onerror="window.hacked=1"><b>bold</b> & "quoted" ${1+1} {{this}}'


def _tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def test_an_empty_folder_opens_on_a_page_that_explains_itself(app: AppProcess, watched: Any) -> None:
    page = watched.open(app.address)
    assert page.get_by_role("heading", level=1).inner_text()
    page.wait_for_selector(".hero-strip img")
    page.wait_for_selector(".clip img")
    assert page.locator(".hd-none").is_visible()
    for name in ("Monitor", "Compare"):
        _tab(page, name)
        assert page.get_by_text("yet").first.is_visible()


def test_a_wrong_value_is_reported_beside_its_field_and_starts_nothing(
    app: AppProcess, watched: Any, runs_dir: Path
) -> None:
    page = watched.open(app.address)
    page.get_by_label("Learning rate", exact=True).fill("fast")
    page.wait_for_selector('[data-key="train.learning_rate"].wrong .f-error')
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_selector(".problems h3")
    assert list_runs(runs_dir) == []
    page.get_by_role("button", name="Reset Learning rate").click()
    page.wait_for_selector('[data-key="train.learning_rate"]:not(.wrong)')
    page.wait_for_selector(".diff .same")


def test_wan_says_what_is_missing(app: AppProcess, watched: Any) -> None:
    page = watched.open(app.address)
    page.get_by_role("radio", name="Wan2.2-I2V-A14B").click()
    page.wait_for_selector(".needs li[data-state=missing]")
    assert "antelopev2.zip" in page.locator(".needs").inner_text()


def test_a_new_point_appears_and_zoom_and_refresh_survive(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = FakeRun(runs_dir, "live run", prompts=("one",))
    run.baseline()
    run.step(1)
    page = watched.open(app.address)
    _tab(page, "Monitor")
    until(page, lambda: num_points(page, "loss") == 1)
    run.step(2)
    run.step(3)
    until(page, lambda: num_points(page, "loss") == 3)
    until(page, lambda: "Step 3 of 60" in page.locator(".hd").inner_text())  # the points may be newer than the tick

    plot = page.locator("[data-chart=loss] .ch-plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 40, steps=4)
    page.mouse.up()
    page.wait_for_selector("[data-chart=loss] .zoomed")
    run.step(4)
    until(page, lambda: "Step 4 of 60" in page.locator(".hd").inner_text())
    assert page.locator("[data-chart=loss] .zoomed").count() == 1

    page.reload()
    page.wait_for_selector(".hd-state")
    until(page, lambda: num_points(page, "loss") == 4)
    page.get_by_role("tab", name="Monitor", selected=True).wait_for()
    assert "live run" in page.locator(".hd-runs").inner_text()


def test_killing_and_restarting_the_app_loses_nothing(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = FakeRun(runs_dir, "survivor", prompts=("one",))
    run.step(1)
    page = watched.open(app.address)
    _tab(page, "Monitor")
    until(page, lambda: num_points(page, "loss") == 1)
    app.kill()
    run.step(2)
    with page.expect_navigation():  # the page comes back by itself
        again = AppProcess(runs_dir, port=app.port)
    with again:
        page.wait_for_selector(".hd-brand")
        until(page, lambda: num_points(page, "loss") == 2)
        page.get_by_role("tab", name="Monitor", selected=True).wait_for()


def test_stop_says_what_will_happen_and_shows_the_receipt(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = FakeRun(runs_dir, "to be stopped", prompts=("one",))
    run.step(5)
    page = watched.open(app.address)
    _tab(page, "Monitor")
    page.get_by_role("button", name="Stop", exact=True).click()
    assert "saves a checkpoint" in page.get_by_role("dialog").inner_text()
    page.get_by_role("button", name="Save and stop").click()
    until(page, lambda: len(pending(run.folder)) == 1)
    request = pending(run.folder)[0]
    assert request.kind == "stop_and_save"
    acknowledge(run.folder, request.id, "Saved the checkpoint of step 5 and stopped.")
    run.finish("stopped", "Stopped as asked after step 5.")
    page.get_by_text("Saved the checkpoint of step 5 and stopped.").wait_for()
    page.locator(".hd-state[data-state=stopped]").wait_for()
    assert page.get_by_role("button", name="Resume", exact=True).is_visible()


def test_a_failure_shows_cause_and_next_step(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = FakeRun(runs_dir, prompts=("one",))
    run.finish("bad_data", "Row 3 of metadata.csv shows no face.", "Choose another clip for row 3.", 2)
    page = watched.open(app.address)
    _tab(page, "Monitor")
    alert = page.locator(".notice.bad")
    alert.wait_for()
    assert "Row 3" in alert.inner_text() and "Choose another clip" in alert.inner_text()


def test_html_in_prompts_and_names_is_text(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = FakeRun(runs_dir, INJECTION, prompts=(INJECTION, "two"))
    run.baseline()
    run.evaluate(10)
    run.folder.log.write_text(INJECTION)
    run.finish("unknown", INJECTION, INJECTION, 1)
    page = watched.open(app.address)
    _tab(page, "Monitor")
    page.locator(".notice.bad").wait_for()
    assert INJECTION in page.locator(".notice.bad").inner_text()
    until(page, lambda: page.locator(".ms-prompt").inner_text() == INJECTION)
    _tab(page, "Compare")
    until(page, lambda: page.locator(".cp-prompt").first.inner_text() == INJECTION)
    assert INJECTION in page.locator(".hd-runs option").first.inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0


def test_start_with_nothing_changed_trains_and_stops_with_a_checkpoint(
    app: AppProcess, watched: Any, runs_dir: Path
) -> None:
    page = watched.open(app.address)
    page.wait_for_selector(".clip img")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("tab", name="Monitor", selected=True).wait_for()
    page.locator(".hd-progress").wait_for()
    (run,) = list_runs(runs_dir)
    try:
        until(page, lambda: page.locator("[data-chart=loss]").count() == 1 and num_points(page, "loss") >= 1, 240)
        page.reload()
        page.locator(".hd-progress").wait_for()
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_role("button", name="Save and stop").click()
        page.locator(".hd-state[data-state=stopped]").wait_for(timeout=600_000)
    finally:
        from rewardfl_app.supervisor import supervisor

        if not supervisor.state(run).is_finished:
            supervisor.stop(run, now=True)
            supervisor.wait(run)
    assert list(run.checkpoints.glob("step_*/COMPLETE"))
