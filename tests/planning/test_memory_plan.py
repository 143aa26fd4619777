"""The memory plan of a run: what is in it, what each setting takes out of it, and what a pocket run really takes."""

from __future__ import annotations

from typing import Any

import pytest

from rewardfl_app.bench import plan as bench_plan
from rewardfl_app.config import files, presets
from rewardfl_app.config.schema import Config
from rewardfl_app.planning import memory_plan
from rewardfl_app.planning.memory_plan import MemoryPlan
from rewardfl_app.planning.phase import Phase

PHASES = ["encoding the clips", "loading", "sampling", "decoding and scoring", "backward through the steps",
          "updating the weights", "evaluating", "saving"]  # fmt: skip


def changed(preset: str, *assignments: str) -> Config:
    return Config.model_validate(files.override(files.to_mapping(presets.preset(preset)), assignments))


def planned(preset: str, *assignments: str, **options: Any) -> MemoryPlan:
    return memory_plan.plan(changed(preset, *assignments), on_gpu=options.pop("on_gpu", True), **options)


def phase(plan: MemoryPlan, name: str) -> Phase:
    return next(each for each in plan.phases if each.name == name)


def on_device(plan: MemoryPlan, name: str, what: str) -> float:
    return sum(part.size for part in phase(plan, name).device if part.what == what) / 1e9


def test_the_phases_of_a_run_and_the_weights_in_them() -> None:
    plan = planned("wan22_i2v_a14b")
    assert [each.name for each in plan.phases] == PHASES
    assert on_device(plan, "encoding the clips", "text encoder") == pytest.approx(11.36, rel=0.01)
    for name in PHASES[1:]:
        assert on_device(plan, name, "networks that train") == pytest.approx(28.58, rel=0.01)
        assert on_device(plan, name, "expert that does not train") == pytest.approx(28.58, rel=0.01)
        assert on_device(plan, name, "text encoder") == 0  # it has left
    assert plan.device_peak.device_gb == max(each.device_gb for each in plan.phases)


def test_kept_leading_steps_take_the_other_expert_away() -> None:
    plan = planned("wan22_80gb")
    assert plan.phases[1].name == "the leading steps"
    assert on_device(plan, "the leading steps", "the high-noise expert") == pytest.approx(28.58, rel=0.01)
    assert all(on_device(plan, name, "expert that does not train") == 0 for name in PHASES[1:])


@pytest.mark.parametrize(
    ("preset", "change", "where", "least"),
    [
        ("wan22_80gb", "sampling.decode_chunk=1", "decoding and scoring", 12),
        ("wan22_80gb", "model.use_gradient_checkpointing_offload=false", "backward through the steps", -10),
        ("wan22_80gb", "train.per_device_train_batch_size=2", "backward through the steps", -10),
        ("wan22_80gb", "data.num_frames=41", "backward through the steps", 5),
        ("wan22_i2v_a14b", "sampling.prefix_seeds=4", "loading", 28),
        ("wan22_i2v_a14b", "evaluation.batch_size=1", "evaluating", 5),
        ("wan22_i2v_a14b", "lora.lora_rank=256", "updating the weights", -5),
    ],
)
def test_what_a_setting_saves(preset: str, change: str, where: str, least: float) -> None:
    """GB on each GPU that the setting saves in the phase, at least (negative: takes)."""
    saved = phase(planned(preset), where).device_gb - phase(planned(preset, change), where).device_gb
    assert saved >= least if least > 0 else saved <= least


@pytest.mark.parametrize(
    "apart",
    [
        "lora.lora_dropout=0.1",
        "deepspeed.zero_stage=3",
        ("model.low_noise_lora=another.safetensors", "model.fuse_frozen_lora=false"),
    ],
)
def test_a_lora_that_is_an_operation_of_its_own_takes_more(apart: str | tuple[str, ...]) -> None:
    changes = (apart,) if isinstance(apart, str) else apart
    what = ("backward through the steps", "a step with its graph")
    joined, by_itself = planned("wan22_80gb"), planned("wan22_80gb", *changes)
    assert on_device(by_itself, *what) > 1.2 * on_device(joined, *what)


