"""Named starting points: the reference example for Wan2.2, and the model that ships with the package."""

from __future__ import annotations

from typing import Any

from rewardfl_app.config.problems import ConfigError, Problem, suggestion
from rewardfl_app.config.schema import Config

_PRESETS: dict[str, dict[str, Any]] = {
    # The embedded model on two CPU cores: small videos, float32, a visibly steadier face within minutes.
    "pocket": {
        "model": {
            "model_name": "pocket",
            "trainable_models": "dit2",
            "use_gradient_checkpointing": False,
            "use_gradient_checkpointing_offload": False,
            "dtype": "float32",
        },
        "data": {"num_frames": 17, "height": 64, "width": 64, "max_pixels": 4096, "fps": 8},
        "sampling": {
            "num_inference_steps": 8,
            "shift": 5.0,
            "mid_timestep": 4,
            "final_timestep": 7,
            "decode_chunk": None,
        },
        "reward": {"kl_weight": 5.0, "kl_steps": "expert", "det_size": 96},
        "lora": {"lora_base_model": "dit2", "lora_rank": 16},
        "train": {
            "learning_rate": 5e-4,
            "lr_scheduler_type": "constant_with_warmup",
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 1,
            "train_batch_size": 2,
            "warmup_steps": 5,
            "max_steps": 50,
            "save_steps": 25,
        },
        "evaluation": {"eval_steps": 25, "num_samples": 12, "batch_size": 4},
        "deepspeed": {"zero_stage": 0, "offload_optimizer": False, "num_processes": 1},
    },
    # The reference example: eight GPUs, one video each. The paths of the weights, the face pack and the clips are yours
    # to give.
    "wan22_i2v_a14b": {
        "model": {
            "model_name": "wan2_2",
            "trainable_models": "dit2",
            "extra_inputs": "input_image",
            "max_timestep_boundary": 1.0,
            "min_timestep_boundary": 0.9,
            "use_gradient_checkpointing": True,
            "use_gradient_checkpointing_offload": True,
            "dtype": "bfloat16",
        },
        "data": {"num_frames": 81, "max_pixels": 480 * 480, "fps": 16},
        "sampling": {"num_inference_steps": 8, "shift": 5.0, "mid_timestep": 4, "final_timestep": 7},
        "reward": {"reward_weight": 0.1, "reward_mean": 0.54, "reward_std": 0.16, "kl_weight": 1.0},
        "lora": {"lora_base_model": "dit2", "lora_target_modules": "q,k,v,o,ffn.0,ffn.2", "lora_rank": 32},
        "train": {
            "learning_rate": 2.5e-6,
            "lr_scheduler_type": "constant",
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 1,
            "train_batch_size": 8,
            "warmup_steps": 10,
            "num_train_epochs": 1,
            "max_grad_norm": 1.0,
            "save_steps": 25,
            "seed": 42,
        },
        "deepspeed": {"zero_stage": 2, "offload_optimizer": True, "num_processes": 8},
    },
}


def names() -> list[str]:
    """The names of the presets."""
    return list(_PRESETS)


def preset(name: str) -> Config:
    """The preset of this name. Raises ConfigError, naming the nearest one, when there is none.

    A preset may still lack paths that only its user knows: `validation.problems` tells which.
    """
    if name not in _PRESETS:
        raise ConfigError([Problem("", f"There is no preset {name}{suggestion(name, names())}")])
    return Config.model_validate(_PRESETS[name])
