"""The declarations: each field documents itself, and every parameter of the reference exists under its name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rewardfl_app.config.problems import section_fields
from rewardfl_app.config.schema import Config, ModelConfig, TrainConfig

FIELDS = [(section, field) for section, fields in section_fields().items() for field in fields]

# The names the reference example uses, with the values it gives them.
REFERENCE = {
    "model": {
        "model_name": "wan2_2",
        "model_paths": None,
        "model_id_with_origin_paths": None,
        "tokenizer_path": "",
        "trainable_models": ("dit2",),
        "use_gradient_checkpointing_offload": True,
        "extra_inputs": ("input_image",),
        "max_timestep_boundary": 1.0,
        "min_timestep_boundary": 0.9,
        "dtype": "bfloat16",
    },
    "data": {"num_frames": 81, "max_pixels": 480 * 480},
    "sampling": {"num_inference_steps": 8, "mid_timestep": 4, "final_timestep": 7, "shift": 5.0},
    "reward": {
        "reward_model_path": None,
        "reward_weight": 0.1,
        "reward_mean": 0.54,
        "reward_std": 0.16,
        "kl_weight": 1.0,
    },
    "lora": {
        "lora_base_model": ("dit2",),
        "lora_target_modules": ("q", "k", "v", "o", "ffn.0", "ffn.2"),
        "lora_rank": 32,
    },
    "train": {
        "learning_rate": 2.5e-6,
        "lr_scheduler_type": "constant",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "train_batch_size": 8,
        "warmup_steps": 10,
        "weight_decay": 0.0,
        "num_train_epochs": 1,
        "max_grad_norm": 1.0,
        "save_steps": 25,
        "seed": 42,
    },
    "deepspeed": {"zero_stage": 2, "offload_optimizer": True},
}


@pytest.mark.parametrize(("section", "field"), FIELDS)
def test_every_field_documents_itself(section: str, field: str) -> None:
    kind: Any = Config.model_fields[section].annotation
    declared = kind.model_fields[field]
    assert len(declared.description) > 20
    assert declared.description.endswith(".")
    hints = declared.json_schema_extra
    assert hints["level"] in ("basic", "advanced")
    assert hints["applies"] in ("new", "resume", "live")


def test_defaults_are_those_of_the_reference() -> None:
    config = Config()
    for section, values in REFERENCE.items():
        for name, value in values.items():
            assert getattr(getattr(config, section), name) == value, f"{section}.{name}"


def test_configurations_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Config().train.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize("value", ["dit, dit2", ("dit", "dit2"), ["dit", "dit2"], " dit ,,dit2, "])
def test_comma_text_is_split_at_the_border_and_joined_again(value: object) -> None:
    model = ModelConfig.model_validate({"trainable_models": value})
    assert model.trainable_models == ("dit", "dit2")
    assert model.model_dump()["trainable_models"] == "dit,dit2"


def test_empty_values_stand_for_the_default() -> None:
    train = TrainConfig.model_validate({"weight_decay": None, "seed": None})
    assert (train.weight_decay, train.seed) == (0.0, 42)


def test_true_is_not_a_number() -> None:
    with pytest.raises(ValidationError, match="must be a number"):
        TrainConfig.model_validate({"max_steps": True})
