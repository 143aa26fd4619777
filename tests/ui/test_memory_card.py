"""The memory of a draft in the words of the page: does it fit, in which phase is it most, what would make it fit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rewardfl_app.config import presets
from rewardfl_app.planning.machine import Machine
from rewardfl_app.ui import draft, memory_card
from rewardfl_app.ui.config_form import Values, values_of

On = Callable[[float | None, float | None], None]


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> On:
    """Puts the page on a machine with so many GB of a GPU and of its own."""

    def put(device: float | None, host: float | None) -> None:
        monkeypatch.setattr(memory_card, "_here", lambda period: Machine(device, host))

    put(None, 16.0)
    return put


# The embedded model as it is on a machine with one processor, whatever this one has.
ALONE = {"deepspeed__num_processes": "1", "train__per_device_train_batch_size": "2"}


def _values(preset: str, **changes: object) -> Values:
    changed = {name.replace("__", "."): value for name, value in changes.items()}
    return {**values_of(presets.preset(preset)), **changed}


def _view(preset: str, planned_for: object = "", **changes: object) -> dict[str, Any]:
    found = memory_card.view(_values(preset, **changes), planned_for)
    assert found is not None
    return found


def test_what_fits_says_where_it_is_most(on: On) -> None:
    card = _view("pocket", **ALONE)
    assert card["state"] == "fits" and card["remedy"] is None and card["beside"] == ""
    assert card["sentence"] == "Fits: 1.0 GB of 14.4 GB usable, most while decoding and scoring."
    assert card["whole"] == 16.0 and card["usable"] == pytest.approx(14.4)
    on(48.0, 64.0)
    card = _view("wan22_5b_24gb")
    assert card["sentence"].endswith("of 45.1 GB usable on the GPU, most while decoding and scoring.")
    assert card["beside"].startswith("and ") and card["beside"].endswith("GB of the machine’s own memory")


def test_a_laptop_makes_no_claim_on_a_model_for_gpus(on: On) -> None:
    card = _view("wan22_80gb")
    assert card["state"] == "unknown" and card["usable"] is None and card["remedy"] is None
    assert card["sentence"] == "Needs 60.8 GB on a GPU; this machine has none."
    assert _view("wan22_8x80gb")["sentence"] == "Needs 60.8 GB on each GPU; this machine has none."
    on(None, None)
    assert _view("pocket", **ALONE)["sentence"] == "Needs 1.0 GB; how much memory this machine has is not known."


def test_the_settings_that_make_it_fit_can_be_put_into_the_form(on: On) -> None:
    values = _values("wan22_i2v_a14b")
    for gpu in ("48", "80"):
        card = _view("wan22_i2v_a14b", gpu)
        assert card["state"] == "short" and card["sentence"].startswith("Does not fit: 77.5 GB on each GPU, ")
        after = memory_card.view({**values, **card["remedy"]}, gpu)
        assert after is not None and after["state"] == "fits"
        assert card["then"].removesuffix(" on each GPU") in after["sentence"]
        kinds = {field: type(value) for field, value in card["remedy"].items()}
        assert kinds == {field: type(values[field]) for field in card["remedy"]}
    card = _view("wan22_i2v_a14b", "24")
    assert card["remedy"] is None and "take Wan2.2-TI2V-5B, or a larger machine" in card["sentence"]


def test_what_is_planned_for_elsewhere_is_not_held_against_this_machine(on: On) -> None:
    on(24.0, 1.0)
    assert _view("pocket")["state"] == "short"
    assert _view("pocket", "24")["state"] == "fits"
    assert _view("wan22_80gb")["state"] == "short"
    assert _view("wan22_80gb", "80")["state"] == "fits"
    for nonsense in (None, "23", 80.5, True, ["80", "48"], {"gb": "80"}, "NaN"):
        assert _view("wan22_80gb", nonsense)["state"] == "short"


def test_the_bars_are_of_the_memory_that_is_short(on: On) -> None:
    on(80.0, 60.0)
    card = _view("wan22_8x80gb")
    assert card["whole"] > 60 and card["usable"] == pytest.approx(54)
    assert "143 GB of the machine’s own memory, 54.0 GB usable" in card["sentence"]
    assert card["beside"] == "and 60.8 GB on each GPU"


def test_a_bar_is_what_stays_and_what_the_phase_adds(on: On) -> None:
    for preset, planned_for in (("pocket", ""), ("wan22_80gb", "80")):
        card = _view(preset, planned_for)
        phases = {phase["name"]: phase for phase in card["phases"]}
        assert phases["Loading"]["added"] == 0 and phases["Decoding and scoring"]["added"] > 0
        assert phases["Sampling"]["kept"] == pytest.approx(phases["Loading"]["kept"])
        assert all(0 <= phase["kept"] + phase["added"] <= card["whole"] for phase in card["phases"])
        most = max(card["phases"], key=lambda phase: phase["kept"] + phase["added"])
        assert card["phases"][card["peak"]] == most and most["amount"] in card["sentence"]
    parts = phases["Decoding and scoring"]["parts"]
    assert [part["what"] for part in parts[:2]] == ["networks that train", "decoding and back"]
    assert [part["kept"] for part in parts[:2]] == [True, False] and parts[0]["amount"] == "28.6 GB"


@pytest.mark.parametrize(
    "changes",
    [
        {"data__num_frames": "abc"},
        {"data__num_frames": "-5"},
        {"data__num_frames": "1000000001"},
        {"data__height": "-64"},
        {"data__max_pixels": "9" * 400},
        {"lora__lora_rank": "9" * 400},
        {"train__per_device_train_batch_size": ""},
        {"deepspeed__num_processes": "9" * 25},
        {"model__model_name": "<b>none</b>"},
        {"nothing__at_all": "1"},
    ],
)
def test_nothing_is_said_of_what_cannot_be_read(on: On, changes: dict[str, object]) -> None:
    for planned_for in ("", "24"):
        assert memory_card.view(_values("pocket", **changes), planned_for) is None


def test_files_that_are_missing_and_settings_at_odds_do_not_hide_it(on: On, tmp_path: Path) -> None:
    values = _values("wan22_80gb", train__per_device_train_batch_size="2", deepspeed__hostfile="/nowhere/hosts")
    review = draft.review(values, "preset:wan22_80gb", tmp_path, "141")
    assert {"model.model_paths", "train.train_batch_size"} <= {problem["field"] for problem in review["problems"]}
    assert review["memory"]["state"] == "fits"


def test_the_machine_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\necho 24564\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(memory_card, "_SECONDS", 1e9)
    memory_card._here.cache_clear()
    try:
        for seed in range(5):
            card = _view("pocket", train__seed=str(seed))
            assert card["whole"] == pytest.approx(24564 * 2**20 / 1e9)
    finally:
        memory_card._here.cache_clear()
    assert (tmp_path / "asked").read_text().split() == ["asked"]
