from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from brightness_trainer import BrightnessScorer
from safetensors.torch import load_file

from rewardfl_app.config import files
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.runs import checkpoints, control, metrics, samples
from rewardfl_app.runs.events import read_events
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.status import read_status
from rewardfl_app.training.__main__ import main
from rewardfl_app.training.optimizer_state import MOMENTS
from rewardfl_app.training.step import TrainingStep

MakeRun = Callable[..., RunFolder]
CLOCKS = {"time", "step_seconds", "peak_memory_gb"}


@pytest.fixture(autouse=True)
def brightness(monkeypatch: pytest.MonkeyPatch) -> BrightnessScorer:
    scorer = BrightnessScorer()
    monkeypatch.setattr(Scorer, "load", lambda reward, device="cpu": scorer)
    return scorer


def train(run: RunFolder) -> int:
    return main([str(run.path)])


def curve(run: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k not in CLOCKS} for r in metrics.read_all(run.metrics)]


def lora_of(run: RunFolder, step: int) -> dict[str, torch.Tensor]:
    return load_file(checkpoints.find(run, step).path / "low_noise.safetensors")


def assert_same(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    assert set(got) == set(want)
    assert all(torch.equal(got[key], want[key]) for key in want)


def test_a_run_from_start_to_end(make_run: MakeRun) -> None:
    run = make_run("whole")
    assert train(run) == 0
    status = read_status(run)
    assert status is not None and status.state == "completed" and status.step == status.total == 4
    records = metrics.read_all(run.metrics)
    steps = [record for record in records if not metrics.is_evaluation(record)]
    assert [record["step"] for record in steps] == [1, 2, 3, 4]
    wanted = {
        "step",
        "time",
        "loss",
        "reward",
        "kl",
        "grad_norm",
        "learning_rate",
        "step_seconds",
        "peak_memory_gb",
        "face_rate",
    }
    assert set(steps[0]) == wanted
    assert all(math.isfinite(record["loss"]) and record["grad_norm"] > 0 for record in steps)
    assert steps[0]["kl"] == 0 and steps[-1]["kl"] > 0
    for record in steps:
        assert record["loss"] == pytest.approx(-0.1 * (record["reward"] - 0.54) / 0.16 + 0.5 * record["kl"], rel=1e-4)
    evaluations = [record for record in records if metrics.is_evaluation(record)]
    assert [record["step"] for record in evaluations] == [0, 2, 4]
    assert evaluations[0]["eval/reward"] == evaluations[2]["eval/reward_baseline"]
    assert evaluations[2]["eval/reward"] > evaluations[0]["eval/reward"]
    assert [checkpoint.step for checkpoint in checkpoints.list_checkpoints(run)] == [2, 4]
    assert {step: len(found) for step, found in samples.list_samples(run).items()} == {0: 3, 2: 3, 4: 3}
    references = samples.list_references(run)
    assert set(references) == {sample.name for sample in samples.list_samples(run)[4]}
    faces = samples.list_samples(run)[4][0].load_faces()
    assert (faces["num_frames"], faces["seed"], faces["prompt"]) == (1, 1234, "a woman turns 0")
    assert faces["reward"] is not None and faces["width"] == 32
    assert {"started", "baseline", "evaluation", "checkpoint", "completed"} <= {e["kind"] for e in read_events(run)}


def test_stopped_and_resumed_equals_uninterrupted(make_run: MakeRun) -> None:
    changes = {"train": {"num_train_epochs": 2, "max_steps": 5}, "reward": {"anchor_weight": 0.1}}
    whole, halves = make_run("whole", **changes), make_run("halves", **changes)
    torch.manual_seed(1)
    assert train(whole) == 0
    torch.manual_seed(2)
    stop_after(halves, 3, "stop_and_save")
    assert train(halves) == 0
    status = read_status(halves)
    assert status is not None and (status.state, status.step) == ("stopped", 3)
    assert control.receipts(halves)[0]["message"] == "Stopped after step 3; saved checkpoint step_000003."
    assert train(halves) == 0
    assert curve(halves) == curve(whole)
    assert_same(lora_of(halves, 5), lora_of(whole, 5))
    for moment in MOMENTS:
        mine, theirs = (
            load_file(checkpoints.find(run, 5).path / f"low_noise.{moment}.safetensors") for run in (whole, halves)
        )
        assert_same(mine, theirs)


def test_killed_between_checkpoints_leaves_no_double_records(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = make_run("whole"), make_run("killed")
    assert train(whole) == 0
    update = TrainingStep.update

    def fail_at_four(self: TrainingStep, batch: Any, step: int, rate: float) -> Any:
        if step == 4:
            raise RuntimeError("power cut")
        return update(self, batch, step, rate)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "update", fail_at_four)
        assert train(killed) == 1
    assert (read_json(killed.failure) or {})["cause"] == "unknown"
    assert [r["step"] for r in curve(killed)][-1] == 3
    assert train(killed) == 0
    assert not killed.failure.exists()
    assert curve(killed) == curve(whole)
    assert_same(lora_of(killed, 4), lora_of(whole, 4))


def test_evaluation_does_not_disturb_training(make_run: MakeRun) -> None:
    seldom, often = make_run("seldom"), make_run("often", evaluation={"eval_steps": 1})
    assert train(seldom) == 0 and train(often) == 0
    assert_same(lora_of(often, 4), lora_of(seldom, 4))


@pytest.mark.parametrize("stage", [1, 2])
def test_zero_stages_make_the_same_update(make_run: MakeRun, stage: int) -> None:
    plain = make_run("plain")
    zero = make_run("zero", deepspeed={"zero_stage": stage, "offload_optimizer": stage == 2})
    assert train(plain) == 0 and train(zero) == 0
    want = lora_of(plain, 4)
    for key, value in lora_of(zero, 4).items():
        torch.testing.assert_close(value, want[key], rtol=1e-5, atol=1e-7)
    norms = [[r["grad_norm"] for r in curve(run) if "grad_norm" in r] for run in (plain, zero)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_zero_resumes_bit_for_bit(make_run: MakeRun) -> None:
    changes = {"deepspeed": {"zero_stage": 2, "offload_optimizer": True}}
    whole, halves = make_run("whole", **changes), make_run("halves", **changes)
    assert train(whole) == 0
    stop_after(halves, 2, "stop_and_save")
    assert train(halves) == 0 and train(halves) == 0
    assert curve(halves) == curve(whole)
    assert_same(lora_of(halves, 4), lora_of(whole, 4))


def test_accumulation_equals_one_larger_batch(make_run: MakeRun) -> None:
    large = make_run("large")
    small = make_run("small", train={"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2})
    assert train(large) == 0 and train(small) == 0
    want = lora_of(large, 4)
    for key, value in lora_of(small, 4).items():
        torch.testing.assert_close(value, want[key], rtol=1e-3, atol=2e-5)
    assert [r["loss"] for r in curve(small) if "loss" in r] == pytest.approx(
        [r["loss"] for r in curve(large) if "loss" in r], rel=1e-4
    )


def stop_after(run: RunFolder, step: int, kind: str) -> None:
    """Leaves the request when the run has reported this step, as a person at the page would."""
    update = TrainingStep.update

    def asking(self: TrainingStep, batch: Any, number: int, rate: float) -> Any:
        values = update(self, batch, number, rate)
        if number == step:
            control.request(run, kind)  # type: ignore[arg-type]
            TrainingStep.update = update  # type: ignore[method-assign]
        return values

    TrainingStep.update = asking  # type: ignore[method-assign]


def test_stop_now_saves_nothing(make_run: MakeRun) -> None:
    run = make_run("stopped")
    stop_after(run, 1, "stop_now")
    assert train(run) == 0
    status = read_status(run)
    assert status is not None and (status.state, status.step) == ("stopped", 1)
    assert checkpoints.list_checkpoints(run) == []
    assert control.pending(run) == []


def test_stop_now_before_the_first_step(make_run: MakeRun) -> None:
    run = make_run("stopped")
    control.request(run, "stop_now")
    assert train(run) == 0
    status = read_status(run)
    assert status is not None and (status.state, status.step) == ("stopped", 0)
    assert 0 not in samples.list_samples(run)
    assert train(run) == 0
    assert [r["step"] for r in curve(run)] == [0, 1, 2, 2, 3, 4, 4]


@pytest.mark.parametrize(
    ("kind", "message"), [("save_now", "Saved checkpoint step_000001."), ("sample_now", "after step 1")]
)
def test_requests_while_running(make_run: MakeRun, kind: str, message: str) -> None:
    run = make_run("asked")
    stop_after(run, 1, kind)
    assert train(run) == 0
    assert message in control.receipts(run)[0]["message"]
    if kind == "save_now":
        assert [checkpoint.step for checkpoint in checkpoints.list_checkpoints(run)] == [1, 2, 4]
    else:
        assert list(samples.list_samples(run)) == [0, 1, 2, 4]


def test_no_face_is_a_metric_not_an_error(make_run: MakeRun, brightness: BrightnessScorer) -> None:
    brightness.faceless = {0, 1}
    run = make_run("faceless", reward={"kl_weight": 0.0})
    assert train(run) == 0
    steps = [record for record in curve(run) if "loss" in record]
    assert all(r["reward"] is None and r["face_rate"] == 0 and r["loss"] == 0 and r["grad_norm"] == 0 for r in steps)
    assert all(value.abs().max() == 0 for key, value in lora_of(run, 4).items() if "lora_B" in key)


def test_a_sample_without_a_face_is_not_replaced(make_run: MakeRun, brightness: BrightnessScorer) -> None:
    """Half the batch faceless: the gradient is that of the other half, averaged over the whole batch."""
    run = make_run("half", train={"max_grad_norm": 1e9, "max_steps": 1})
    both = make_run("both", train={"max_grad_norm": 1e9, "max_steps": 1})
    assert train(both) == 0
    brightness.faceless = {1}
    assert train(run) == 0
    first, second = ([r for r in curve(each) if "loss" in r][0] for each in (both, run))
    assert second["face_rate"] == 0.5 and second["reward"] is not None
    assert 0 < second["grad_norm"] < first["grad_norm"]


def test_non_finite_loss_stops_before_the_update(make_run: MakeRun, brightness: BrightnessScorer) -> None:
    run = make_run("broken", train={"max_steps": 4})
    update = TrainingStep.update

    def break_at_three(self: TrainingStep, batch: Any, step: int, rate: float) -> Any:
        brightness.broken = step == 3
        return update(self, batch, step, rate)

    TrainingStep.update = break_at_three  # type: ignore[method-assign]
    try:
        assert train(run) == 1
    finally:
        TrainingStep.update = update  # type: ignore[method-assign]
    failure = read_json(run.failure) or {}
    assert failure["cause"] == "non_finite_loss" and "step 3" in failure["sentence"]
    status = read_status(run)
    assert status is not None and status.state == "failed"
    assert [checkpoint.step for checkpoint in checkpoints.list_checkpoints(run)] == [2]
    assert all(torch.isfinite(value).all() for value in lora_of(run, 2).values())
    brightness.broken = False
    assert train(run) == 0


def test_bad_input_is_one_sentence_and_code_2(make_run: MakeRun, family: Path, tmp_path: Path) -> None:
    weights = make_run("weights")
    wan = Path(shutil.copytree(family / "wan", tmp_path / "wan"))
    weights.config.write_text(weights.config.read_text().replace(str(family / "wan"), str(wan)))
    file = wan / "transformer_2" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert train(weights) == 2
    failure = read_json(weights.failure) or {}
    assert failure["cause"] == "bad_weights"
    assert "low_noise_model" in failure["sentence"] and str(file) in failure["sentence"]

    data = make_run("data")
    manifest = tmp_path / "metadata.csv"
    manifest.write_text(f"video,prompt\n{family / 'clip0.mp4'},a\n{tmp_path / 'gone.mp4'},b\n")
    data.config.write_text(data.config.read_text().replace(str(family / "metadata.csv"), str(manifest)))
    assert train(data) == 2
    failure = read_json(data.failure) or {}
    assert failure["cause"] == "bad_data" and "Row 2" in failure["sentence"] and "gone.mp4" in failure["sentence"]


def test_a_row_without_a_face_is_named(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BrightnessScorer, "has_face", lambda self, frames: [bool(frames.mean() > -0.5)] * len(frames))
    run = make_run("faceless")
    monkeypatch.setattr(
        "rewardfl_app.data.dataset.ClipDataset.first_frame",
        lambda self, i: torch.full((3, 8, 8), -1.0 if i == 2 else 0.0),
    )
    assert train(run) == 2
    assert "Row 3: no face was found in the first frame" in (read_json(run.failure) or {})["sentence"]


def change(run: RunFolder, section: str, **values: Any) -> None:
    """Changes the frozen configuration of a run, as a resume with other settings does."""
    config = files.load(run.config)
    changed = getattr(config, section).model_copy(update=values)
    files.dump(config.model_copy(update={section: changed}), run.config)


def test_any_zero_stage_continues_a_checkpoint(make_run: MakeRun) -> None:
    whole = make_run("whole", train={"max_steps": 6})
    changing = make_run("changing", train={"max_steps": 2})
    assert train(whole) == 0
    for steps, stage in ((2, 0), (4, 3), (6, 1)):
        change(changing, "deepspeed", zero_stage=stage)
        change(changing, "train", max_steps=steps)
        assert train(changing) == 0
    want = lora_of(whole, 6)
    for key, value in lora_of(changing, 6).items():
        torch.testing.assert_close(value, want[key], rtol=1e-4, atol=1e-6)


def test_another_batch_size_cannot_continue_a_checkpoint(make_run: MakeRun) -> None:
    run = make_run("changed", train={"max_steps": 2})
    assert train(run) == 0
    change(run, "train", train_batch_size=1, per_device_train_batch_size=1)
    assert train(run) == 2
    assert "train_batch_size 2, but this run has 1" in (read_json(run.failure) or {})["sentence"]


def test_max_steps_can_be_raised_later(make_run: MakeRun) -> None:
    short, long = make_run("short", train={"max_steps": 2}), make_run("long")
    assert train(short) == 0 and train(long) == 0
    config = files.load(short.config)
    files.dump(config.model_copy(update={"train": config.train.model_copy(update={"max_steps": 4})}), short.config)
    assert train(short) == 0
    assert_same(lora_of(short, 4), lora_of(long, 4))


def test_both_experts_train(make_run: MakeRun) -> None:
    run = make_run(
        "both",
        model={"trainable_models": "dit,dit2"},
        lora={"lora_base_model": "dit,dit2"},
        sampling={"mid_timestep": 0, "final_timestep": 3},
        reward={"anchor_weight": 0.1},
    )
    assert train(run) == 0
    folder = checkpoints.find(run, 4).path
    for name in ("high_noise", "low_noise"):
        tensors = load_file(folder / f"{name}.safetensors")
        assert all(value.abs().max() > 0 for key, value in tensors.items() if "lora_B" in key)


def test_bfloat16_with_block_checkpointing(make_run: MakeRun) -> None:
    run = make_run("half", model={"dtype": "bfloat16", "use_gradient_checkpointing": True})
    assert train(run) == 0
    assert {value.dtype for value in lora_of(run, 4).values()} == {torch.float32}
    assert all(r["grad_norm"] > 0 and math.isfinite(r["loss"]) for r in curve(run) if "loss" in r)


def test_stopping_early_decodes_and_trains(make_run: MakeRun) -> None:
    run = make_run("early", sampling={"mid_timestep": 2, "final_timestep": 2})
    assert train(run) == 0
    assert all(r["grad_norm"] > 0 for r in curve(run) if "loss" in r)
