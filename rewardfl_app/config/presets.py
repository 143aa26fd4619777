"""Named starting points: the model that ships with the package, the reference example for Wan2.2, and Wan2.2 as it fits
on common machines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rewardfl_app.config import devices
from rewardfl_app.config.problems import ConfigError, Problem, suggestion
from rewardfl_app.config.schema import Config

Sections = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Preset:
    """`title`: a few words. `text`: for whom it is, a sentence. `sections`: what differs from the defaults.

    `for_one_process`: what is otherwise where its processes would have to share a GPU or a processor.
    """

    title: str
    text: str
    sections: Sections
    for_one_process: Sections = field(default_factory=dict)


def _changed(base: Sections, **sections: dict[str, Any]) -> Sections:
    """A copy with other values of some fields."""
    return {name: {**base.get(name, {}), **sections.get(name, {})} for name in {**base, **sections}}


# The embedded model on two CPU cores: small videos, float32, a visibly steadier face within minutes. A video has too
# few tokens to keep two threads busy: two processes of one thread each take half the time of one process of two.
_POCKET: Sections = {
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
        "keep_graphs": 4,
    },
    "reward": {"kl_weight": 5.0, "kl_steps": "expert", "det_size": 96},
    "lora": {"lora_base_model": "dit2", "lora_rank": 16},
    "train": {
        "learning_rate": 5e-4,
        "lr_scheduler_type": "constant_with_warmup",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "train_batch_size": 2,
        "warmup_steps": 5,
        "max_steps": 50,
        "save_steps": 25,
    },
    "evaluation": {"eval_steps": 25, "num_samples": 12, "batch_size": 4},
    "deepspeed": {"zero_stage": 0, "offload_optimizer": False, "num_processes": 2},
}
_POCKET_ALONE: Sections = {"train": {"per_device_train_batch_size": 2}, "deepspeed": {"num_processes": 1}}

# The reference example: eight GPUs, one video each. The paths of the weights, the face pack and the clips are yours to
# give.
_REFERENCE: Sections = {
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
}

# One expert at a time on the device: the steps of the high-noise expert are computed once per clip and noise and kept.
_KEPT_PREFIX = {"prefix_seeds": 4}
_WIDE = {"height": 480, "width": 832, "max_pixels": 480 * 832}
_ONE_GPU = {"num_processes": 1}
_80GB = _changed(
    _REFERENCE,
    data=_WIDE,
    sampling=_KEPT_PREFIX,
    train={"gradient_accumulation_steps": 8},
    evaluation={"batch_size": 1},
    deepspeed=_ONE_GPU,
)

PRESETS = {
    "pocket": Preset(
        "Pocket",
        "The embedded models on two CPU cores: a visibly steadier face within minutes.",
        _POCKET,
        _POCKET_ALONE,
    ),
    "wan22_i2v_a14b": Preset(
        "Wan2.2-I2V-A14B, as the reference",
        "The reference example: eight GPUs, both experts in memory, the size of each clip up to 480 x 480 pixels.",
        _REFERENCE,
    ),
    "wan22_5b_24gb": Preset(
        "Wan2.2-TI2V-5B, one card of 24 GB",
        "One network of 5 billion parameters; 49 frames of 384 x 384.",
        _changed(
            _REFERENCE,
            model={
                "model_name": "wan2_2_5b",
                "trainable_models": "dit",
                "min_timestep_boundary": 0.0,
            },
            data={"num_frames": 49, "height": 384, "width": 384, "max_pixels": 384 * 384, "fps": 24},
            sampling={"decode_chunk": 2},
            lora={"lora_base_model": "dit"},
            train={"gradient_accumulation_steps": 8},
            evaluation={"batch_size": 1},
            deepspeed=_ONE_GPU,
        ),
    ),
    "wan22_80gb": Preset(
        "Wan2.2-I2V-A14B, one card of 80 GB",
        "The low-noise expert alone in memory; 81 frames of 480 x 832, eight videos an update, one at a time.",
        _80GB,
    ),
    "wan22_141gb": Preset(
        "Wan2.2-I2V-A14B, one card of 141 GB",
        "As on 80 GB, with two videos at a time.",
        _changed(
            _80GB,
            train={"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
            evaluation={"batch_size": 2},
        ),
    ),
    "wan22_8x80gb": Preset(
        "Wan2.2-I2V-A14B, eight cards of 80 GB",
        "81 frames of 480 x 832, 16 videos an update.",
        _changed(
            _80GB,
            train={"gradient_accumulation_steps": 2, "train_batch_size": 16},
            deepspeed={"num_processes": 8},
        ),
    ),
    "wan22_two_nodes": Preset(
        "Wan2.2-I2V-A14B, two machines of eight cards",
        "81 frames of 480 x 832, 32 videos an update; the machines are named in hosts.txt (see the README).",
        _changed(
            _80GB,
            train={"gradient_accumulation_steps": 2, "train_batch_size": 32},
            deepspeed={"num_processes": 16, "hostfile": "hosts.txt"},
        ),
    ),
}


def names() -> list[str]:
    """The names of the presets."""
    return list(PRESETS)


def preset(name: str) -> Config:
    """The preset of this name, as it is on this machine. Raises ConfigError, naming the nearest one, when there is
    none.

    A preset may still lack paths that only its user knows: `validation.problems` tells which.
    """
    if name not in PRESETS:
        raise ConfigError([Problem("", f"There is no preset {name}{suggestion(name, names())}")])
    chosen = PRESETS[name]
    alone = chosen.for_one_process if devices.visible_gpus() or devices.num_processors() == 1 else {}
    return Config.model_validate(_changed(chosen.sections, **alone))
