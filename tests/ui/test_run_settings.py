"""Settings that can be changed now: which are offered, what is refused beside the field, what reaches the trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from page_run import FakeRun

from rewardfl_app.config.changes import live_fields
from rewardfl_app.runs.control import pending
from rewardfl_app.ui import run_settings


def _fields(run: FakeRun) -> dict[str, dict[str, Any]]:
    return {field["key"]: field for field in run_settings.payload(run.folder)["fields"]}


def test_a_running_run_offers_its_live_fields_with_their_values(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    shown = run_settings.payload(run.folder)
    assert shown["mode"] == "live" and {field["key"] for field in shown["fields"]} == set(live_fields())
    assert _fields(run)["train.learning_rate"]["value"] == "0.0005"
    levels = [field["level"] for field in shown["fields"]]
    assert levels == sorted(levels, key=lambda level: level != "basic")


def test_a_live_value_reaches_the_trainer_and_is_shown_as_asked_for(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    assert "next step" in run_settings.set_live(run.folder, "train.learning_rate", "1e-4")["message"]
    (request,) = pending(run.folder)
    assert (request.kind, request.payload) == ("set_field", {"field": "train.learning_rate", "value": 1e-4})
    assert _fields(run)["train.learning_rate"]["pending"] == 1e-4


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("train.learning_rate", "fast"),
        ("train.learning_rate", "-1"),
        ("train.learning_rate", ""),
        ("train.seed", "7"),
        ("lora.lora_rank", "8"),
        ("no.such", "1"),
    ],
)
def test_what_is_refused_is_said_beside_the_field(tmp_path: Path, field: str, text: str) -> None:
    run = FakeRun(tmp_path)
    (sentence,) = run_settings.set_live(run.folder, field, text)["errors"].values()
    assert sentence.endswith(".") and pending(run.folder) == []


def test_an_ended_run_offers_more_fields_and_refuses_what_needs_a_new_run(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.finish("stopped", "Stopped as asked.")
    shown = run_settings.payload(run.folder)
    offered = {field["key"] for field in shown["fields"]}
    assert shown["mode"] == "resume" and set(live_fields()) < offered and "lora.lora_rank" not in offered
    assert list(run_settings.resume(run.folder, {"lora.lora_rank": "8"})["errors"]) == ["lora.lora_rank"]
    assert (
        "not running"
        in run_settings.set_live(run.folder, "train.learning_rate", "1e-4")["errors"]["train.learning_rate"]
    )


def test_unreadable_settings_are_one_sentence(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.folder.config.write_text("train: [")
    shown = run_settings.payload(run.folder)
    assert shown["fields"] == [] and "cannot be read" in shown["error"]
