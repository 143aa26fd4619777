"""Several processes that share every video, each with a part of its tokens: the same run as by one process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import captured_gradient
import numpy as np
import pytest
import tiny_family
from brightness_trainer import BrightnessScorer
from forked_trainers import ForkedTrainers, log_of
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from rewardfl_app.config import files
from rewardfl_app.data import manifest, video
from rewardfl_app.data.dataset import ClipDataset, Order
from rewardfl_app.models import wan
from rewardfl_app.rendering.clips import ClipEncoder
from rewardfl_app.runs import checkpoints, metrics, samples
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.training.ranks import Ranks
from rewardfl_app.training.samples import SampleSource

MakeRun = Callable[..., RunFolder]
EXACT = 1e-5


def shared(processes: int = 2, stage: int = 0, shares: int = 2) -> dict[str, Any]:
    """Settings of `deepspeed` for as many processes, each `shares` of which share their videos."""
    return {"num_processes": processes, "context_parallel": shares, "zero_stage": stage}


def train(trainers: ForkedTrainers, run: RunFolder, ranks: int, **options: Any) -> RunFolder:
    assert trainers.train([run.path], ranks=ranks, **options)["codes"] == [0] * ranks, log_of(run.path, ranks - 1)
    return run


def trained(run: RunFolder, step: int, name: str) -> dict[str, Tensor]:
    return load_file(checkpoints.find(run, step).path / f"{name}.safetensors")


def recorded(run: RunFolder) -> list[dict[str, float]]:
    """Everything that was measured, but what it took."""
    took = {"time", "step_seconds", "peak_memory_gb", "evaluation_seconds"}
    return [
        {name: value for name, value in record.items() if name not in took and isinstance(value, int | float)}
        for record in metrics.read_all(run.metrics)
    ]


def assert_same(one: RunFolder, several: RunFolder, step: int, expert: str = "low_noise") -> None:
    """The same values and moments, and the same was measured, as far as float32 sums in another order are."""
    for name in (expert, f"{expert}.exp_avg"):
        assert captured_gradient.relative_error(trained(several, step, name), trained(one, step, name)) <= EXACT
    mine, theirs = recorded(several), recorded(one)
    assert len(mine) == len(theirs) > 1
    for record, wanted in zip(mine, theirs, strict=True):
        assert record == pytest.approx(wanted, rel=EXACT, abs=1e-6)


def videos(run: RunFolder) -> dict[str, NDArray[np.int64]]:
    """The frames of the videos in samples/, by place."""
    paths = run.samples.rglob("video.mp4")
    return {str(path.relative_to(run.samples)): video.read(path).astype(int) for path in paths}


@pytest.mark.parametrize("stage", [0, 2])
def test_two_processes_on_one_video_are_one(make_run: MakeRun, forked_trainers: ForkedTrainers, stage: int) -> None:
    """Clipped updates with an anchor and a divergence on steps that carry no gradient; and the evaluation."""
    changes: dict[str, dict[str, Any]] = {
        "train": {"max_steps": 2, "max_grad_norm": 1e-3},
        "sampling": {"num_inference_steps": 6, "mid_timestep": 4, "final_timestep": 5},
        "reward": {"anchor_weight": 0.1},
        "model": {"use_gradient_checkpointing": True},
        "data": {"cache_gb": 0},
    }
    one = train(forked_trainers, make_run("one", **changes), 1)
    two = train(forked_trainers, make_run("two", **changes, deepspeed=shared(stage=stage)), 2)
    assert_same(one, two, 2)
    assert all(record["grad_norm"] > 1e-3 for record in recorded(two) if "grad_norm" in record)
    assert {step: len(found) for step, found in samples.list_samples(two).items()} == {0: 3, 2: 3}
    mine, theirs = videos(two), videos(one)
    assert set(mine) == set(theirs) and len(mine) == 9
    for place, frames in mine.items():
        # One pixel that is rounded the other way, and the coder spends its bits elsewhere; another video is tens away.
        off = np.abs(frames - theirs[place])
        assert off.max() <= 8 and off.mean() < 0.5, place


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        (0, {}),
        (1, {"reward": {"kl_steps": "gradient", "kl_through_x": True}, "model": {"use_gradient_checkpointing": True}}),
        (2, {"lora": {"lora_base_model": "none"}, "train": {"learning_rate": 1e-3}}),
    ],
)
def test_the_gradient_is_that_of_one_graph(
    make_run: MakeRun, forked_trainers: ForkedTrainers, stage: int, changes: dict[str, dict[str, Any]]
) -> None:
    """Three gradient steps, among them through what the first process alone scored."""
    last = {"num_inference_steps": 8, "mid_timestep": 5, "final_timestep": 7}
    settings = captured_gradient.settings(**{"sampling": last, "reward": {"kl_steps": "expert"}, **changes})
    spread = {**shared(stage=stage), "offload_optimizer": stage == 2}
    run = make_run("shared", **{**settings, "deepspeed": spread})
    # The second process sees no face in the first video: only what the first one sees counts.
    train(forked_trainers, run, 2, capture=True, faceless={1: [0]})
    error = captured_gradient.relative_error(captured_gradient.captured(run), captured_gradient.straightforward(run))
    assert error <= EXACT


def test_two_pairs_of_processes_are_one(make_run: MakeRun, forked_trainers: ForkedTrainers) -> None:
    """Each pair has a video of its own; the leading steps are kept."""
    changes: dict[str, dict[str, Any]] = {
        "sampling": {"prefix_seeds": 2},
        "train": {"max_steps": 2, "gradient_accumulation_steps": 1},
        "evaluation": {"eval_steps": 2, "num_samples": 3, "batch_size": 2},
    }
    one = train(forked_trainers, make_run("one", **changes), 1)
    changes["train"] |= {"per_device_train_batch_size": 1}
    changes["data"] = {"cache_gb": 0.5}
    four = train(forked_trainers, make_run("four", **changes, deepspeed=shared(processes=4, stage=2)), 4)
    assert_same(one, four, 2)
    assert {step: len(found) for step, found in samples.list_samples(four).items()} == {0: 3, 2: 3}


def test_a_run_goes_on_with_other_numbers_of_processes(make_run: MakeRun, forked_trainers: ForkedTrainers) -> None:
    whole, changed = make_run("whole", train={"max_steps": 4}), make_run("changed", train={"max_steps": 2})
    train(forked_trainers, whole, 1)
    train(forked_trainers, changed, 1)
    config = files.load(changed.config)
    spread = config.deepspeed.model_copy(update=shared(stage=2))
    steps = config.train.model_copy(update={"max_steps": 4})
    files.dump(config.model_copy(update={"deepspeed": spread, "train": steps}), changed.config)
    train(forked_trainers, changed, 2)
    assert_same(whole, changed, 4)


def test_tokens_with_times_of_their_own(tmp_path: Path, forked_trainers: ForkedTrainers) -> None:
    """Of Wan2.2-TI2V-5B, whose latents of the given frame stay as they are."""
    family = tiny_family.make_single_family(tmp_path / "family")
    changes = {**tiny_family.SINGLE, "train": {"max_steps": 2}}
    runs = [tiny_family.make_run(family, tmp_path, "one", **changes)]
    runs.append(tiny_family.make_run(family, tmp_path, "two", **changes, deepspeed=shared(stage=1)))
    for ranks, run in enumerate(runs, start=1):
        train(forked_trainers, run, ranks)
    assert_same(*runs, 2, "high_noise")


class OneOfTwo(Ranks):
    """A process whose companion could not read the clip in slot 1."""

    def any_true(self, values: list[bool]) -> list[bool]:
        return [value or (len(values) == 2 and slot == 1) for slot, value in enumerate(values)]


def test_a_clip_that_one_of_them_cannot_read_is_left_out_by_all(make_run: MakeRun) -> None:
    config = files.load(make_run("one").config)
    data = ClipDataset.of(manifest.read(str(config.data.metadata_path)), config)
    scorer: Any = BrightnessScorer()
    clips = ClipEncoder(wan.load(config.model), data, scorer)
    source = SampleSource(clips, range(1, 7), Order(len(data), 0), config, OneOfTwo())
    taken = source.take(0)
    assert [batch.slots for batch in taken.batches] == [(0,)] and taken.failed == (1,)
