"""What is wrong is told before a run starts, by field and by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fake_runs
import pytest

from rewardfl_app.config import validation
from rewardfl_app.supervisor import preflight


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return fake_runs.mapping(tmp_path)


def told(settings: dict[str, Any]) -> list[tuple[str, str]]:
    return [(problem.field, problem.message) for problem in preflight.problems(validation.build(settings))]


def test_nothing_is_wrong_with_good_files(settings: dict[str, Any]) -> None:
    assert told(settings) == []


def test_every_unusable_row_is_named(settings: dict[str, Any], tmp_path: Path) -> None:
    metadata = fake_runs.write_clips(tmp_path / "clips", ("a.mp4", "b.mp4", "c.mp4", "d.mp4"))
    (tmp_path / "clips" / "b.mp4").write_bytes(b"not a video")
    fake_runs.write_clips(tmp_path / "short", ("d.mp4",), num_frames=2)
    (tmp_path / "short" / "d.mp4").replace(tmp_path / "clips" / "d.mp4")
    found = told(settings)
    assert [field for field, _ in found] == ["data.metadata_path"] * 2
    assert f"{metadata}: row 2: " in found[0][1] and "b.mp4" in found[0][1]
    assert "row 4: " in found[1][1] and "2 frames" in found[1][1]

    (tmp_path / "clips" / "a.mp4").unlink()
    assert any("row 1: " in message and "does not exist" in message for _, message in told(settings))


def test_a_missing_column_is_named(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "clips" / "metadata.csv").write_text("video,text\na.mp4,hello\n")
    [(field, message)] = told(settings)
    assert field == "data.metadata_path" and "prompt" in message and "video, text" in message


def test_only_the_evaluation_rows_that_are_used_are_read(settings: dict[str, Any], tmp_path: Path) -> None:
    metadata = fake_runs.write_clips(tmp_path / "evaluation", ("a.mp4", "b.mp4"))
    (tmp_path / "evaluation" / "b.mp4").write_bytes(b"not a video")
    settings["evaluation"] = {"metadata_path": str(metadata), "num_samples": 1}
    assert told(settings) == []
    settings["evaluation"]["num_samples"] = 2
    [(field, message)] = told(settings)
    assert field == "evaluation.metadata_path" and "row 2" in message


def test_a_truncated_weight_file_is_named(settings: dict[str, Any], tmp_path: Path) -> None:
    whole = (tmp_path / "low.safetensors").read_bytes()
    (tmp_path / "low.safetensors").write_bytes(whole[:-3])
    [(field, message)] = told(settings)
    assert field == "model.model_paths" and "low.safetensors is truncated" in message and str(len(whole)) in message
    for content in (whole[:20], b"", b"<!doctype html> the page of a login"):
        (tmp_path / "low.safetensors").write_bytes(content)
        [(field, message)] = told(settings)
        assert "low.safetensors is" in message and "safetensors file" in message


def test_a_truncated_lora_of_the_base_model_is_named(settings: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "lightning.safetensors"
    fake_runs.write_safetensors(file)
    settings["model"]["low_noise_lora"] = str(file)
    assert told(settings) == []
    file.write_bytes(file.read_bytes()[:-3])
    [(field, message)] = told(settings)
    assert field == "model.low_noise_lora" and "lightning.safetensors is truncated" in message


def test_a_shard_that_the_index_names_must_be_there(settings: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "transformer"
    folder.mkdir()
    fake_runs.write_safetensors(folder / "part-1.safetensors")
    index = {"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    names = json.loads((tmp_path / "paths.json").read_text())
    (tmp_path / "paths.json").write_text(json.dumps(["transformer", *names[1:]]))
    [(field, message)] = told(settings)
    assert field == "model.model_paths" and "part-2.safetensors" in message
    fake_runs.write_safetensors(folder / "part-2.safetensors")
    assert told(settings) == []


def test_more_processes_than_gpus(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    settings["deepspeed"] = {"num_processes": 2}
    settings["train"] = {"train_batch_size": 2, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
    for gpus, words in (("", ""), ("3,4", ""), ("3", "there is 1 GPU here: set it to 1,")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
        found = told(settings)
        assert [field for field, _ in found] == ["deepspeed.num_processes"] * bool(words)
        assert all(words in message for _, message in found)


def test_the_slots_of_a_hostfile_are_the_processes(settings: dict[str, Any], tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("worker-0 slots=1\nworker-1 slots=1\n")
    settings["deepspeed"] = {"hostfile": str(hosts)}
    [(field, message)] = told(settings)
    assert field == "deepspeed.num_processes" and "add up to 2: set num_processes to 2" in message
    settings["deepspeed"]["num_processes"] = 2
    settings["train"] = {"train_batch_size": 2, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
    assert told(settings) == []
    hosts.write_text("worker-0\n")
    [(field, message)] = told(settings)
    assert field == "deepspeed.hostfile" and "line 1" in message
