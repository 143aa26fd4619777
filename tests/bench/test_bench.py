"""The bench on the embedded models: the straightforward implementation, the processes and the command."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rewardfl_app.bench import __main__ as process
from rewardfl_app.bench import gradients, resident
from rewardfl_app.bench.report import Mark, Report
from rewardfl_app.bench.straightforward import decode
from rewardfl_app.bench.workload import Workload, changed
from rewardfl_app.cli import bench as command
from rewardfl_app.cli.app import main
from rewardfl_app.config.schema import Config
from rewardfl_app.models import vae_sequence


@pytest.fixture(scope="module")
def workload(pocket: Config) -> Workload:
    return Workload(pocket)


def error(got: Tensor, want: Tensor) -> float:
    return float((got - want).norm() / want.norm())


def test_decodes_as_diffusers_does(workload: Workload) -> None:
    latents, _ = workload.latents(3)
    vae = workload.model.vae
    with torch.no_grad():
        plain = decode(vae, latents)
        mean, std = (torch.tensor(vae.config[f"latents_{name}"]).view(1, -1, 1, 1, 1) for name in ("mean", "std"))
        assert torch.equal(plain.clamp(-1, 1), vae.decode(latents * std + mean).sample)
        torch.testing.assert_close(plain, vae_sequence.decode(vae, latents), rtol=0, atol=1e-5)


def test_the_engine_is_exact_where_float32_lets_it(workload: Workload, pocket: Config) -> None:
    smooth = changed(pocket, reward={**gradients.SMOOTH, "kl_weight": 0.5, "kl_steps": "expert"})
    exact = workload.plain_gradient(smooth)
    for chunk in (None, 1):
        taken = workload.gradient(changed(smooth, sampling={"decode_chunk": chunk}))
        assert error(taken, exact) <= 1e-5


def test_faces_agree_to_the_noise_of_float32(workload: Workload, pocket: Config) -> None:
    faces = changed(pocket, reward={"kl_weight": 0.0})
    exact = workload.plain_gradient(faces)
    assert exact.norm() > 0
    assert error(workload.gradient(faces), exact) <= 1e-2
    cut = error(workload.gradient(changed(faces, sampling={"gradient_decay": 0.0})), exact)
    assert cut > 1e-2


def test_the_gradient_of_one_clip_at_its_latents(workload: Workload) -> None:
    latents, reference = workload.latents(3)
    got = workload.reward_gradient(latents, reference)()
    assert error(got, workload.plain_reward_gradient(latents, reference)()) <= 1e-2


def test_peak_of_memory_is_counted_anew() -> None:
    held = torch.zeros(64 * 2**20, dtype=torch.uint8) + 1
    del held
    before = resident.start_peak()
    assert resident.peak_mb() < before + 32
    held = torch.zeros(64 * 2**20, dtype=torch.uint8) + 1
    assert resident.peak_mb() >= before + 48
    del held


def test_marks_and_content() -> None:
    report = Report("memory", ("x", "what"), [[1.2, "a"]], [Mark("a", 1.2, 1.15), Mark("b", 7.0, 6.0, at_most=False)])
    content = json.loads(json.dumps(report.content()))
    assert [mark["met"] for mark in content["marks"]] == [False, True]
    assert content["peak_rss_mb"] > 0 and content["machine"]["torch_threads"] >= 1
    lines = command._lines({**content, "versions": {"torch": torch.__version__}})
    assert lines[0].split() == ["x", "what"] and lines[1].split() == ["1.2", "a"]
    assert any(line.startswith("MISSED: a: 1.2 (at most 1.15)") for line in lines)


def test_step_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole chain of processes, on the smallest setting."""
    small = ["data.num_frames=5", "train.per_device_train_batch_size=1", "deepspeed.num_processes=2"]
    settings = [part for value in small for part in ("--set", value)]
    assert main(["bench", "step", *settings, "--json", str(tmp_path / "step.json")]) == 0
    report = json.loads((tmp_path / "step.json").read_text())
    assert [row[1] for row in report["rows"]][:2] == [
        "speed of one update, per video",
        "the same, plain in 2 processes, too",
    ]
    assert report["versions"]["torch"] and report["config"]["data"]["num_frames"] == 5
    assert all(row[0] > 0 for row in report["rows"]) and len(report["marks"]) == 2
    assert "x plain" in capsys.readouterr().out


def test_every_name_is_measured_by_its_module() -> None:
    assert set(command.NAMES) == {*process.NAMES, "modes"}
    assert all(callable(import_module(f"rewardfl_app.bench.{name}").measure) for name in command.NAMES)


def test_an_unknown_bench_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "gradient"]) == 2
    assert capsys.readouterr().err.startswith("error: There is no bench gradient")
