"""The rules on the networks: which of them train, their LoRAs, and how their steps are computed."""

from __future__ import annotations

from collections.abc import Iterator

from rewardfl_app.config import family, schedule
from rewardfl_app.config.problems import Problem, Rule, listed, suggestion
from rewardfl_app.config.schema import EXPERT_OF_TRAINABLE, EXPERT_TITLES, Config

LORA_TARGETS = ("q", "k", "v", "o", "ffn.0", "ffn.2")
_REFUSED_TRAINABLE = {
    "vae": "the VAE turns latents into the scored pixels, so training it would raise the reward without a better video",
    "text_encoder": "the text encoder runs once per prompt, outside of the steps that carry the gradient",
}


def trainable(config: Config) -> Iterator[Problem]:
    """trainable_models names networks that can be trained."""
    field = "model.trainable_models"
    if not config.model.trainable_models:
        yield Problem(
            field, "No network is to be trained: name dit2 (low-noise expert), dit (high-noise expert) or both."
        )
    for name in config.model.trainable_models:
        if name in _REFUSED_TRAINABLE:
            reason = _REFUSED_TRAINABLE[name]
            yield Problem(field, f"{name} cannot be trained, because {reason}: name dit, dit2 or both.")
        elif name not in EXPERT_OF_TRAINABLE:
            yield Problem(field, f"There is no network {name}{suggestion(name, list(EXPERT_OF_TRAINABLE))}")


def one_network(config: Config) -> Iterator[Problem]:
    """A family with one transformer runs it at every noise level."""
    kind = family.of(config.model)
    if kind.is_mixture:
        return
    if "dit2" in config.model.trainable_models:
        message = f"{kind.title} has one network, which is called dit: set dit here and in lora_base_model."
        yield Problem("model.trainable_models", message)
    if config.model.min_timestep_boundary > 0:
        message = f"{kind.title} has one network, which runs every step: set this to 0."
        yield Problem("model.min_timestep_boundary", message)


def extra_inputs(config: Config) -> Iterator[Problem]:
    """The first frame is an input; the last frame is not supported."""
    field = "model.extra_inputs"
    for name in config.model.extra_inputs:
        if name == "end_image":
            message = "end_image is not supported yet, videos start from input_image alone: remove end_image."
            yield Problem(field, message)
        elif name != "input_image":
            yield Problem(field, f"There is no extra input {name}{suggestion(name, ['input_image'])}")
    if "input_image" not in config.model.extra_inputs:
        yield Problem(field, "An image-to-video model needs its first frame: add input_image.")


def boundaries(config: Config) -> Iterator[Problem]:
    """The interval of the high-noise expert is not empty and reaches up to where sampling starts."""
    low, high = config.model.min_timestep_boundary, config.model.max_timestep_boundary
    if low >= high:
        message = f"min_timestep_boundary {low:g} must be below max_timestep_boundary {high:g}: lower it."
        yield Problem("model.min_timestep_boundary", message)
    if high < 1.0:
        message = (
            f"Sampling starts at t/1000 = 1, above max_timestep_boundary {high:g}, where no expert runs: set it to 1."
        )
        yield Problem("model.max_timestep_boundary", message)


def checkpointing(config: Config) -> Iterator[Problem]:
    """Only checkpointed activations can be kept in CPU memory."""
    if config.model.use_gradient_checkpointing_offload and not config.model.use_gradient_checkpointing:
        yield Problem(
            "model.use_gradient_checkpointing_offload",
            "There are no checkpointed activations to keep in CPU memory: turn use_gradient_checkpointing on, or this "
            "off.",
        )


def compiled(config: Config) -> Iterator[Problem]:
    """What compiled blocks cannot do, or not in one piece."""
    if not config.model.compile_blocks:
        return
    field = "model.compile_blocks"
    if config.lora.lora_dropout > 0:
        message = "Compiled blocks cannot draw the masks of lora_dropout anew: set lora_dropout to 0, or turn this off."
        yield Problem(field, message)
    if config.deepspeed.zero_stage == 3:
        message = (
            "With zero_stage 3 weights arrive layer by layer, which would cut each block into dozens of pieces: set "
            "zero_stage to 2 or less, or turn this off."
        )
        yield Problem(field, message)


def lora_base(config: Config) -> Iterator[Problem]:
    """The LoRA is put on the networks that train; without any, all their weights train."""
    base, trained = config.lora.lora_base_model, config.model.trainable_models
    if schedule.trains_all_weights(config):
        if config.lora.lora_dropout:
            yield Problem("lora.lora_dropout", "There is no LoRA (lora_base_model is none): set this to 0.")
        if config.model.offload_reference and config.reward.kl_weight == 0:
            message = "Without a divergence (kl_weight is 0) no frozen copy is kept: turn this off, or set kl_weight."
            yield Problem("model.offload_reference", message)
        return
    if set(base) != set(trained):
        yield Problem(
            "lora.lora_base_model",
            f"The LoRA is put on {listed(base)}, but trainable_models is {listed(trained)}: name the same in both, "
            "or none here to train all weights.",
        )
    if config.model.offload_reference:
        message = "With a LoRA there is no second copy of the network to offload: turn this off."
        yield Problem("model.offload_reference", message)


def lora_targets(config: Config) -> Iterator[Problem]:
    """The layers that get the LoRA exist."""
    field = "lora.lora_target_modules"
    if not config.lora.lora_target_modules:
        yield Problem(field, f"No layer gets the LoRA: name some of {', '.join(LORA_TARGETS)}.")
    for name in config.lora.lora_target_modules:
        if name not in LORA_TARGETS:
            yield Problem(field, f"There is no layer {name}{suggestion(name, LORA_TARGETS)}")


def frozen_lora(config: Config) -> Iterator[Problem]:
    """A LoRA of the base model is put on a network that there is, and stays apart only from another LoRA."""
    model, kind = config.model, family.of(config.model)
    if model.low_noise_lora and not kind.is_mixture:
        message = f"{kind.title} has one network, whose LoRA is named in high_noise_lora: leave this empty."
        yield Problem("model.low_noise_lora", message)
    paths_of = {"high_noise": model.high_noise_lora, "low_noise": model.low_noise_lora}
    trained = [expert for expert in schedule.trained_experts(config) if paths_of[expert]]
    if trained and schedule.trains_all_weights(config) and not model.fuse_frozen_lora:
        message = (
            f"All weights of the {EXPERT_TITLES[trained[0]]} train (lora_base_model is none), so its LoRA cannot stay "
            "apart from them: turn this on."
        )
        yield Problem("model.fuse_frozen_lora", message)


RULES: list[tuple[tuple[str, ...], Rule]] = [
    (("model.trainable_models",), trainable),
    (("model.model_name", "model.trainable_models", "model.min_timestep_boundary"), one_network),
    (("model.extra_inputs",), extra_inputs),
    (("model.min_timestep_boundary", "model.max_timestep_boundary"), boundaries),
    (("model.use_gradient_checkpointing", "model.use_gradient_checkpointing_offload"), checkpointing),
    (("model.compile_blocks", "lora.lora_dropout", "deepspeed.zero_stage"), compiled),
    (
        (
            "lora.lora_base_model",
            "model.trainable_models",
            "model.offload_reference",
            "lora.lora_dropout",
            "reward.kl_weight",
        ),
        lora_base,
    ),
    (("lora.lora_target_modules",), lora_targets),
    (
        (
            "model.high_noise_lora",
            "model.low_noise_lora",
            "model.fuse_frozen_lora",
            "model.model_name",
            "model.trainable_models",
            "lora.lora_base_model",
        ),
        frozen_lora,
    ),
]
