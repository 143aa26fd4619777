"""Monitor in a real browser: other runs over this one, settings of a running job, the way from a failure to its log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from app_process import AppProcess
from page_run import FakeRun
from waiting import until

from rewardfl_app.runs import changes, queue_file
from rewardfl_app.runs.changes import Change
from rewardfl_app.runs.control import acknowledge, pending
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.status import Status, write_status

pytestmark = pytest.mark.browser


def _lines(page: Any, chart: str) -> int:
    return int(page.locator(f"[data-chart={chart}] path.ch-line").count())


def _run(runs_dir: Path, name: str, steps: int = 3) -> FakeRun:
    run = FakeRun(runs_dir, name, prompts=("one",))
    run.baseline()
    for step in range(1, steps + 1):
        run.step(step)
    return run


def test_other_runs_are_laid_over_and_kept_in_the_address(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    other = _run(runs_dir, "the other")
    other.finish()
    run = _run(runs_dir, "this one")
    page = watched.open(f"{app.address}/#monitor?run={run.folder.id}")
    until(page, lambda: _lines(page, "loss") == 1)
    page.get_by_role("button", name="Overlay runs").click()
    page.get_by_label("Find a run").fill("oth")
    page.get_by_role("checkbox", name="the other").check()
    until(page, lambda: _lines(page, "loss") == 2)
    page.keyboard.press("Escape")
    assert f"with={other.folder.id}" in page.url

    page.reload()
    until(page, lambda: _lines(page, "loss") == 2)
    assert "the other" in page.locator("[data-chart=loss] .ch-legend").inner_text()
    run.step(4)
    until(page, lambda: "Step 4 of" in page.locator(".hd").inner_text())
    page.get_by_role("button", name="Take away the other").click()
    until(page, lambda: _lines(page, "loss") == 1)
    assert "with=" not in page.url

    page.goto(f"{app.address}/#monitor?run={run.folder.id}&with=../../etc")
    page.reload()
    until(page, lambda: _lines(page, "loss") == 1)


def test_a_setting_is_changed_while_it_runs(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = _run(runs_dir, "running")
    page = watched.open(f"{app.address}/#monitor?run={run.folder.id}")
    page.get_by_role("button", name="Change settings").click()
    row = page.locator(".rs [data-key='train.learning_rate']")
    row.get_by_text("now 0.0005").wait_for()
    field = row.get_by_role("textbox")
    field.fill("fast")
    row.get_by_role("button", name="Apply").click()
    row.locator(".wrong").wait_for()
    assert field.get_attribute("aria-invalid") == "true" and pending(run.folder) == []

    field.fill("1e-4")
    run.step(4)  # new points do not take away what is being typed
    until(page, lambda: "Step 4 of" in page.locator(".hd").inner_text())
    assert field.input_value() == "1e-4"
    field.press("Enter")
    until(page, lambda: len(pending(run.folder)) == 1)
    page.get_by_text("Asked for 0.0001").wait_for()
    (request,) = pending(run.folder)
    change = Change(5, "train.learning_rate", 5e-4, 1e-4, request=request.id)
    changes.record(run.folder, change)
    acknowledge(run.folder, request.id, change.sentence)
    page.locator(".receipts").get_by_text("from step 5 on").wait_for()
    until(page, lambda: "now 0.0001" in row.inner_text())


def test_the_keyboard_keeps_its_place_while_points_arrive(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = _run(runs_dir, "running")
    page = watched.open(f"{app.address}/#monitor?run={run.folder.id}")
    page.get_by_role("button", name="Save now").focus()
    run.evaluate(3)
    page.get_by_role("heading", name="After 3 steps").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Save now"
    page.keyboard.press("Enter")
    until(page, lambda: [request.kind for request in pending(run.folder)] == ["save_now"])
    acknowledge(run.folder, pending(run.folder)[0].id, "Saved the checkpoint of step 3.")
    page.locator(".receipts").get_by_text("Saved the checkpoint of step 3.").wait_for()


def test_from_a_failure_the_log_and_a_fork_are_one_click_away(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = _run(runs_dir, "broken")
    run.folder.log.write_text("first line\nCUDA out of memory\n")
    run.finish("out_of_gpu_memory", "The GPU ran out of memory.", "Lower data.max_pixels.", 1)
    page = watched.open(f"{app.address}/#monitor?run={run.folder.id}")
    page.get_by_role("button", name="Open the log").click()
    page.get_by_text("CUDA out of memory").wait_for()
    page.get_by_role("button", name="Change and resume").click()
    page.get_by_role("heading", name="Resume with changes").wait_for()
    rows = page.locator(".rs [data-key='train.max_steps']")
    rows.get_by_role("textbox").fill("0")
    page.get_by_role("button", name="Resume with this change").click()
    rows.locator(".wrong").wait_for()
    assert not run.folder.exit.with_suffix(".1.json").exists()
    page.get_by_role("button", name="Fork with other settings").click()
    page.get_by_role("tab", name="Train", selected=True).wait_for()


def test_a_paused_run_says_why(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = _run(runs_dir, "paused")
    run.status("paused", 3, "The disk of the runs folder is nearly full: 0.10 GB are free. Free space.")
    page = watched.open(f"{app.address}/#monitor?run={run.folder.id}")
    notice = page.locator(".notice.warn")
    notice.get_by_role("heading", name="The run is paused").wait_for()
    assert "nearly full: 0.10 GB are free" in notice.inner_text()
    run.step(4)
    until(page, lambda: notice.count() == 0)


def test_a_run_in_the_queue_says_its_place_and_offers_the_one_that_goes_on(
    app: AppProcess, watched: Any, runs_dir: Path
) -> None:
    going_on = _run(runs_dir, "going on")
    waiting = [RunFolder.create(runs_dir, name) for name in ("first", "second")]
    for run in waiting:
        write_status(run, Status("queued", total=40))
    queue_file.write(runs_dir, waiting)
    page = watched.open(f"{app.address}/#monitor?run={waiting[1].id}")
    page.get_by_text("Number 2 of 2 in the queue").first.wait_for()
    assert page.locator(".hd-queue").inner_text() == "2 in the queue"
    page.get_by_role("button", name="going on goes on").click()
    until(page, lambda: _lines(page, "loss") == 1)
    assert f"run={going_on.folder.id}" in page.url


def test_a_frozen_face_is_shown_as_a_doubtful_gain(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = _run(runs_dir, "frozen")
    run.evaluate(20, motion=0.97)
    run.evaluate(40, motion=0.7)
    page = watched.open(f"{app.address}/#monitor?run={run.folder.id}")
    panel = page.get_by_role("region", name="Reward hacking")
    panel.get_by_text("Doubtful since step 40").wait_for()
    assert "alarm: the face moves less" in panel.locator("[data-hacking=motion]").inner_text()
    assert "What to do" in panel.inner_text() and "step 20" in panel.locator(".hk-todo").inner_text()
    assert panel.locator(".ch-event").count() >= 1
