"""Every problem at once, each at its field, each saying what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from rewardfl_app.config import files, presets, validation
from rewardfl_app.config.validation import ConfigError, Problem


def found(*assignments: str, preset: str = "pocket", check_files: bool = True) -> list[Problem]:
    """The problems of a preset with these changes."""
    mapping = files.override(files.to_mapping(presets.preset(preset)), assignments)
    try:
        config = validation.build(mapping, check_files)
    except ConfigError as error:
        return error.problems
    assert validation.problems(config, check_files) == []
    return []


def message(field: str, *assignments: str, preset: str = "pocket") -> str:
    """The one problem that these changes make, which must be at this field."""
    problems = found(*assignments, preset=preset)
    assert [problem.field for problem in problems] == [field], problems
    return problems[0].message


@pytest.fixture
def wan(tmp_path: Path) -> Mapping[str, Path]:
    """The files a Wan2.2 configuration names, empty but in place."""
    for name in ("high.safetensors", "low_1.safetensors", "low_2.safetensors", "vae.pth"):
        (tmp_path / name).touch()
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "det.onnx").touch()
    (tmp_path / "metadata.csv").touch()
    listing = [
        "high.safetensors",
        ["low_1.safetensors", "low_2.safetensors"],
        "text_encoder",
        str(tmp_path / "vae.pth"),
    ]
    (tmp_path / "paths.json").write_text(json.dumps(listing), encoding="utf-8")
    return {name: tmp_path / name for name in ("paths.json", "pack", "metadata.csv")}


def wan_problems(wan: Mapping[str, Path], *assignments: str) -> list[Problem]:
    given = (
        f"model.model_paths={wan['paths.json']}",
        f"reward.reward_model_path={wan['pack']}",
        f"data.metadata_path={wan['metadata.csv']}",
    )
    return found(*given, *assignments, preset="wan22_i2v_a14b")


def test_pocket_needs_nothing() -> None:
    assert found() == []


def test_wan_needs_its_paths_and_nothing_else(wan: Mapping[str, Path]) -> None:
    fields = [problem.field for problem in found(preset="wan22_i2v_a14b")]
    assert fields == ["model.model_paths", "reward.reward_model_path", "data.metadata_path"]
    assert wan_problems(wan) == []


def test_what_is_missing_is_said_with_where_it_is_to_be_had(wan: Mapping[str, Path], tmp_path: Path) -> None:
    told = {problem.field: problem.message for problem in found(preset="wan22_i2v_a14b")}
    for field, parts in {
        "model.model_paths": ("download wan2_2 --to DIR", "Wan-AI/Wan2.2-I2V-A14B", "model_paths.json"),
        "reward.reward_model_path": ("download antelopev2 --to DIR", "deepinsight/insightface", "not for commercial"),
        "data.metadata_path": ("metadata.csv", "video and prompt"),
    }.items():
        assert all(part in told[field] for part in parts), told[field]
    gone = {
        "model.model_paths": "download wan2_2",
        "reward.reward_model_path": "download antelopev2",
        "model.tokenizer_path": "google/umt5-xxl",
        "model.high_noise_lora": "download lightning",
    }
    for field, part in gone.items():
        [problem] = wan_problems(wan, f"{field}={tmp_path / 'gone.safetensors'}")
        assert problem.field == field and "does not exist" in problem.message and part in problem.message


def test_all_problems_are_told_at_once() -> None:
    problems = found("train.learnig_rate=1", "train.max_steps=abc", "data.num_frames=18", "data.height=70", "foo.x=1",
                     "reward.pool=median", "train.train_batch_size=7")  # fmt: skip
    assert {problem.field for problem in problems} == {
        "train.learnig_rate", "train.max_steps", "data.num_frames", "data.height", "foo", "reward.pool",
        "train.train_batch_size",
    }  # fmt: skip
    assert all(problem.message.rstrip().endswith((".", "?")) for problem in problems)


@pytest.mark.parametrize(
    ("assignment", "field", "part"),
    [
        ("train.learnig_rate=1", "train.learnig_rate", "did you mean learning_rate?"),
        ("lora.learning_rate=1", "lora.learning_rate", "write train.learning_rate"),
        ("trian.seed=1", "trian", "did you mean train?"),
        ("train.max_steps=abc", "train.max_steps", "must be a whole number, but it is 'abc'"),
        ("train.max_steps=1.5", "train.max_steps", "must be a whole number"),
        ("train.max_steps=0", "train.max_steps", "must be at least 1, but it is 0"),
        ("train.learning_rate=0", "train.learning_rate", "must be above 0"),
        ("train.learning_rate=.nan", "train.learning_rate", "must be a finite number"),
        ("train.learning_rate=[1]", "train.learning_rate", "must be a number"),
        ("sampling.shift=true", "sampling.shift", "must be a number"),
        ("sampling.gradient_decay=1.5", "sampling.gradient_decay", "must be at most 1"),
        ("reward.hinge=maybe", "reward.hinge", "must be true or false"),
        ("reward.det_size=100", "reward.det_size", "a multiple of 32"),
        ("model.model_name=wan3", "model.model_name", "one of pocket, wan2_2"),
        ("train.lr_scheduler_type=cosinus", "train.lr_scheduler_type", "cosine"),
        ("model.model_paths=3", "model.model_paths", "must be text"),
        ("model.trainable_models=3", "model.trainable_models", "names separated by commas"),
    ],
)
def test_types_names_and_ranges(assignment: str, field: str, part: str) -> None:
    assert part in message(field, assignment)


@pytest.mark.parametrize(
    ("assignment", "field", "part"),
    [
        ("model.trainable_models=dit2", "model.trainable_models", "one network, which is called dit"),
        ("model.min_timestep_boundary=0.9", "model.min_timestep_boundary", "set this to 0"),
        ("data.height=48", "data.height", "a multiple of 32, but it is 48: use 32 or 64"),
        ("data.height=16", "data.height", "a multiple of 32, but it is 16: use 32."),
        ("data.max_pixels=900", "data.max_pixels", "fewer than 1024 pixels"),
        ("model.model_id_with_origin_paths=a/b:x,a/b:y", "model.model_id_with_origin_paths", "but 3 are needed"),
    ],
)
def test_a_model_with_one_transformer(assignment: str, field: str, part: str) -> None:
    single = ("model.model_name=wan2_2_5b", "model.trainable_models=dit", "lora.lora_base_model=dit",
              "model.min_timestep_boundary=0", "sampling.mid_timestep=4")  # fmt: skip
    assert [problem.field for problem in found(*single, preset="wan22_i2v_a14b")] == [
        "model.model_paths", "reward.reward_model_path", "data.metadata_path"]  # fmt: skip
    told = {problem.field: problem.message for problem in found(*single, assignment, preset="wan22_i2v_a14b")}
    assert part in told[field]


def test_the_loras_of_the_base_model(tmp_path: Path) -> None:
    file = tmp_path / "lightning.safetensors"
    gone, other = tmp_path / "gone.safetensors", tmp_path / "lightning.ckpt"
    file.touch()
    other.touch()
    whole = ("model.trainable_models=dit2", "lora.lora_base_model=none", "model.fuse_frozen_lora=false")
    assert found(f"model.low_noise_lora={file}", "model.fuse_frozen_lora=false") == []
    assert found(f"model.high_noise_lora={file}", *whole) == []
    assert "cannot stay apart" in message("model.fuse_frozen_lora", f"model.low_noise_lora={file}", *whole)
    assert "does not exist" in message("model.high_noise_lora", f"model.high_noise_lora={gone}")
    assert "no .safetensors file" in message("model.low_noise_lora", f"model.low_noise_lora={other}")
    assert "at least 0" in message("model.frozen_lora_strength", "model.frozen_lora_strength=-1")
    single = ("model.model_name=wan2_2_5b", "model.trainable_models=dit", "lora.lora_base_model=dit",
              "model.min_timestep_boundary=0", f"model.low_noise_lora={file}")  # fmt: skip
    told = {problem.field: problem.message for problem in found(*single, preset="wan22_i2v_a14b")}
    assert "one network, whose LoRA is named in high_noise_lora" in told["model.low_noise_lora"]


def test_top_level_setting_is_sent_home() -> None:
    with pytest.raises(ConfigError, match="write it there, as train.seed"):
        validation.build({"model": {"model_name": "pocket"}, "train": {"train_batch_size": 1}, "seed": 1})


@pytest.mark.parametrize("mapping", [{"train": 5}, {"train": ["seed"]}])
def test_a_section_must_hold_settings(mapping: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="train must hold settings"):
        validation.build(mapping)


def test_batch_sizes_must_multiply_out() -> None:
    text = message("train.train_batch_size", "train.train_batch_size=8", "train.gradient_accumulation_steps=3")
    assert "gradient_accumulation_steps 3 x num_processes" in text and "= 6: set train_batch_size to 6" in text
    assert found("train.train_batch_size=6", "train.gradient_accumulation_steps=3") == []


def test_a_rule_is_silent_while_a_field_it_reads_is_wrong() -> None:
    assert message(
        "train.gradient_accumulation_steps", "train.gradient_accumulation_steps=x", "train.train_batch_size=9"
    )


def test_gradient_steps_outside_the_trained_expert_are_named() -> None:
    text = message("sampling.mid_timestep", "sampling.mid_timestep=1")
    assert "step 1 (sigma 0.972) runs on the high-noise expert" in text
    assert "step 2 (sigma 0.938)" in text
    assert "step 3" not in text
    assert "within 3 to 7" in text


def test_gradient_steps_that_run_beyond_the_high_noise_expert() -> None:
    dit = ("model.trainable_models=dit", "lora.lora_base_model=dit", "sampling.mid_timestep=1")
    assert "within 0 to 2" in message("sampling.final_timestep", *dit, "sampling.final_timestep=4")
    assert found(*dit, "sampling.final_timestep=2") == []


def test_the_window_moves_with_the_boundary_and_the_shift() -> None:
    assert found("sampling.mid_timestep=2", "model.min_timestep_boundary=0.95") == []
    assert found("sampling.mid_timestep=1", "sampling.shift=1") == []
    assert message("sampling.mid_timestep", "sampling.mid_timestep=3", "model.min_timestep_boundary=0.5")


def test_no_step_of_the_trained_expert_at_all() -> None:
    text = message("sampling.mid_timestep", "model.min_timestep_boundary=0.1", "sampling.mid_timestep=7")
    assert "change num_inference_steps, shift or min_timestep_boundary" in text


def test_a_trained_network_must_run_in_a_gradient_step() -> None:
    both = ("model.trainable_models=dit,dit2", "lora.lora_base_model=dit2,dit")
    assert "high-noise expert does not run in gradient step 7" in message(
        "model.trainable_models", *both, "sampling.mid_timestep=7"
    )
    assert found(*both, "sampling.mid_timestep=2") == []


def test_steps_must_be_in_order_and_in_the_schedule() -> None:
    assert "step 7" in message("sampling.final_timestep", "sampling.final_timestep=8")
    assert message("sampling.mid_timestep", "sampling.mid_timestep=6", "sampling.final_timestep=5")


@pytest.mark.parametrize("name", ["vae", "text_encoder"])
def test_networks_that_cannot_be_trained_are_refused_with_a_reason(name: str) -> None:
    chosen = f"dit2,{name}"
    text = message("model.trainable_models", f"model.trainable_models={chosen}", f"lora.lora_base_model={chosen}")
    assert f"{name} cannot be trained, because" in text


def test_unknown_networks_layers_and_inputs() -> None:
    chosen = ("model.trainable_models=dit3,dit2", "lora.lora_base_model=dit3,dit2")
    assert "did you mean dit" in message("model.trainable_models", *chosen)
    assert "did you mean ffn" in message("lora.lora_target_modules", "lora.lora_target_modules=q,ffn.1")
    assert "did you mean input_image" in message("model.extra_inputs", "model.extra_inputs=input_image,input_imge")
    assert "not supported" in message("model.extra_inputs", "model.extra_inputs=input_image,end_image")
    assert found("model.extra_inputs=[]") != []
    assert found("lora.lora_target_modules=[]") != []
    assert found("model.trainable_models=[]") != []


def test_lora_must_be_on_what_trains() -> None:
    assert "trainable_models is dit2" in message("lora.lora_base_model", "lora.lora_base_model=dit")


def test_boundaries() -> None:
    assert message("model.max_timestep_boundary", "model.max_timestep_boundary=0.95")
    problems = found("model.max_timestep_boundary=0.8", "model.min_timestep_boundary=0.9")
    assert {problem.field for problem in problems} == {"model.min_timestep_boundary", "model.max_timestep_boundary"}


@pytest.mark.parametrize(("count", "near"), [(18, "17 or 21"), (16, "13 or 17"), (80, "77 or 81")])
def test_frames_are_one_and_fours(count: int, near: str) -> None:
    assert near in message("data.num_frames", f"data.num_frames={count}")


def test_height_and_width_go_together() -> None:
    assert message("data.width", "data.width=")
    assert found("data.height=", "data.width=") == []


def test_reference_reward_excludes_this_projects_additions() -> None:
    problems = found(
        "reward.roll_compatible=true", "reward.pool=max", "reward.hinge=true", "reward.missing_face_penalty=.1"
    )
    fields = {problem.field for problem in problems}
    assert fields == {"reward.pool", "reward.hinge", "reward.missing_face_penalty"}
    assert found("reward.roll_compatible=true") == []


def test_rewards_are_named_once_and_one_is_trained() -> None:
    assert found("reward.rewards=face_similarity,my.rewards:Smile=0.5") == []
    assert found("reward.rewards={face_similarity: 0, my.rewards:Smile: 2}") == []
    mapping = files.override(files.to_mapping(presets.preset("pocket")), ["reward.rewards=face_similarity=0.123456789"])
    weighted = validation.build(mapping, check_files=False)
    assert files.to_mapping(weighted)["reward"]["rewards"] == "face_similarity=0.123456789", "frozen as it was given"
    assert "face_similarity" in message("reward.rewards", "reward.rewards=face_similarty")
    assert "named twice" in message("reward.rewards", "reward.rewards=a.b:C,a.b:C=2")
    assert "No reward is trained" in message("reward.rewards", "reward.rewards=face_similarity=0")
    assert "No reward is trained" in message("reward.rewards", "reward.rewards=','")
    assert "name=weight" in message("reward.rewards", "reward.rewards=face_similarity=much")
    assert "alone" in message("reward.rewards", "reward.rewards=a.b:C", "reward.roll_compatible=true")


def test_zero_and_offload() -> None:
    assert not found("deepspeed.zero_stage=3", "deepspeed.offload_parameters=true", "deepspeed.offload_optimizer=true")
    assert "set 3" in message("deepspeed.offload_parameters", "deepspeed.offload_parameters=true")
    assert message("deepspeed.offload_optimizer", "deepspeed.zero_stage=0", "deepspeed.offload_optimizer=true")
    assert found("deepspeed.zero_stage=2", "deepspeed.offload_optimizer=true") == []
    assert message("model.use_gradient_checkpointing_offload", "model.use_gradient_checkpointing_offload=true")


def test_what_compiled_blocks_cannot_do_is_refused() -> None:
    compiled = "model.compile_blocks=true"
    assert found(compiled) == found(compiled, "deepspeed.zero_stage=2") == []
    assert "lora_dropout to 0" in message("model.compile_blocks", compiled, "lora.lora_dropout=0.1")
    assert "2 or less" in message("model.compile_blocks", compiled, "deepspeed.zero_stage=3")


def test_weights_are_named_once(wan: Mapping[str, Path]) -> None:
    hub = "model.model_id_with_origin_paths=" + ",".join(["Wan-AI/Wan2.2-I2V-A14B:*.safetensors"] * 4)
    assert [problem.field for problem in wan_problems(wan, hub)] == ["model.model_id_with_origin_paths"]
    assert wan_problems(wan, hub, "model.model_paths=") == []


def test_hub_entries_are_four_of_the_right_form(wan: Mapping[str, Path]) -> None:
    problems = wan_problems(wan, "model.model_paths=", "model.model_id_with_origin_paths=wan")
    assert [problem.field for problem in problems] == ["model.model_id_with_origin_paths"] * 2


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", "has no high_noise_model, but Wan2.2-I2V-A14B needs 4 entries"),
        ('["a", "b"]', "holds a list of 2, but Wan2.2-I2V-A14B needs 4 entries"),
        ('["high.safetensors", 5, "text_encoder", "vae.pth"]', "The low-noise model in"),
        ('["high.safetensors", ["low_1.safetensors", "gone.bin"], "text_encoder", "vae.pth"]', "names gone.bin"),
        ('["high.safetensors", "token-of-mine", "text_encoder", "vae.pth"]', "names a file or folder, which"),
        ('["gone", "low_1.safetensors", "text_encoder", "vae.pth"]', "The high-noise model"),
    ],
)
def test_listings_of_weights(content: str, part: str, wan: Mapping[str, Path]) -> None:
    wan["paths.json"].write_text(content, encoding="utf-8")
    (problem,) = wan_problems(wan)
    assert problem.field == "model.model_paths"
    assert part in problem.message


def test_missing_files_are_told_by_field(tmp_path: Path) -> None:
    fields = ["data.metadata_path", "evaluation.metadata_path", "model.model_paths", "model.tokenizer_path",
              "reward.reward_model_path", "reward.judge_model_path"]  # fmt: skip
    assignments = [f"{field}={tmp_path / 'none'}" for field in fields]
    assert sorted(problem.field for problem in found(*assignments)) == sorted(fields)
    assert found(*assignments, check_files=False) == []


def test_folders_and_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is a folder" in message("data.metadata_path", f"data.metadata_path={tmp_path}")
    assert "is a file" in message("model.tokenizer_path", f"model.tokenizer_path={tmp_path / 'file'}")
    assert "no .onnx file" in message("reward.judge_model_path", f"reward.judge_model_path={tmp_path}")


def test_a_face_pack_unpacked_one_folder_too_deep_is_found(tmp_path: Path) -> None:
    nested = tmp_path / "antelopev2"
    nested.mkdir()
    (nested / "glintr100.onnx").touch()
    assert f"use {nested}" in message("reward.reward_model_path", f"reward.reward_model_path={tmp_path}")


def test_gradient_modes() -> None:
    two = ("sampling.mid_timestep=6", "sampling.gradient_mode=random_steps")
    assert not found(*two, "sampling.num_gradient_steps=2")
    assert "there are 2" in message("sampling.num_gradient_steps", *two, "sampling.num_gradient_steps=3")
    assert not found("sampling.num_gradient_steps=3")  # another mode does not draw a set


def test_a_prefix_is_before_what_trains() -> None:
    assert not found("sampling.prefix_seeds=2")
    both = ("model.trainable_models=dit,dit2", "lora.lora_base_model=dit,dit2", "sampling.mid_timestep=0")
    assert not found(*both)
    assert "high-noise expert trains" in message("sampling.prefix_seeds", *both, "sampling.prefix_seeds=1")


def test_a_region_holds_the_faces_alone() -> None:
    assert not found("sampling.decode_region=true", "reward.rewards=face_similarity,own:Reward=0")
    rewards = "reward.rewards=face_similarity,own:Reward=0.5"
    assert "own:Reward" in message("sampling.decode_region", "sampling.decode_region=true", rewards)
    roll = ("sampling.decode_region=true", "reward.roll_compatible=true")
    assert "roll_compatible" in message("sampling.decode_region", *roll)


def test_all_weights_train_without_a_lora() -> None:
    full = "lora.lora_base_model=none"
    assert not found(full, "model.offload_reference=true")
    without = message("model.offload_reference", full, "model.offload_reference=true", "reward.kl_weight=0")
    assert "no frozen copy" in without
    assert "set this to 0" in message("lora.lora_dropout", full, "lora.lora_dropout=0.1")
    assert "second copy" in message("model.offload_reference", "model.offload_reference=true")


def test_a_divergence_to_hold() -> None:
    assert not found("reward.kl_target=0.01")
    assert "kl_weight above 0" in message("reward.kl_target", "reward.kl_target=0.01", "reward.kl_weight=0")


def test_processes_that_share_a_video() -> None:
    """The pocket family: 6 heads, and 9 frames of 64 x 64 are 3 x 4 x 4 tokens."""
    shared = ("deepspeed.num_processes=4", "deepspeed.context_parallel=2")
    sized = ("data.num_frames=9", "data.height=64", "data.width=64", "data.max_pixels=4096")
    together = (*shared, *sized, "train.per_device_train_batch_size=1", "train.train_batch_size=2")
    single = "train.gradient_accumulation_steps=1"
    assert found(*together, single) == found(*together, single, "deepspeed.zero_stage=2") == []
    text = message("train.train_batch_size", *together, single, "train.train_batch_size=4")
    assert "x num_processes 4 / context_parallel 2 = 2: set train_batch_size to 2" in text
    one = (*together, single)
    assert "4 cannot be divided by context_parallel 3" in message(
        "deepspeed.num_processes", *one, "deepspeed.context_parallel=3"
    )
    four = (*one, "deepspeed.context_parallel=4", "train.train_batch_size=1")
    assert "use 1, 2, 3, 6" in message("deepspeed.context_parallel", *four)
    assert "set zero_stage to 2 or less" in message("deepspeed.zero_stage", *one, "deepspeed.zero_stage=3")
    for backend in ("native_efficient", "flash"):
        assert f"{backend} has no backward" in message(
            "model.attention_backend", *one, f"model.attention_backend={backend}"
        )
    assert found(*one, "model.attention_backend=native_flash") == []
    assert "cannot be compiled" in message("model.compile_blocks", *one, "model.compile_blocks=true")
    assert "set lora_dropout to 0" in message("lora.lora_dropout", *one, "lora.lora_dropout=0.1")
    assert "set height and width" in message("data.height", *one, "data.height=", "data.width=")
    odd = (*one, "data.num_frames=5", "data.height=16", "data.width=48")
    assert found(*odd) == []
    assert "5 x 1 x 3 = 15 tokens of a video cannot be divided by 2" in message(
        "deepspeed.context_parallel", *odd, "data.num_frames=17"
    )
