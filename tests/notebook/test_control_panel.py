from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import fake_runs
import pytest
from written_runs import Start, WrittenRun

from rewardfl_app import find
from rewardfl_app.config.schema import Config
from rewardfl_app.notebook import panel
from rewardfl_app.notebook.settings_form import basic_fields, help_of
from rewardfl_app.runs import control


def hidden(widget: Any) -> bool:
    return widget.layout.display == "none"


def test_without_a_run_it_offers_to_start_one(config: Config, runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fake_runs.trainer_environment("slow").items():
        monkeypatch.setenv(name, value)
    board = panel(source=config, runs_dir=runs_dir)
    assert board.run is None and hidden(board._running) and not hidden(board._new)
    assert list(board.form.editors) == basic_fields() and "train.max_steps" in basic_fields()
    shown = str([each.value for row in board.form.children for each in row.children[2].children])
    assert help_of("reward.kl_weight").split(".")[0] in shown
    board.name.value = "mine"
    board.form.editors["train.max_steps"].value = "7"
    board.start.click()
    run = find("mine", runs_dir)
    assert board.run.id == run.id and run.settings.train.max_steps == 7
    assert not hidden(board._running) and hidden(board._new)
    fake_runs.eventually(lambda: "training" in board.head.value)
    board.start.click()  # pressed twice
    assert len(board.runs.options) == 2


def test_a_wrong_value_is_told_beside_its_field_and_starts_nothing(config: Config, runs_dir: Path) -> None:
    board = panel(source=config, runs_dir=runs_dir)
    board.form.editors["train.learning_rate"].value = "fast <b>"
    board.form.editors["train.max_steps"].value = "0"
    board.start.click()
    assert board.run is None and list(runs_dir.glob("*/run.json")) == []
    wrong = board.form._wrong
    assert "learning_rate must be a number" in wrong["train.learning_rate"].value
    assert "<b>" not in wrong["train.learning_rate"].value
    assert "at least 1" in wrong["train.max_steps"].value and wrong["train.seed"].value == ""


def test_its_buttons_act_and_the_receipts_are_shown(start: Start) -> None:
    run = start("slow", name="<i>a run</i>")
    board = panel(run)
    fake_runs.eventually(lambda: "training" in board.head.value)
    assert "<i>" not in board.head.value and not board.save.disabled and board.resume.disabled
    board.save.click()
    fake_runs.eventually(lambda: "Save now" in board.receipts.value and "done" in board.receipts.value)
    assert board.bar.value < 1
    board.stop.click()
    fake_runs.eventually(lambda: not board.ticker.is_running)
    assert run.state.state == "stopped" and board.stop.disabled and not board.resume.disabled
    assert "Resume to continue" in board.message.value
    board.resume.click()
    fake_runs.eventually(lambda: run.state.state == "training")
    fake_runs.eventually(lambda: "training" in board.head.value and not board.stop_now.disabled)
    board.stop_now.click()
    run.wait()


def test_a_live_setting_is_asked_for(start: Start) -> None:
    run = start("slow")
    board = panel(run)
    fake_runs.eventually(lambda: "training" in board.head.value)
    board.field.value = "reward.kl_weight"
    assert help_of("reward.kl_weight").split(".")[0] in board.help.value
    board.value.children[0].value = "2.5"
    board.change.click()
    asked = [request for request in control.requests(run.folder) if request.kind == "set_field"]
    assert [request.payload for request in asked] == [{"field": "reward.kl_weight", "value": 2.5}]
    fake_runs.eventually(lambda: "kl_weight = 2.5" in board.receipts.value)
    board.value.children[0].value = "much"
    board.change.click()
    assert "kl_weight must be a number" in board.problem.value
    assert board.value.children[0].value == "much"  # what is being typed is not replaced


def test_a_completed_run_goes_on_with_more_steps(start: Start) -> None:
    run = start("completes").wait()
    board = panel(run)
    assert board.change.description == "Resume with this" and board.resume.disabled
    board.field.value = "train.max_steps"
    board.value.children[0].value = "9"
    board.change.click()
    assert board.problem.value == "" and run.settings.train.max_steps == 9
    run.wait()


def test_a_failure_says_what_to_do_next(start: Start) -> None:
    run = start("bad_data").wait()
    board = panel(run)
    assert "no face is found in the first frame of b.mp4" in board.message.value
    assert "Remove row 2." in board.message.value and not board.ticker.is_running


def test_another_run_is_chosen_and_a_new_one_set_up(start: Start, runs_dir: Path) -> None:
    first, second = start("completes", name="one").wait(), start("completes", name="two").wait()
    board = panel(runs_dir=runs_dir)
    assert board.run.id == second.id and "two" in board.head.value
    board.runs.value = first.id
    assert board.run.id == first.id and "one" in board.head.value
    board.runs.value = ""
    assert board.run is None and not hidden(board._new)
    third = start("completes", name="three").wait()
    board.again.click()
    assert third.id in [run for _, run in board.runs.options]


def test_it_finds_a_run_whose_notebook_is_gone_and_leaves_it_alone(start: Start, runs_dir: Path) -> None:
    run = start("slow")
    board = panel(run)
    board.close()
    assert run.state.state not in ("stopped", "lost")
    again = panel(runs_dir=runs_dir)
    assert again.run.id == run.id
    fake_runs.eventually(lambda: "training" in again.head.value)
    again.stop.click()
    run.wait()


def test_a_button_may_be_pressed_from_another_thread(start: Start) -> None:
    """JupyterLab delivers clicks in a thread of their own while a cell waits."""
    run = start("slow")
    board = panel(run)
    fake_runs.eventually(lambda: not board.stop.disabled)
    pressed = threading.Thread(target=board.stop.click)
    pressed.start()
    run.wait()
    pressed.join(60)
    assert run.state.state == "stopped"


def test_a_run_that_is_resumed_moves_the_other_widgets_too(start: Start) -> None:
    from rewardfl_app.notebook import watch

    run = start("slow")
    run.stop()
    run.wait()
    curves, board = watch(run), panel(run)
    fake_runs.eventually(lambda: not curves.ticker.is_running)
    board.resume.click()
    assert curves.ticker.is_running
    run.stop()
    run.wait()


def test_a_run_without_settings_says_so(written: WrittenRun) -> None:
    board = panel(written.run)
    assert "cannot be read" in board.help.value
    assert "lost" in board.head.value or "stopped" in board.head.value
