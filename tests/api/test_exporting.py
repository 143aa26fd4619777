"""What a run trained, taken away in a cell; the exporter is the stand-in."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from rewardfl_app import Run
from rewardfl_app.config import files, presets
from rewardfl_app.inference.export_target import ExportError
from rewardfl_app.runs.checkpoints import begin, commit
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor import export_jobs

FAKE_EXPORTER = Path(__file__).resolve().parents[1] / "supervisor" / "fake_exporter.py"


def behave(monkeypatch: pytest.MonkeyPatch, behaviour: str) -> None:
    command = shlex.join([sys.executable, str(FAKE_EXPORTER), behaviour])
    monkeypatch.setenv(export_jobs.EXPORTER_VARIABLE, command)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with a checkpoint."""
    made = RunFolder.create(tmp_path / "runs", "trained")
    files.dump(presets.preset("pocket"), made.config)
    path = begin(made, 10)
    (path / "low_noise.safetensors").write_bytes(b"0")
    commit(made, 10, path)
    return Run(made)


def test_an_export_lies_in_the_runs_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    behave(monkeypatch, "done")
    folder = run.export("comfyui")
    assert folder == run.path / "exports" / f"step_{run.checkpoints[-1]:06}_comfyui"
    made = (folder / "transformer_2.safetensors").stat().st_mtime_ns
    assert run.export("comfyui", run.checkpoints[-1]) == folder
    assert (folder / "transformer_2.safetensors").stat().st_mtime_ns == made  # it was there already


def test_what_goes_wrong_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    behave(monkeypatch, "refuse")
    with pytest.raises(ExportError, match=r"28\.60 GB"):
        run.export()
    with pytest.raises(ExportError, match="diffusers, comfyui"):
        run.export("onnx")
