"""Settings being edited: sources, problems, what a model family still needs, and Start with wrong settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_run import FakeRun

from rewardfl_app.ui import draft, train_page


def test_presets_and_runs_are_sources(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "mine")
    ids = [source["id"] for source in draft.sources(tmp_path)]
    assert ids[0] == "preset:pocket" and f"run:{run.folder.id}" in ids
    assert draft.source_values(f"run:{run.folder.id}", tmp_path) == draft.source_values("preset:pocket", tmp_path)


@pytest.mark.parametrize("source", ["preset:nothing", "run:nothing", "run:../elsewhere", ""])
def test_an_unknown_source_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(draft.SourceError):
        draft.source_config(source, tmp_path)


def test_all_problems_are_reported_each_with_its_field(tmp_path: Path) -> None:
    values = draft.source_values("preset:pocket", tmp_path)
    values |= {"train.learning_rate": "abc", "sampling.num_inference_steps": "-1"}
    assert {problem.field for problem in draft.problems(values)} >= {
        "train.learning_rate",
        "sampling.num_inference_steps",
    }


def test_wan_says_what_to_get_and_where_to_put_it(tmp_path: Path) -> None:
    values = draft.source_values("preset:wan22_i2v_a14b", tmp_path)
    needs = {need.field: need for need in draft.needs(values)}
    assert (
        needs["reward.reward_model_path"].state == "missing" and "antelopev2" in needs["reward.reward_model_path"].text
    )
    values["reward.reward_model_path"] = str(tmp_path)
    needs = {need.field: need for need in draft.needs(values)}
    assert needs["reward.reward_model_path"].state == "ready"


def test_review_shows_differences_from_preset_and_last_run(tmp_path: Path) -> None:
    FakeRun(tmp_path)
    values = draft.source_values("preset:pocket", tmp_path) | {"train.max_steps": "7"}
    review = draft.review(values, "preset:pocket", tmp_path)
    assert [change["field"] for change in review["changes"]] == ["train.max_steps"]
    assert [change["field"] for change in review["since_last"]["changes"]] == ["train.max_steps"]


def test_start_with_wrong_settings_starts_nothing_and_says_where(tmp_path: Path) -> None:
    values = draft.source_values("preset:pocket", tmp_path) | {"train.max_steps": "none"}
    answer = train_page.start({"values": values, "source": "preset:pocket"}, tmp_path)
    assert [problem["field"] for problem in answer["problems"]] == ["train.max_steps"]
    assert not list(tmp_path.glob("*/run.json"))


def test_a_broken_data_set_is_one_sentence(tmp_path: Path) -> None:
    metadata = tmp_path / "metadata.csv"
    metadata.write_text("video,caption\na.mp4,hello\n")
    request = {"values": {"model.model_name": "wan2_2", "data.metadata_path": str(metadata)}}
    assert "prompt" in train_page.dataset(request, tmp_path)["error"]


def test_the_embedded_clips_are_shown_with_pictures(tmp_path: Path) -> None:
    shown = train_page.dataset({"values": {"model.model_name": "pocket", "data.metadata_path": ""}}, tmp_path)
    assert shown["embedded"] and shown["error"] is None and shown["total"] >= len(shown["rows"]) > 0
    assert shown["rows"][0]["picture"].startswith("data:image/jpeg;base64,") and shown["rows"][0]["prompt"]
