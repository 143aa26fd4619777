"""`import-roll` as a person uses it, up to a run that trains."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rewardfl_app.cli import app
from rewardfl_app.config import files
from rewardfl_app.data import video
from rewardfl_app.pocket.clips import FPS, sample_clip
from rewardfl_app.runs import checkpoints
from rewardfl_app.runs.metrics import read_all
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor.command import package_environment

EXAMPLES = Path(__file__).parent / "config" / "roll" / "examples"
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLES, tmp_path / "ROLL" / "examples"))


@pytest.fixture
def second(examples: Path) -> Path:
    return examples / "docs_examples" / "example_reward_fl.yaml"


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command in this process, in tmp_path; exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = app.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


def test_the_report_and_the_file(cli: Cli, second: Path, tmp_path: Path) -> None:
    code, told, errors = cli("import-roll", second, "--out", "ours.yaml")
    assert (code, errors) == (0, "")
    assert "\n  actor_train.training_args.learning_rate -> train.learning_rate = 2.5e-06\n" in told
    assert "\n  reward.roll_compatible = true\n" in told
    for title in ("TRANSLATED", "CONSTANTS", "WITHOUT EFFECT", "DIFFERENT HERE"):
        assert any(line.startswith(title) for line in told.splitlines())
    assert told.endswith(f"wrote {tmp_path}/ours.yaml; next: python -m rewardfl_app check {tmp_path}/ours.yaml\n")
    assert files.load(tmp_path / "ours.yaml", check_files=False).reward.roll_compatible
    # What is missing on this machine, and nothing else.
    code, told, _ = cli("check", "ours.yaml", "--json")
    fields = {problem["field"] for problem in json.loads(told)["problems"]}
    assert code == 2 and fields == {
        "model.model_paths",
        "model.tokenizer_path",
        "reward.reward_model_path",
        "data.metadata_path",
    }


def test_the_lists_as_json(cli: Cli, second: Path, tmp_path: Path) -> None:
    code, told, _ = cli("import-roll", second, "--out", "ours.yaml", "--json")
    content = json.loads(told)
    assert code == 0 and content["config"] == str(tmp_path / "ours.yaml")
    assert set(content) == {"config", "translated", "no_effect", "different"}
    assert {"theirs": "seed", "ours": "train.seed", "value": 42, "note": ""} in content["translated"]
    assert all(set(remark) == {"key", "sentence"} for remark in content["no_effect"] + content["different"])


def test_nothing_is_overwritten_by_accident(cli: Cli, second: Path, tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text("mine")
    code, told, errors = cli("import-roll", second, "--out", "ours.yaml")
    assert code == 2 and not told and "is there already" in errors and "--force" in errors
    assert (tmp_path / "ours.yaml").read_text() == "mine"
    assert cli("import-roll", second, "--out", "ours.yaml", "--force")[0] == 0
    assert files.load(tmp_path / "ours.yaml", check_files=False)
    theirs = second.read_text()
    code, _, errors = cli("import-roll", second, "--out", second, "--force")
    assert code == 2 and "the file to import" in errors and second.read_text() == theirs
    assert cli("import-roll", second, "--out", "ours.txt")[0] == 2


def test_what_contradicts_itself_is_refused_and_nothing_is_written(cli: Cli, second: Path, tmp_path: Path) -> None:
    second.write_text(second.read_text().replace("train_batch_size: 8", "train_batch_size: 6"))
    code, told, errors = cli("import-roll", second, "--out", "ours.yaml")
    assert (code, told) == (2, "") and not (tmp_path / "ours.yaml").exists()
    assert errors.startswith("error: train_batch_size: example_reward_fl.yaml, line ") and errors.count("\n") == 1
    code, told, errors = cli("import-roll", second, "--out", "ours.yaml", "--json")
    assert (code, errors) == (2, "")
    assert [problem["field"] for problem in json.loads(told)["problems"]] == ["train_batch_size"]
    code, _, errors = cli("import-roll", "nowhere.yaml", "--out", "ours.yaml")
    assert code == 2 and "does not exist" in errors


def _clips(folder: Path) -> Path:
    """Two clips of 5 frames with a face each."""
    folder.mkdir()
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.writer(stream)
        writer.writerow(("video", "prompt"))
        for index in range(2):
            clip = sample_clip(np.random.default_rng((1_000_003, index)))
            video.write(folder / f"{index}.mp4", clip.drawing.images[:5], FPS)
            writer.writerow((f"{index}.mp4", clip.prompt))
    return folder / "metadata.csv"


# Only the place and the size of the weights and clips, and what spreads a run over GPUs.
SMALL = [
    *("model.model_name=pocket", "model.model_paths=", "model.tokenizer_path=", "reward.reward_model_path="),
    *("model.dtype=float32", "data.num_frames=5", "data.height=64", "data.width=64", "reward.det_size=96"),
    *("deepspeed.num_processes=1", "deepspeed.devices=", "deepspeed.zero_stage=0", "deepspeed.offload_optimizer=false"),
    *("train.gradient_accumulation_steps=1", "train.train_batch_size=1", "train.max_steps=2", "train.save_steps=2"),
    *("evaluation.num_samples=1", "evaluation.eval_steps=2"),
]


@pytest.mark.parametrize(
    ("name", "weight", "kl_weight"),
    [("docs_examples/example_reward_fl.yaml", 0.1, 1.0), ("wan2.2-14B-reward_fl_ds/reward_fl_config.yaml", 0.01, 0.0)],
)
def test_an_imported_run_trains(examples: Path, tmp_path: Path, name: str, weight: float, kl_weight: float) -> None:
    changes = [*SMALL, f"data.metadata_path={_clips(tmp_path / 'clips')}"]

    def shell(*arguments: object) -> str:
        command = [sys.executable, "-m", "rewardfl_app", *map(str, arguments)]
        ended = subprocess.run(
            command, cwd=tmp_path, env=package_environment(), capture_output=True, text=True, timeout=300, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    shell("import-roll", examples / name, "--out", "ours.yaml")
    shell("train", "ours.yaml", *(part for change in changes for part in ("--set", change)))
    (run,) = list_runs(tmp_path / "runs")
    config = files.load(run.config)
    assert config.reward.roll_compatible and config.reward.kl_weight == kl_weight
    updates = [record for record in read_all(run.metrics) if "loss" in record]
    assert [record["step"] for record in updates] == [1, 2]
    assert [saved.step for saved in checkpoints.list_checkpoints(run)] == [2]
    for record in updates:
        penalty = kl_weight * (record["kl"] or 0.0)
        assert record["loss"] == pytest.approx(-weight * (record["reward"] - 0.54) / 0.16 + penalty, abs=1e-5)
        assert record["face_rate"] == 1.0 and record["grad_norm"] > 0 and math.isfinite(record["grad_norm"])
    if kl_weight:
        assert updates[0]["kl"] == 0 < updates[1]["kl"]  # the first update moved the weights
