"""The keys that ROLL's Reward FL read, what it took where one was left out, and what it had as constants in its code.

By the code of `roll.pipeline.diffusion.reward_fl` before its removal in v0.3.0. There were two versions of it: the
first trained all weights of the networks in trainable_models on the reward alone; the second has a LoRA
(`lora_base_model`) and the divergence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MODEL = "actor_train.model_args.model_config_kwargs"
TRAINING = "actor_train.training_args"
DATA = "actor_train.data_args"
STRATEGY = "actor_train.strategy_args"

LORA_BASE = f"{MODEL}.lora_base_model"
TRAINABLE = f"{MODEL}.trainable_models"
MODEL_NAME = f"{MODEL}.model_name"
MODEL_TYPE = "actor_train.model_args.model_type"
MODEL_PATHS = f"{MODEL}.model_paths"
DEVICES = "actor_train.device_mapping"
STRATEGY_NAME = f"{STRATEGY}.strategy_name"
STRATEGY_CONFIG = f"{STRATEGY}.strategy_config"
EPOCHS = f"{TRAINING}.num_train_epochs"
WARMUP_RATIO = f"{TRAINING}.warmup_ratio"
CHECKPOINTS_KEPT = "max_ckpt_to_keep"
RESUME = "resume_from_checkpoint"
BETAS = {f"{TRAINING}.adam_beta1": 0.9, f"{TRAINING}.adam_beta2": 0.999}  # read; those of AdamW here are fixed
BOUNDARIES = {f"{MODEL}.{end}_timestep_boundary": f"model.{end}_timestep_boundary" for end in ("min", "max")}

DEEPSPEED = "deepspeed_"  # how the names of ROLL's DeepSpeed configurations begin
DIFFUSION_STRATEGIES = ("diffusion_deepspeed_train", "deepspeed_train")
BOUNDARY = 0.9


@dataclass(frozen=True)
class Remark:
    """A key of the imported file, or a subject, and what there is to say on it."""

    key: str
    sentence: str


@dataclass(frozen=True)
class Key:
    """A key that ROLL read, and the setting of the same meaning here.

    `default`: what ROLL took where the key was left out. `nullable`: whether null had a meaning there.
    """

    theirs: str
    ours: str
    default: Any = None
    nullable: bool = False


KEYS = (
    Key(MODEL_NAME, "model.model_name"),
    Key(MODEL_PATHS, "model.model_paths", nullable=True),
    Key(f"{MODEL}.model_id_with_origin_paths", "model.model_id_with_origin_paths", nullable=True),
    Key(f"{MODEL}.tokenizer_path", "model.tokenizer_path", "", nullable=True),
    Key(TRAINABLE, "model.trainable_models", "", nullable=True),
    Key(f"{MODEL}.extra_inputs", "model.extra_inputs", "", nullable=True),
    Key(f"{MODEL}.use_gradient_checkpointing", "model.use_gradient_checkpointing", True),
    Key(f"{MODEL}.use_gradient_checkpointing_offload", "model.use_gradient_checkpointing_offload", False),
    Key(f"{DATA}.file_name", "data.metadata_path", nullable=True),
    Key(f"{MODEL}.num_inference_steps", "sampling.num_inference_steps", 8),
    Key(f"{MODEL}.mid_timestep", "sampling.mid_timestep", 4),
    Key(f"{MODEL}.final_timestep", "sampling.final_timestep", 7),
    Key(f"{MODEL}.reward_model_path", "reward.reward_model_path", nullable=True),
    Key(LORA_BASE, "lora.lora_base_model", "none", nullable=True),
    Key(f"{TRAINING}.learning_rate", "train.learning_rate", 5e-5),
    Key(f"{TRAINING}.lr_scheduler_type", "train.lr_scheduler_type", "linear"),
    Key(f"{TRAINING}.per_device_train_batch_size", "train.per_device_train_batch_size", 8),
    Key(f"{TRAINING}.gradient_accumulation_steps", "train.gradient_accumulation_steps", 1),
    Key("train_batch_size", "train.train_batch_size", 8),
    Key(f"{TRAINING}.warmup_steps", "train.warmup_steps", 0),
    Key(f"{TRAINING}.weight_decay", "train.weight_decay", 0.0),
    Key("max_steps", "train.max_steps", 500),
    Key("max_grad_norm", "train.max_grad_norm", 1.0),
    Key("save_steps", "train.save_steps", 50),
    Key("seed", "train.seed", 42),
    Key("actor_train.backend_timeout", "deepspeed.timeout_minutes", 30),
)
# Read by the second version alone.
LORA_KEYS = (
    Key(f"{MODEL}.lora_target_modules", "lora.lora_target_modules", "q,k,v,o,ffn.0,ffn.2"),
    Key(f"{MODEL}.lora_rank", "lora.lora_rank", 32),
)
# Every key that an import reads.
READ = frozenset(
    {key.theirs for key in (*KEYS, *LORA_KEYS)}
    | {DEVICES, STRATEGY_CONFIG, STRATEGY_NAME, MODEL_TYPE, EPOCHS, WARMUP_RATIO, CHECKPOINTS_KEPT, RESUME, *BETAS}
)
PATHS = ("model.model_paths", "model.tokenizer_path", "reward.reward_model_path", "data.metadata_path")

CONSTANTS: dict[str, Any] = {
    "model.dtype": "bfloat16",
    "model.max_timestep_boundary": 1.0,
    "model.min_timestep_boundary": BOUNDARY,
    "data.num_frames": 81,
    "data.max_pixels": 480 * 480,
    "sampling.shift": 5.0,
    "reward.roll_compatible": True,
    "reward.reward_mean": 0.54,
    "reward.reward_std": 0.16,
    "reward.det_size": 640,
    "reward.det_threshold": 0.5,
    "reward.nms_threshold": 0.4,
}
FIRST_VERSION: dict[str, Any] = {"reward.reward_weight": 0.01, "reward.kl_weight": 0.0}
SECOND_VERSION: dict[str, Any] = {
    "reward.reward_weight": 0.1,
    "reward.kl_weight": 1.0,
    "reward.kl_steps": "gradient",
    "reward.kl_through_x": True,
}
