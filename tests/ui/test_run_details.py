"""What the Runs page tells of an opened run, and what it can do with it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from page_run import FakeRun

from rewardfl_app.config import files, presets
from rewardfl_app.runs import about, best
from rewardfl_app.runs.checkpoints import begin, commit
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.supervisor import queue, supervisor
from rewardfl_app.ui import run_actions
from rewardfl_app.ui.run_details import details


def _safetensors(path: Path, metadata: dict[str, str]) -> None:
    header = json.dumps({"__metadata__": metadata}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    """A completed run with checkpoints at 10 and 20."""
    made = FakeRun(tmp_path, "with checkpoints", total=20, prompts=("one",))
    made.baseline()
    for step in (10, 20):
        made.step(step)
        made.evaluate(step)
        folder = begin(made.folder, step)
        _safetensors(folder / "low_noise.safetensors", {"lora_adapter_metadata": "{}"})
        _safetensors(folder / "low_noise.exp_avg.safetensors", {})
        commit(made.folder, step, folder)
    made.finish(sentence="Completed all 20 steps.")
    return made


def test_checkpoints_with_the_best_marked_and_what_can_be_downloaded(run: FakeRun, tmp_path: Path) -> None:
    best.write(run.folder, best.Best(10, "The judge is up.", {}))
    told = details(run.folder, tmp_path)
    assert [(saved["step"], saved["best"], saved["has_videos"]) for saved in told["checkpoints"]] == [
        (20, False, True),
        (10, True, True),
    ]
    [file] = told["checkpoints"][1]["files"]
    assert file["kind"] == "LoRA" and file["path"].endswith("step_000010/low_noise.safetensors")
    assert told["best"] == {"step": 10, "why": "The judge is up."} and told["no_best"] == ""
    assert told["bytes"] > 1000 and not told["can_resume"]


def test_weights_that_are_no_lora_are_not_called_one(run: FakeRun, tmp_path: Path) -> None:
    folder = begin(run.folder, 30)
    _safetensors(folder / "high_noise.safetensors", {"format": "pt"})
    (folder / "low_noise.safetensors").write_bytes(b"torn")
    commit(run.folder, 30, folder)
    kinds = [file["kind"] for file in details(run.folder, tmp_path)["checkpoints"][0]["files"]]
    assert kinds == ["weights", "weights"]


def test_the_weights_of_one_network_are_no_experts(run: FakeRun, tmp_path: Path) -> None:
    [pocket] = details(run.folder, tmp_path)["checkpoints"][0]["files"]
    files.dump(presets.preset("wan22_5b_24gb"), run.folder.config)
    [single] = details(run.folder, tmp_path)["checkpoints"][0]["files"]
    assert (pocket["expert"], single["expert"]) == ("low noise", "")


def test_a_fork_says_what_it_changed(run: FakeRun, tmp_path: Path) -> None:
    child = FakeRun(tmp_path, "child")
    child.folder.config.write_text(child.folder.config.read_text().replace("seed: 42", "seed: 7"))
    about.put(child.folder, parent=run.folder.id)
    told = details(child.folder, tmp_path)
    assert told["parent"] == {"id": run.folder.id, "name": "with checkpoints"}
    assert [(row["field"], row["values"]) for row in told["from_parent"]] == [("train.seed", ["42", "7"])]
    about.put(child.folder, parent="20200101-000000-000-long-gone")
    assert details(child.folder, tmp_path)["parent_gone"] == "20200101-000000-000-long-gone"


def test_names_notes_and_tags_are_kept_or_refused_with_a_sentence(run: FakeRun) -> None:
    assert run_actions.describe(run.folder, {"name": " better  name "})["ok"]
    assert run_actions.describe(run.folder, {"notes": "seen", "tags": ["a"]})["ok"]
    info = read_json(run.folder.run_info)
    assert info is not None and (info["name"], info["notes"], info["tags"]) == ("better name", "seen", ["a"])
    refused = run_actions.describe(run.folder, {"name": "  "})
    assert not refused["ok"] and "empty" in refused["said"]


def test_deleting_says_first_what_goes(run: FakeRun, tmp_path: Path) -> None:
    going = FakeRun(tmp_path, "going")
    going.step(1)
    told = run_actions.weigh([run.folder, going.folder])
    assert (told["runs"][0]["num_checkpoints"], told["runs"][0]["num_videos"]) == (2, 3)
    assert told["bytes"] == told["runs"][0]["bytes"] and "stop it first" in told["runs"][1]["refused"]
    assert not run_actions.act(going.folder, "delete")["ok"] and going.folder.exists()
    assert run_actions.act(run.folder, "delete")["ok"] and not run.folder.path.exists()


def test_archive_and_back(run: FakeRun) -> None:
    assert "archived" in run_actions.act(run.folder, "archive")["said"]
    assert (read_json(run.folder.run_info) or {})["archived"] is True
    assert run_actions.act(run.folder, "unarchive")["ok"]
    assert (read_json(run.folder.run_info) or {})["archived"] is False


def test_the_queue_is_moved_and_left(tmp_path: Path) -> None:
    one, two = (supervisor.enqueue(presets.preset("pocket"), tmp_path, name) for name in ("one", "two"))
    assert run_actions.act(two, "earlier")["said"] == "“two” starts one place earlier."
    assert [run.id for run in queue.queued(tmp_path)] == [two.id, one.id]
    assert run_actions.act(two, "take_out")["ok"]
    assert [run.id for run in queue.queued(tmp_path)] == [one.id]
    refused = run_actions.act(two, "earlier")
    assert not refused["ok"] and "does not wait" in refused["said"]


def test_what_cannot_be_done_is_said(run: FakeRun) -> None:
    refused = run_actions.act(run.folder, "resume")
    assert not refused["ok"] and "completed" in refused["said"]
    assert not run_actions.act(run.folder, "__class__")["ok"]


def test_the_passport_lies_in_the_run_and_may_be_served(run: FakeRun, tmp_path: Path) -> None:
    made = run_actions.make_passport(run.folder, None, tmp_path)
    assert made["ok"] and Path(made["file"]).is_relative_to(run.folder.path)
    empty = RunFolder.create(tmp_path, "without settings")
    refused = run_actions.make_passport(empty, None, tmp_path)
    assert not refused["ok"] and "settings cannot be read" in refused["said"]
