"""What is different here from ROLL's Reward FL, for one imported file: what its settings alone do not tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rewardfl_app.config import roll_keys as keys
from rewardfl_app.config.roll_keys import Remark
from rewardfl_app.config.schema import Config

# What holds for every file.
_ALWAYS = (
    Remark(
        "faces",
        "reward.roll_compatible is on, so the reward sees faces as ROLL did: BGR for the recogniser, pixels / 127.5 "
        "for the detector, a crop a little off scale, the largest face of a frame, frame 0 included. Off, it follows "
        "insightface: RGB, (pixels - 127.5) / 128, every person, without frame 0.",
    ),
    Remark("no face", "ROLL ended at a video without a face; here it gives no gradient and is counted."),
    Remark(
        "saturated pixels",
        "ROLL clamped the decoded video to [-1, 1] before it was scored, so pixels beyond had no gradient; here they "
        "have one.",
    ),
    Remark(
        "decoding",
        "ROLL decoded overlapping tiles of the picture; here the picture is decoded whole, a few latent frames at a "
        "time (sampling.decode_chunk).",
    ),
    Remark(
        "precision",
        "ROLL rounded the latent to bfloat16 after every step, and the reward in the loss; here both stay in float32.",
    ),
    Remark(
        "noise",
        "ROLL began every video of every update from the same noise (seed 24 in its code); here each has its own, from "
        "train.seed, update and sample, and a resumed run repeats it.",
    ),
    Remark("order of the clips", "ROLL took the rows as they stand in the CSV; here every pass over them is shuffled."),
    Remark(
        "length of the clips",
        "ROLL took clips of fewer than 81 frames as they are; here every clip needs data.num_frames frames.",
    ),
    Remark(
        "evaluation",
        "ROLL measured nothing but the training; here evaluation.num_samples videos are rendered before the first "
        "update and every evaluation.eval_steps updates.",
    ),
    Remark(
        "checkpoints",
        "ROLL saved the trained weights alone, as diffusion_module.pth; here a checkpoint has them as safetensors that "
        "diffusers loads, and all that is needed to go on.",
    ),
)
_KEPT = ("constant", "constant_with_warmup")


def differences(config: Config, given: dict[str, Any]) -> Iterator[Remark]:
    """What is different for this file; `given`: the values of the keys that it has."""
    yield from _version(config)
    if config.model.model_paths:
        yield Remark(
            keys.MODEL_PATHS,
            "ROLL recognised the weights by their content; here the JSON file lists four entries in this order: "
            "high-noise model, low-noise model, text encoder, VAE. Relative entries are relative to that file, not to "
            "the folder the run is started from.",
        )
    yield from _batches(config, given)
    yield from _course(config, given)
    yield from _devices(config, given)
    if config.sampling.final_timestep < config.sampling.num_inference_steps - 1:
        yield Remark(
            f"{keys.MODEL}.final_timestep",
            "ROLL decoded the still noisy latent when it stopped before the last step; here the clean video that the "
            "step predicts is decoded.",
        )
    yield Remark(
        keys.RESUME,
        "A run is not continued by a setting here: `resume RUN` goes on from its last checkpoint with the same updates "
        "as if it had not been interrupted; the imported file starts from the base model.",
    )
    yield from _ALWAYS


def _version(config: Config) -> Iterator[Remark]:
    if config.lora.lora_base_model == ("none",):
        trained = ",".join(config.model.trainable_models)
        yield Remark(
            keys.LORA_BASE,
            f"It is empty or not there, so this is a file of ROLL's first version: all weights of {trained} train, "
            "with reward_weight 0.01 and without a divergence, under which a face tends to freeze. Here they train in "
            "float32, which needs far more memory than a LoRA. Its later recipe: "
            f"lora.lora_base_model={trained} reward.reward_weight=0.1 reward.kl_weight=1.",
        )
    else:
        yield Remark(
            "divergence",
            "reward.kl_through_x is on, because ROLL's divergence also sent its gradient through the latent that "
            "enters a step; off is the textbook form.",
        )


def _batches(config: Config, given: dict[str, Any]) -> Iterator[Remark]:
    if config.train.per_device_train_batch_size > 1:
        yield Remark(
            f"{keys.TRAINING}.per_device_train_batch_size",
            "ROLL trained on the first sample of each batch of a device and passed over the others; here every sample "
            "is used.",
        )
    if keys.EPOCHS in given and given[keys.EPOCHS] != config.train.num_train_epochs:
        yield Remark(
            keys.EPOCHS,
            f"ROLL made {given[keys.EPOCHS]} passes over the data, up to max_steps updates; here train.max_steps alone "
            "ends a run, and train.num_train_epochs, the updates for the same samples, is 1 as it was there.",
        )


def _course(config: Config, given: dict[str, Any]) -> Iterator[Remark]:
    processes = config.deepspeed.num_processes
    if config.train.lr_scheduler_type not in _KEPT and processes > 1:
        yield Remark(
            f"{keys.TRAINING}.lr_scheduler_type",
            f"ROLL's course of the learning rate ended after max_steps / {processes} updates, because it divided "
            "max_steps by the number of devices; here it extends over all of train.max_steps.",
        )
    for key, here in keys.BETAS.items():
        if key in given and given[key] != here:
            yield Remark(key, f"AdamW has {here} here, and there is no setting for it.")


def _devices(config: Config, given: dict[str, Any]) -> Iterator[Remark]:
    stage = config.deepspeed.zero_stage
    if stage == 0:
        yield Remark(keys.STRATEGY_CONFIG, "ROLL refused to train with ZeRO 0; here it trains.")
    if stage == 3:
        yield Remark(keys.STRATEGY_CONFIG, "ROLL's Reward FL could not save with ZeRO 3; here it saves.")
    if isinstance(given.get(keys.STRATEGY_CONFIG), dict):
        fp16 = given[keys.STRATEGY_CONFIG].get("fp16")
        if isinstance(fp16, dict) and fp16.get("enabled") is True:
            yield Remark(f"{keys.STRATEGY_CONFIG}.fp16", "There is no float16 here: the networks run in bfloat16.")
