"""Settings being edited: sources, problems, differences, the name a run gets, and what it is told to take."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from page_run import FakeRun

from rewardfl_app.config import family, files, presets
from rewardfl_app.runs import about, archive
from rewardfl_app.supervisor import freeze
from rewardfl_app.ui import draft
from rewardfl_app.ui.config_form import Values


def _pocket(tmp_path: Path, **changes: str) -> Values:
    return draft.source_values("preset:pocket", tmp_path) | {
        key.replace("__", "."): value for key, value in changes.items()
    }


def _frozen(run: FakeRun, runs_dir: Path) -> None:
    """The configuration as the supervisor freezes it, with the paths of the embedded files."""
    complete = freeze.with_embedded_data(freeze.with_embedded_scorers(presets.preset("pocket")), runs_dir)
    files.dump(freeze.with_embedded_models(complete, run.folder), run.folder.config)


def test_presets_and_runs_are_sources(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "mine")
    ids = [source["id"] for source in draft.sources(tmp_path)]
    assert ids[0] == "preset:pocket" and f"run:{run.folder.id}" in ids
    assert draft.source_values(f"run:{run.folder.id}", tmp_path) == draft.source_values("preset:pocket", tmp_path)


def test_every_model_family_has_presets_that_say_for_whom_they_are(tmp_path: Path) -> None:
    found = draft.sources(tmp_path)
    assert {source["family"] for source in found} == set(family.FAMILIES)
    for source, preset in zip(found, presets.PRESETS.values(), strict=True):
        assert (source["title"], source["text"]) == (preset.title, preset.text)


def test_a_run_that_was_put_away_is_listed_only_when_it_is_the_chosen_one(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "old")
    run.finish()
    archive.archive(run.folder)
    source = f"run:{run.folder.id}"
    assert source not in [found["id"] for found in draft.sources(tmp_path)]
    assert source in [found["id"] for found in draft.sources(tmp_path, source)]


@pytest.mark.parametrize("source", ["preset:nothing", "run:nothing", "run:../elsewhere", ""])
def test_an_unknown_source_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(draft.SourceError):
        draft.source_config(source, tmp_path)


def test_embedded_paths_are_no_difference_even_after_the_runs_folder_has_moved(tmp_path: Path) -> None:
    run = FakeRun(tmp_path / "runs", "mine")
    _frozen(run, tmp_path / "runs")
    shutil.copytree(tmp_path / "runs", tmp_path / "moved")
    for folder in ("runs", "moved"):
        review = draft.review(_pocket(tmp_path), f"run:{run.folder.id}", tmp_path / folder)
        assert review["changes"] == [] and review["since_last"]["changes"] == []


def test_all_problems_are_reported_each_with_its_field(tmp_path: Path) -> None:
    values = _pocket(tmp_path, train__learning_rate="abc", sampling__num_inference_steps="-1")
    assert {problem.field for problem in draft.problems(values)} >= {
        "train.learning_rate",
        "sampling.num_inference_steps",
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        ("video,caption\na.mp4,hello\n", "no column prompt"),
        ("video,prompt\na.mp4,hello\nnone.mp4,there\n,x\n", "Row 2: the file"),
        ("video,prompt\n", "no rows"),
    ],
)
def test_a_table_of_clips_that_cannot_be_used_is_told_beside_its_field(
    tmp_path: Path, content: str | None, words: str
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"clip")
    path = tmp_path / "metadata.csv"
    if content is not None:
        path.write_text(content)
    for field in ("data.metadata_path", "evaluation.metadata_path"):
        for other in ({}, {"train.max_steps": "none"}):
            found = draft.problems({**_pocket(tmp_path), field: str(path), **other})
            assert [problem for problem in found if problem.field == field and words in problem.message], (field, found)


def test_review_shows_differences_from_preset_and_last_run(tmp_path: Path) -> None:
    FakeRun(tmp_path)
    review = draft.review(_pocket(tmp_path, train__max_steps="7"), "preset:pocket", tmp_path)
    assert [change["field"] for change in review["changes"]] == ["train.max_steps"]
    assert [change["field"] for change in review["since_last"]["changes"]] == ["train.max_steps"]
    assert review["since_last"]["name"] == "first try" and review["name"] == "run 2"


def test_a_fork_is_named_after_its_parent_and_what_was_changed(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "base")
    source = f"run:{run.folder.id}"
    changed = _pocket(tmp_path, train__learning_rate="1e-4", sampling__mid_timestep="5")
    assert draft.suggested_name(changed, source, tmp_path) == "base, mid_timestep 5, learning_rate 1e-4"
    assert draft.suggested_name(_pocket(tmp_path), source, tmp_path) == "base, again"
    many = _pocket(tmp_path, train__learning_rate="1e-4", sampling__mid_timestep="5", train__max_steps="9")
    assert draft.suggested_name(many, source, tmp_path) == "base, 3 changes"
    about.update(run.folder, name="n" * 110)
    assert len(draft.suggested_name(many, source, tmp_path)) <= draft.NAME_LIMIT


def test_the_time_is_told_by_an_earlier_run_of_the_same_shape(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "paced")
    assert draft.review(_pocket(tmp_path), "preset:pocket", tmp_path)["estimate"] is None
    for step in range(1, 9):
        run.step(step)
    told = draft.review(_pocket(tmp_path, train__seed="7"), "preset:pocket", tmp_path)["estimate"]
    assert told["name"] == "paced" and told["step_seconds"] == pytest.approx(0.7, abs=0.03)
    assert told["seconds"] == pytest.approx(50 * 0.7, abs=3)
    assert draft.review(_pocket(tmp_path, lora__lora_rank="8"), "preset:pocket", tmp_path)["estimate"] is None
