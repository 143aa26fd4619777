"""What the Runs page exports of a run, how it tells of it, and which files may be downloaded."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_runs import eventually
from page_run import FakeRun

from rewardfl_app.supervisor import export_jobs
from rewardfl_app.ui import run_exports, runs_page
from rewardfl_app.ui.run_details import details

FAKE_EXPORTER = Path(__file__).resolve().parents[1] / "supervisor" / "fake_exporter.py"


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts the stand-in in the exporter's place."""

    def choose(behaviour: str) -> None:
        command = shlex.join([sys.executable, str(FAKE_EXPORTER), behaviour])
        monkeypatch.setenv(export_jobs.EXPORTER_VARIABLE, command)

    return choose


@pytest.fixture
def run(tmp_path: Path, behave: Callable[[str], None]) -> FakeRun:
    """A completed run with a checkpoint at 10."""
    behave("done")
    made = FakeRun(tmp_path, "trained", prompts=("one",))
    made.checkpoint(10)
    made.finish()
    return made


def _exported(run: FakeRun, runs_dir: Path, kind: str, checkpoint: str = "latest") -> dict[str, Any]:
    """The row of an export that was just started, once it is finished."""
    assert run_exports.start(run.folder, {"checkpoint": checkpoint, "format": kind}) == {"ok": True, "said": ""}
    eventually(lambda: run_exports.rows(run.folder, runs_dir)[0]["finished"])
    return run_exports.rows(run.folder, runs_dir)[0]


def test_a_lora_can_be_downloaded_with_its_card(run: FakeRun, tmp_path: Path) -> None:
    row = _exported(run, tmp_path, "diffusers")
    assert (row["title"], row["step"], row["state"]) == ("LoRA for diffusers", 10, "done")
    assert [file["name"] for file in row["files"]] == ["transformer_2.safetensors", "README.md", "export.json"]
    assert row["bytes"] == sum(file["bytes"] for file in row["files"])


def test_of_whole_weights_the_place_is_told(run: FakeRun, tmp_path: Path) -> None:
    for kind in ("merged", "merged-original"):
        row = _exported(run, tmp_path, kind)
        assert row["files"] == [] and row["bytes"] > 0
        assert Path(row["path"]).parent == run.folder.exports and Path(row["path"], "README.md").is_file()


def test_a_run_without_a_lora_offers_whole_weights_alone(run: FakeRun, tmp_path: Path) -> None:
    offered = [kind["id"] for kind in details(run.folder, tmp_path)["formats"]]
    assert offered == ["diffusers", "comfyui", "merged", "merged-original"]
    text = run.folder.config.read_text()
    run.folder.config.write_text(text.replace("lora_base_model: dit2", "lora_base_model: none"))
    assert [kind["id"] for kind in run_exports.formats(run.folder)] == ["merged", "merged-original"]
    refused = run_exports.start(run.folder, {"checkpoint": "latest", "format": "diffusers"})
    assert not refused["ok"] and "no LoRA" in refused["said"]
    run.folder.config.write_text("model: [")
    assert run_exports.formats(run.folder) == []


def test_what_went_wrong_is_said(run: FakeRun, tmp_path: Path, behave: Callable[[str], None]) -> None:
    for wrong, words in (
        ({"checkpoint": "best", "format": "diffusers"}, "no best checkpoint"),
        ({"checkpoint": "7", "format": "diffusers"}, "complete are: 10"),
        ({"checkpoint": "latest", "format": "exe"}, "no such format"),
        ({"checkpoint": "latest", "format": ["merged"]}, "no such format"),
        ({}, "no such format"),
    ):
        refused = run_exports.start(run.folder, wrong)
        assert not refused["ok"] and words in refused["said"]
    behave("refuse")
    row = _exported(run, tmp_path, "merged")
    assert row["state"] == "failed" and "needs 28.60 GB" in row["message"]
    assert run_exports.remove(run.folder, row["id"]) == {"ok": True, "said": ""}
    assert run_exports.rows(run.folder, tmp_path) == []


def test_the_page_reaches_no_run_and_no_export_but_its_own(run: FakeRun, tmp_path: Path) -> None:
    functions = {function.__name__: function for function in runs_page.build(tmp_path).server_fns}
    for name in ("../x", run.folder.id + "/..", None, ["x"]):
        assert functions["start_export"]({"run": name, "checkpoint": "latest", "format": "merged"}) == runs_page.GONE
        assert functions["remove_export"]({"run": name, "export": "step_000010_merged"}) == runs_page.GONE
        assert functions["load_exports"]({"run": name}) == {"exports": []}
    _exported(run, tmp_path, "comfyui")
    for export in ("../checkpoints", "..", "../../checkpoints/step_000010", None):
        functions["remove_export"]({"run": run.folder.id, "export": export})
    assert (run.folder.checkpoints / "step_000010").is_dir() and len(run_exports.rows(run.folder, tmp_path)) == 1
