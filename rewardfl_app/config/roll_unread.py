"""The keys of a ROLL file that changed nothing in the training there, or need nothing here, and what they were for."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from rewardfl_app.config import roll_keys
from rewardfl_app.config.roll_keys import Remark

_RECORDS = "It says where ROLL wrote its records; a run here has a folder of its own, whose place is --runs-dir."
_TRACKER = "It is for ROLL's tracker; here every number stands in the run folder and on the page."
_UNREAD = "Reward FL did not read it."
_LANGUAGE = "It is for ROLL's language models; Reward FL did not read it."
_PROCESSES = "It is for ROLL's own processes; the launcher here needs no such setting."
_VARIABLES = "It sets environment variables of ROLL's processes; set those that you need before you start the run."
_SIZE = "ROLL always took up to 81 frames of up to 480 x 480 pixels; set {ours} in the imported file for another size."
_SCALE = "ROLL gave the LoRA a scale of 1 whatever it said; set lora.lora_alpha in the imported file for another."

# What ROLL did with keys that it did not know, by the beginning of their names.
UNKNOWN: dict[str, str] = {
    roll_keys.MODEL: "ROLL's model took it and read it nowhere.",
    roll_keys.TRAINING: _UNREAD,
    roll_keys.DATA: "Reward FL read file_name alone.",
    roll_keys.STRATEGY: _UNREAD,
    "actor_train.model_args": _LANGUAGE,
    "": "ROLL knew no such key and dropped it.",
}

# What other keys were for, with everything in them.
WITHOUT_EFFECT: dict[str, str] = {
    roll_keys.MODEL_TYPE: "It chose the diffusion model among ROLL's kinds; there is no other kind here.",
    roll_keys.STRATEGY_NAME: "It chose DeepSpeed; every training here goes through it.",
    "actor_train.model_args.dtype": "ROLL loaded and ran the networks in bfloat16 whatever it said, and so does the "
    "imported file.",
    "actor_train.model_args.disable_gradient_checkpointing": "ROLL's diffusion model read use_gradient_checkpointing.",
    f"{roll_keys.MODEL}.lora_alpha": _SCALE,
    **{key.theirs: "ROLL made no LoRA without lora_base_model." for key in roll_keys.LORA_KEYS},
    f"{roll_keys.DATA}.num_frames": _SIZE.format(ours="data.num_frames"),
    f"{roll_keys.DATA}.height": _SIZE.format(ours="data.height and data.width"),
    f"{roll_keys.DATA}.width": _SIZE.format(ours="data.height and data.width"),
    f"{roll_keys.DATA}.max_pixels": _SIZE.format(ours="data.max_pixels"),
    f"{roll_keys.DATA}.preprocessing_num_workers": "Reward FL read its clips in one process.",
    f"{roll_keys.TRAINING}.max_grad_norm": "ROLL read max_grad_norm of the top level.",
    f"{roll_keys.TRAINING}.max_steps": "ROLL overwrote it with max_steps of the top level.",
    f"{roll_keys.TRAINING}.seed": "ROLL overwrote it with seed of the top level.",
    f"{roll_keys.TRAINING}.save_steps": "ROLL read save_steps of the top level.",
    f"{roll_keys.TRAINING}.lr_scheduler_kwargs": "ROLL did not pass it on to the course of the learning rate.",
    f"{roll_keys.TRAINING}.bf16": "ROLL set it by itself; the imported file runs in bfloat16, too.",
    f"{roll_keys.TRAINING}.output_dir": _RECORDS,
    f"{roll_keys.TRAINING}.logging_dir": _RECORDS,
    f"{roll_keys.TRAINING}.logging_steps": _TRACKER,
    "actor_train.system_envs": _VARIABLES,
    "actor_train.world_size": "ROLL overwrote it with the number of devices in device_mapping.",
    "actor_train.name": _PROCESSES,
    "actor_train.worker_cls": _PROCESSES,
    "actor_train.num_gpus_per_worker": "ROLL's DeepSpeed always took one device per worker.",
    "actor_train.max_concurrency": _PROCESSES,
    "actor_train.infer_batch_size": _LANGUAGE,
    "actor_train.generating_args": _LANGUAGE,
    "actor_infer": "Reward FL had actor_train alone.",
    "reference": "Reward FL had actor_train alone.",
    "hydra": "It is for Hydra itself.",
    "exp_name": "It names ROLL's records; --name names a run here.",
    "logging_dir": _RECORDS,
    "output_dir": _RECORDS,
    "base_dir": _RECORDS,
    "render_save_dir": _RECORDS,
    "rollout_dump_dir": _RECORDS,
    "checkpoint_config": "It says where ROLL put its checkpoints; here they lie in the run folder.",
    "profiler_output_dir": _RECORDS,
    "length_profiler_dir": _RECORDS,
    "profiler_timeline": _TRACKER,
    "profiler_memory": _TRACKER,
    "report_length_and_rewards": _TRACKER,
    "track_with": _TRACKER,
    "tracker_kwargs": _TRACKER,
    "logging_steps": _TRACKER,
    "eval_steps": "Reward FL made no evaluation; here one is made every evaluation.eval_steps updates.",
    "system_envs": _VARIABLES,
    "num_gpus_per_node": "ROLL counted the devices itself; here it tells whether device_mapping needs more machines.",
    "num_nodes": "ROLL counted the machines by itself, from device_mapping.",
    "rpc_timeout": _PROCESSES,
    "local_rank": _PROCESSES,
    "is_offload_states": "Reward FL turned it off in its code.",
    "is_offload_optimizer_states_in_train_step": "Reward FL turned it off in its code.",
    "model_download_type": "Reward FL did not download by it.",
    "global_template": _LANGUAGE,
    "pretrain": _LANGUAGE,
    "reward_pretrain": _LANGUAGE,
    "sequence_length": "ROLL wanted it to be there, for its language models; Reward FL did not read it.",
    "prompt_length": _LANGUAGE,
    "response_length": _LANGUAGE,
    "val_prompt_length": _LANGUAGE,
    "val_sequence_length": _LANGUAGE,
    "rollout_batch_size": _LANGUAGE,
    "val_batch_size": _LANGUAGE,
    "max_running_requests": _LANGUAGE,
}


def remarks(given: Mapping[str, Any], listed: Collection[str]) -> Iterator[Remark]:
    """One remark on every key of a file that is in no list yet; DeepSpeed's configurations are told together."""
    for key, value in given.items():
        if key in listed or key.startswith(roll_keys.DEEPSPEED):
            continue
        if key in roll_keys.BOUNDARIES:
            yield Remark(key, _boundary(key, value))
        elif key in roll_keys.READ and key not in WITHOUT_EFFECT:
            yield Remark(key, "It is empty, or what holds here anyway.")
        else:
            yield Remark(key, WITHOUT_EFFECT.get(key) or _unknown(key))


def _boundary(key: str, value: Any) -> str:
    ours = roll_keys.BOUNDARIES[key]
    constant = roll_keys.CONSTANTS[ours]
    sentence = f"ROLL read it and switched networks at {roll_keys.BOUNDARY} all the same"
    if isinstance(value, int | float) and value != constant:
        sentence += f"; {ours} is {constant} in the imported file, set it to {value} to have what this says"
    return f"{sentence}."


def _unknown(key: str) -> str:
    """What ROLL did with a key that it did not know, and which one may be meant."""
    section, _, name = key.rpartition(".")
    known = [full.rpartition(".") for full in roll_keys.READ]
    close = difflib.get_close_matches(name, [own for above, _, own in known if above == section], 1, 0.8)
    start = next(start for start in UNKNOWN if not start or key.startswith(f"{start}."))
    return UNKNOWN[start] + (f" Did you mean {close[0]}?" if close else "")
