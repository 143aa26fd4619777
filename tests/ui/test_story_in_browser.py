"""One person's afternoon on the embedded models: start, watch, stop, resume, change two numbers, run again, look at the
difference. Everything is real: the trainer, the app and the browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from app_process import AppProcess
from waiting import num_points, until

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.metrics import read_all
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import supervisor

pytestmark = pytest.mark.browser

# As little as shows everything: four evaluations, two checkpoints, a stop in the middle.
SMALL = {
    "train.max_steps": "8",
    "train.save_steps": "4",
    "train.train_batch_size": "2",
    "evaluation.eval_steps": "4",
    "evaluation.num_samples": "2",
}


def _fill(page: Any, values: dict[str, str]) -> None:
    for key, value in values.items():
        page.locator(f'[data-key="{key}"] input').fill(value)


def _state(page: Any, state: str) -> None:
    """Waits for a state of the run that is shown; a machine that does much else takes minutes for a few steps."""
    page.locator(f".hd-state[data-state={state}]").wait_for(timeout=600_000)


def _steps(run: RunFolder) -> list[int]:
    return [record["step"] for record in read_all(run.metrics) if "loss" in record]


def test_start_stop_resume_fork_and_difference(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    page = watched.open(app.address)
    _fill(page, SMALL)
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("tab", name="Monitor", selected=True).wait_for()
    (first,) = list_runs(runs_dir)

    # Points appear while it trains.
    until(page, lambda: num_points(page, "loss") >= 2)
    assert page.locator("#monitor-charts .zoomed").count() == 0

    # Stop says what it will do; the receipt says what was done.
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Save and stop").click()
    _state(page, "stopped")
    stopped_at = supervisor.state(first).step
    assert 2 <= stopped_at < 8
    page.get_by_text(
        re.compile(f"Stopped after step {stopped_at}; saved checkpoint step_{stopped_at:06d}")
    ).first.wait_for()

    # Resume goes on from there, to the end, and no step is made twice.
    page.get_by_role("button", name="Resume").first.click()
    _state(page, "completed")
    assert _steps(first) == list(range(1, 9))
    until(page, lambda: "Step 8 of 8" in page.locator(".hd").inner_text())

    # Two numbers are changed: the learning rate, and K from four gradient steps to two.
    page.get_by_role("button", name="Fork with other settings").click()
    page.get_by_role("tab", name="Train", selected=True).wait_for()
    page.get_by_text("Fork of run 1").first.wait_for()
    _fill(page, {"train.learning_rate": "0.001", "sampling.mid_timestep": "6"})
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("tab", name="Monitor", selected=True).wait_for()
    until(page, lambda: len(list_runs(runs_dir)) == 2)
    second = list_runs(runs_dir)[0]
    page.wait_for_function("run => document.querySelector('.hd-runs').value === run", arg=second.id)
    _state(page, "completed")
    assert _steps(second) == list(range(1, 9))
    assert read_json(second.run_info)["parent"] == first.id

    # Both curves over each other, and exactly what differs.
    page.get_by_role("tab", name="Runs", exact=True).click()
    for run in (first, second):
        page.locator(f'[data-run="{run.id}"]').get_by_role("checkbox").check()
    rows = page.locator(".rn-difference tr[data-field]")
    until(page, lambda: rows.count() == 2)
    assert {rows.nth(i).get_attribute("data-field") for i in range(2)} == {
        "train.learning_rate",
        "sampling.mid_timestep",
    }
    texts = " ".join(rows.all_inner_texts())
    assert all(value in texts for value in ("0.0005", "0.001", "4", "6"))
    lines = page.locator(".rn-charts [data-chart='eval/reward'] .ch-series")
    until(page, lambda: {line.get_attribute("data-series") for line in lines.all()} == {first.id, second.id})
    drawn = [line.locator("path.ch-line").last.get_attribute("d") for line in lines.all()]
    assert all(path and path.count("L") >= 1 for path in drawn) and len(set(drawn)) == len(drawn)


def _tab_to(page: Any, name: str, most: int = 400) -> None:
    """Press Tab until the control of this name has the focus; it must be visible there."""
    for _ in range(most):
        page.keyboard.press("Tab")
        found = page.evaluate("""() => {
            const e = document.activeElement, box = e.getBoundingClientRect();
            const label = e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent || "";
            return {name: label.trim(), seen: box.width > 0 && box.height > 0};
        }""")
        if found["name"] == name:
            assert found["seen"], f"{name} has the focus but cannot be seen"
            return
    raise AssertionError(f"Tab does not reach {name!r}")


def test_the_flow_works_with_the_keyboard_alone(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    page = watched.open(app.address)
    page.wait_for_selector(".problems", state="attached")
    _tab_to(page, "Learning rate")
    page.keyboard.press("Control+A")
    page.keyboard.type("1e-4")
    _tab_to(page, "Start")
    page.keyboard.press("Enter")
    page.get_by_role("tab", name="Monitor", selected=True).wait_for()
    (run,) = list_runs(runs_dir)
    assert supervisor.settings(run).train.learning_rate == 1e-4
    _tab_to(page, "Stop")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    _tab_to(page, "Stop without saving")
    page.keyboard.press("Space")
    _state(page, "stopped")
    _tab_to(page, "Resume")
    page.keyboard.press("Enter")
    page.locator(".hd-state:is([data-state=starting], [data-state=loading], [data-state=training])").wait_for()
