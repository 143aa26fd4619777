"""Making run folders, and finding them again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardfl_app.runs import registry
from rewardfl_app.runs.folder import RunError, RunFolder, RunsFolderError, ensure_runs_dir, slug
from rewardfl_app.runs.jsonfile import read_json


def test_a_new_run_is_listed_under_its_id(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "runs", "Steady face, KL 2")
    assert run.id.endswith("-steady-face-kl-2")
    assert run.control.is_dir()
    assert (read_json(run.run_info) or {})["name"] == "Steady face, KL 2"
    assert registry.list_runs(tmp_path / "runs") == [run]
    assert registry.find(tmp_path / "runs", run.id) == run


def test_ids_are_unique_and_sort_by_time(tmp_path: Path) -> None:
    made = [RunFolder.create(tmp_path, "a" if i % 2 else "b") for i in range(12)]
    assert len({run.id for run in made}) == 12
    assert registry.list_runs(tmp_path) == made[::-1]


def test_a_run_is_found_by_its_folder_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder.create(tmp_path / "elsewhere")
    assert registry.find(tmp_path / "runs", run.path) == run
    assert registry.find(tmp_path / "runs", f"{run.path}/") == run
    monkeypatch.chdir(run.path)
    assert registry.find(tmp_path / "runs", ".").id == run.id


@pytest.mark.parametrize("asked", ["", "  ", ".", "..", "nothing", "../runs", "/", "a/b", "/none/at/all"])
def test_what_is_no_run_is_refused(asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(registry.RunNotFound):
        registry.find(tmp_path / "runs", asked)


def test_a_mistyped_id_names_the_nearest(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "pocket")
    with pytest.raises(registry.RunNotFound, match=f"Did you mean {run.id}"):
        registry.find(tmp_path, run.id[:-1])
    with pytest.raises(registry.RunNotFound, match="no run.json"):
        registry.find(tmp_path, tmp_path)


def test_other_folders_are_no_runs(tmp_path: Path) -> None:
    (tmp_path / ".pocket_data").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "file.txt").touch()
    assert registry.list_runs(tmp_path) == []
    assert registry.list_runs(tmp_path / "none") == []
    assert registry.list_runs(tmp_path / "file.txt") == []


def test_a_runs_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for make in (RunFolder.create, ensure_runs_dir):
        with pytest.raises(RunsFolderError, match="cannot be written") as caught:
            make(tmp_path / "file" / "runs")
        assert "--runs-dir" in str(caught.value)
        assert isinstance(caught.value, RunError)


@given(st.text(max_size=80))
def test_any_name_makes_a_safe_folder_name(name: str) -> None:
    made = slug(name)
    assert 1 <= len(made) <= 40
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert made.strip("-") == made
