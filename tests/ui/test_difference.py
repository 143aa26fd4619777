"""Which settings of runs differ."""

from __future__ import annotations

from pathlib import Path

from rewardfl_app.config import files, presets
from rewardfl_app.config.schema import Config
from rewardfl_app.runs import changes
from rewardfl_app.runs.changes import Change
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor import freeze
from rewardfl_app.ui.difference import difference


def _run(runs_dir: Path, name: str, config: Config | None = None, **values: dict[str, object]) -> RunFolder:
    """A run with settings as the supervisor freezes them: with the paths of the embedded family filled in."""
    run = RunFolder.create(runs_dir, name)
    config = config or presets.preset("pocket")
    for section, fields in values.items():
        config = config.model_copy(update={section: getattr(config, section).model_copy(update=fields)})
    complete = freeze.with_embedded_models(freeze.with_embedded_scorers(config), run)
    data = complete.data.model_copy(
        update={"metadata_path": str(runs_dir / freeze.EMBEDDED_DATA_FOLDER / "metadata.csv")}
    )
    files.dump(complete.model_copy(update={"data": data}), run.config)
    return run


def test_exactly_the_fields_that_were_changed_differ(tmp_path: Path) -> None:
    one = _run(tmp_path / "here", "one")
    two = _run(tmp_path / "there", "two", train={"learning_rate": 1e-3}, sampling={"num_gradient_steps": 1})
    found = difference([one, two])
    assert [row["field"] for row in found["rows"]] == ["sampling.num_gradient_steps", "train.learning_rate"]
    assert found["rows"][1]["values"] == ["0.0005", "0.001"]
    assert found["num_same"] > 50 and found["unreadable"] == []


def test_three_runs_stand_beside_each_other(tmp_path: Path) -> None:
    runs = [_run(tmp_path, str(seed), train={"seed": seed}) for seed in (1, 2, 2)]
    rows = difference(runs)["rows"]
    assert [(row["field"], row["values"]) for row in rows] == [("train.seed", ["1", "2", "2"])]


def test_what_was_changed_on_the_way_counts(tmp_path: Path) -> None:
    one, two = _run(tmp_path, "one"), _run(tmp_path, "two")
    changes.record(two, Change(13, "train.learning_rate", 5e-4, 1e-4))
    assert [row["values"] for row in difference([one, two])["rows"]] == [["0.0005", "0.0001"]]


def test_a_run_without_settings_is_named_and_the_others_are_compared(tmp_path: Path) -> None:
    one, two = _run(tmp_path, "one"), _run(tmp_path, "two", train={"seed": 7})
    lost = RunFolder.create(tmp_path, "lost")
    found = difference([one, lost, two])
    assert [run["name"] for run in found["runs"]] == ["one", "two"]
    assert [row["field"] for row in found["rows"]] == ["train.seed"]
    assert found["unreadable"][0]["run"] == lost.id and "does not exist" in found["unreadable"][0]["message"]


def test_settings_of_another_version_are_taken_as_they_are_written(tmp_path: Path) -> None:
    one, two = _run(tmp_path, "one"), _run(tmp_path, "two")
    two.config.write_text(two.config.read_text().replace("learning_rate:", "learning_speed: 3\n  learning_rate:"))
    rows = {row["field"]: row["values"] for row in difference([one, two])["rows"]}
    assert rows["train.learning_speed"] == [None, "3"]
