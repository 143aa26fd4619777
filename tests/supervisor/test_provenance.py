"""run.json can say exactly what a run was made of."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import fake_runs
import pytest

from rewardfl_app.runs import content
from rewardfl_app.supervisor import provenance


def test_small_files_are_hashed_and_large_ones_told_by_size_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert provenance.fingerprint(file) == {"path": str(file), "bytes": 7, "sha256": digest}
    monkeypatch.setattr(content, "WHOLE_BELOW_BYTES", 7)
    assert provenance.fingerprint(file) == {"path": str(file), "bytes": 7, "modified": file.stat().st_mtime}


def test_every_weight_file_is_listed(tmp_path: Path) -> None:
    files = {path.name for path in provenance.weight_files(fake_runs.config(tmp_path))}
    assert files == {
        "high.safetensors",
        "low.safetensors",
        "text.safetensors",
        "vae.safetensors",
        "det.onnx",
        "rec.onnx",
    }


def test_the_loras_of_the_base_model_are_listed(tmp_path: Path) -> None:
    config = fake_runs.config(tmp_path)
    fake_runs.write_safetensors(tmp_path / "lightning.safetensors")
    named = config.model.model_copy(update={"high_noise_lora": str(tmp_path / "lightning.safetensors")})
    found = provenance.describe(config.model_copy(update={"model": named}))["weights"]
    assert [Path(each["path"]).name for each in found if "sha256" in each].count("lightning.safetensors") == 1


def test_versions_import_nothing() -> None:
    found = provenance.versions()
    assert found["python"].startswith("3.") and found["pydantic"]


def test_the_git_revision_is_of_this_folder_or_none(tmp_path: Path) -> None:
    assert provenance.git_revision(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("one")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    clean = provenance.git_revision(tmp_path)
    assert clean is not None and len(clean["revision"]) == 40 and not clean["changed"]
    (tmp_path / "file").write_text("two")
    changed = provenance.git_revision(tmp_path)
    assert changed is not None and changed["changed"]