def test_kept_graphs_take_the_memory_of_their_steps_while_the_video_is_scored() -> None:
    """What each keeps: the inputs of its blocks, which with offload wait on the host."""
    off = ("model.use_gradient_checkpointing_offload=false",)
    none, two, most = (planned("wan22_80gb", *off, f"sampling.keep_graphs={n}") for n in (0, 2, 99))
    what = ("decoding and scoring", "graphs of other steps")
    assert on_device(none, *what) == 0 and on_device(two, *what) > 10
    assert on_device(most, *what) == 2 * on_device(two, *what)  # there are four gradient steps
    assert planned("wan22_80gb", *off, "sampling.keep_graphs=4", "sampling.gradient_mode=draft_lv").phases == (
        planned("wan22_80gb", *off, "sampling.gradient_mode=draft_lv").phases
    )
    for name in ("sampling", "decoding and scoring", "backward through the steps"):
        assert phase(two, name).device_gb > phase(none, name).device_gb + 5
        waiting = [phase(planned("wan22_80gb", f"sampling.keep_graphs={n}"), name).host_gb for n in (1, 4)]
        assert waiting[1] > waiting[0] + 20


def test_what_is_kept_of_a_shared_video_is_a_share_and_the_first_block_s_input() -> None:
    off = ("model.use_gradient_checkpointing_offload=false", "sampling.keep_graphs=2")
    one, eight = (planned("wan22_8x80gb", *off, f"deepspeed.context_parallel={shares}") for shares in (1, 8))
    what = ("decoding and scoring", "graphs of other steps")
    assert on_device(one, *what) / 8 < on_device(eight, *what) < on_device(one, *what) / 6


def test_zero_divides_what_a_whole_network_takes() -> None:
    whole = ("lora.lora_base_model=none", "deepspeed.offload_optimizer=false", "reward.kl_weight=0")
    peaks = {stage: planned("wan22_8x80gb", *whole, f"deepspeed.zero_stage={stage}").device_peak.device_gb
             for stage in (0, 2, 3)}  # fmt: skip
    assert peaks[0] > peaks[2] > peaks[3]
    numbers = 4 * 14.29  # GB of a network in float32; stage 0 holds weights, gradients and two moments
    assert peaks[0] > 4 * numbers and peaks[0] - peaks[2] > numbers
    off = planned("wan22_8x80gb", "lora.lora_base_model=none", "deepspeed.zero_stage=2")
    assert off.host_peak.host_gb > 4 * numbers  # AdamW's copy, moments and gradients of all eight


def test_more_processes_on_a_machine_take_more_of_it() -> None:
    one, eight = planned("wan22_8x80gb", per_machine=1), planned("wan22_8x80gb", per_machine=8)
    assert one.device_peak.device_gb == eight.device_peak.device_gb
    assert eight.host_peak.host_gb > 7 * one.host_peak.host_gb
    on_cpu = planned("pocket", on_gpu=False)
    assert on_cpu.device_peak.device_gb == 0 and on_cpu.host_peak.name == "decoding and scoring"


@pytest.mark.parametrize(
    "changes",
    [
        ("data.height=96", "data.width=160", "data.max_pixels=15360", "data.num_frames=9",
         "deepspeed.num_processes=1", "train.gradient_accumulation_steps=2"),
        ("model.dtype=bfloat16", "sampling.decode_chunk=1", "sampling.keep_graphs=0"),
    ],
    ids=["one wide clip at a time, graphs kept", "bfloat16, in chunks"],
)  # fmt: skip
def test_a_pocket_run_takes_what_is_planned(changes: tuple[str, ...], frozen_pocket: Any) -> None:
    """Every phase of an update within 15%, in a process of its own."""
    report = bench_plan.measure(frozen_pocket(changes), lambda *_: None)
    measured = {row[1] for row in report.rows if row[3] is not None}
    assert measured == {*PHASES} - {"encoding the clips", "evaluating"}
    assert all(mark.met for mark in report.marks), report.rows


def test_processes_that_share_a_video_share_what_a_step_keeps() -> None:
    """A step's memory is divided, but for the first block's input, which is whole; weights and decode are not."""
    one, eight = (planned("wan22_8x80gb", f"deepspeed.context_parallel={shares}") for shares in (1, 8))
    what = ("backward through the steps", "a step with its graph")
    assert on_device(one, *what) / 8 <= on_device(eight, *what) < on_device(one, *what) / 6
    parts = [phase(plan, "backward through the steps").host for plan in (one, eight)]
    waiting = [sum(part.size for part in each if part.what == "activations that wait") for each in parts]
    assert waiting[0] / 8 < waiting[1] < waiting[0] / 6
    for name in ("loading", "decoding and scoring"):
        assert phase(eight, name).device_gb == phase(one, name).device_gb
