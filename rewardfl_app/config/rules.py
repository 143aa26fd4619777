"""The rules between fields. Each rule yields what is wrong, in the words of the person who set it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from rewardfl_app.config import family, learning_rates, paths, schedule, spreading
from rewardfl_app.config.problems import Problem, suggestion
from rewardfl_app.config.schema import EXPERT_OF_TRAINABLE, FACE_SIMILARITY, Config, Expert
from rewardfl_app.config.secrets import holds_token

Rule = Callable[[Config], Iterator[Problem]]

_OWN_REWARD = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
LORA_TARGETS = ("q", "k", "v", "o", "ffn.0", "ffn.2")
_REFUSED_TRAINABLE = {
    "vae": "the VAE turns latents into the scored pixels, so training it would raise the reward without a better video",
    "text_encoder": "the text encoder runs once per prompt, outside of the steps that carry the gradient",
}
_EXPERT_WORD: dict[Expert, str] = {"high_noise": "high-noise expert", "low_noise": "low-noise expert"}


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
            f"All weights of the {_EXPERT_WORD[trained[0]]} train (lora_base_model is none), so its LoRA cannot stay "
            "apart from them: turn this on."
        )
        yield Problem("model.fuse_frozen_lora", message)


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
            f"The LoRA is put on {_listed(base)}, but trainable_models is {_listed(trained)}: name the same in both, "
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


def frames(config: Config) -> Iterator[Problem]:
    """The VAE packs one frame, then four at a time."""
    count = config.data.num_frames
    if count % 4 != 1:
        below = count - (count - 1) % 4
        yield Problem("data.num_frames", f"num_frames must be 4k+1, but it is {count}: use {below} or {below + 4}.")


def size(config: Config) -> Iterator[Problem]:
    """Height and width are whole tokens of the transformer, and given together."""
    height, width = config.data.height, config.data.width
    step = family.of(config.model).size_multiple
    for name, length in (("height", height), ("width", width)):
        if length is not None and length % step:
            below = length - length % step
            near = f"{below} or {below + step}" if below else f"{step}"
            yield Problem(f"data.{name}", f"{name} must be a multiple of {step}, but it is {length}: use {near}.")
    if config.data.max_pixels < step * step:
        message = f"No video of this model has fewer than {step * step} pixels a frame: raise it."
        yield Problem("data.max_pixels", message)
    if (height is None) != (width is None):
        empty = "height" if height is None else "width"
        message = "height and width go together: give both, or leave both empty to follow the clip."
        yield Problem(f"data.{empty}", message)


def step_order(config: Config) -> Iterator[Problem]:
    """The gradient steps are steps of the schedule, first to last."""
    sampling = config.sampling
    first, last, count = sampling.mid_timestep, sampling.final_timestep, sampling.num_inference_steps
    if last >= count:
        message = f"final_timestep is {last}, but the last of {count} steps is step {count - 1}: lower it to that."
        yield Problem("sampling.final_timestep", message)
    if first > last:
        message = f"mid_timestep {first} is above final_timestep {last}, so no step would carry the gradient: lower it."
        yield Problem("sampling.mid_timestep", message)


def step_window(config: Config) -> Iterator[Problem]:
    """The gradient steps run on networks that train, and every network that trains runs on one of them."""
    steps, trained = schedule.gradient_steps(config), schedule.trained_experts(config)
    if not trained or not steps or steps[-1] >= config.sampling.num_inference_steps:
        return  # other rules tell
    experts = schedule.step_experts(config)
    outside = [step for step in steps if experts[step] not in trained]
    if outside:
        field = "sampling.mid_timestep" if steps[0] in outside else "sampling.final_timestep"
        yield Problem(field, _outside(config, steps, outside))
        return
    for name, expert in EXPERT_OF_TRAINABLE.items():
        if expert in trained and not any(experts[step] == expert for step in steps):
            yield Problem(
                "model.trainable_models",
                f"{name} is to be trained, but the {_EXPERT_WORD[expert]} does not run in "
                f"{_span(steps)}: remove {name}, or move mid_timestep.",
            )


def _outside(config: Config, steps: list[int], outside: list[int]) -> str:
    """The sentence on gradient steps that run on a network that does not train."""
    experts, trained = schedule.step_experts(config), schedule.trained_experts(config)
    levels = schedule.sigmas(config.sampling.num_inference_steps, config.sampling.shift)
    runs = ", ".join(
        f"step {step} (sigma {levels[step]:.3f}) runs on the {_EXPERT_WORD[experts[step]]}" for step in outside
    )
    allowed = [step for step, expert in enumerate(experts) if expert in trained]
    if allowed:
        advice = f"keep mid_timestep and final_timestep within {allowed[0]} to {allowed[-1]}"
    else:
        advice = "change num_inference_steps, shift or min_timestep_boundary"
    return (
        f"trainable_models is {_listed(config.model.trainable_models)}, but in {_span(steps)}, "
        f"{runs}: {advice}, or train that network too."
    )


def batch(config: Config) -> Iterator[Problem]:
    """The batch of one update is the product of its parts."""
    train, processes = config.train, config.deepspeed.num_processes
    device, rounds = train.per_device_train_batch_size, train.gradient_accumulation_steps
    shares = config.deepspeed.context_parallel
    if processes % shares:
        return  # another rule tells
    product = device * rounds * processes // shares
    if product != train.train_batch_size:
        shared = f" / context_parallel {shares}" if shares > 1 else ""
        yield Problem(
            "train.train_batch_size",
            f"train_batch_size is {train.train_batch_size}, but per_device_train_batch_size {device} x "
            f"gradient_accumulation_steps {rounds} x num_processes {processes}{shared} = {product}: set "
            f"train_batch_size to {product}, or change the others.",
        )


def roll(config: Config) -> Iterator[Problem]:
    """The reference's reward has none of this project's additions."""
    reward = config.reward
    if not reward.roll_compatible:
        return
    if reward.pool != "mean":
        message = (
            f"The reference implementation's pool is mean, not {reward.pool}: set mean, or turn roll_compatible off."
        )
        yield Problem("reward.pool", message)
    for name, used in (("hinge", reward.hinge), ("missing_face_penalty", reward.missing_face_penalty > 0)):
        if used:
            message = f"The reference implementation has no {name}: turn it off, or turn roll_compatible off."
            yield Problem(f"reward.{name}", message)


def rewards(config: Config) -> Iterator[Problem]:
    """The rewards are named once each, and one of them is trained."""
    field = "reward.rewards"
    names = [name for name, _ in config.reward.rewards]
    for name in names:
        if name != FACE_SIMILARITY and not _OWN_REWARD.fullmatch(name):
            known = suggestion(name, [FACE_SIMILARITY])
            yield Problem(field, f"There is no reward {name or '(without a name)'}{known}")
        elif names.count(name) > 1:
            yield Problem(field, f"The reward {name} is named twice: give it one weight.")
            return
    if not any(weight for _, weight in config.reward.rewards):
        yield Problem(field, f"No reward is trained: give one a weight, for example {FACE_SIMILARITY}.")
    if config.reward.roll_compatible and names != [FACE_SIMILARITY]:
        message = (
            f"The reference implementation has {FACE_SIMILARITY} alone: remove the others, or turn roll_compatible off."
        )
        yield Problem(field, message)


def gradient_mode(config: Config) -> Iterator[Problem]:
    """The random set of gradient steps fits between mid_timestep and final_timestep."""
    sampling, count = config.sampling, len(schedule.gradient_steps(config))
    if sampling.gradient_mode == "random_steps" and sampling.num_gradient_steps > max(count, 1):
        message = (
            f"{sampling.num_gradient_steps} random steps are to carry the gradient, but there are {count} from "
            "mid_timestep to final_timestep: lower it, or lower mid_timestep."
        )
        yield Problem("sampling.num_gradient_steps", message)


def prefix(config: Config) -> Iterator[Problem]:
    """Only steps before the first network that trains are a constant of clip and noise."""
    experts, trained = schedule.step_experts(config), schedule.trained_experts(config)
    if config.sampling.prefix_seeds and trained and experts[0] in trained:
        message = (
            f"The {_EXPERT_WORD[experts[0]]} trains and runs the first step, so no leading steps stay as they are: set "
            "prefix_seeds to 0, or train dit2 alone."
        )
        yield Problem("sampling.prefix_seeds", message)


def region(config: Config) -> Iterator[Problem]:
    """The region around the faces holds all that the face similarity looks at, and nothing else."""
    own = [name for name, weight in config.reward.rewards if weight and name != FACE_SIMILARITY]
    if config.sampling.decode_region and own:
        message = (
            f"The reward {own[0]} looks at whole frames, but only the region around the faces would carry its "
            "gradient: turn decode_region off."
        )
        yield Problem("sampling.decode_region", message)
    if config.sampling.decode_region and config.reward.roll_compatible:
        message = "The crops of roll_compatible depend on the size of the whole frame: turn decode_region off."
        yield Problem("sampling.decode_region", message)


def secrets(config: Config) -> Iterator[Problem]:
    """Settings are copied into every run and passport, so no token or password stands in them."""
    for section, fields in config.model_dump(mode="json").items():
        for name, value in fields.items():
            if isinstance(value, str) and holds_token(value):
                message = (
                    "This holds an access token or a password, which would stand in every copy of the settings: remove "
                    "it, and set an environment variable instead, for Hugging Face HF_TOKEN."
                )
                yield Problem(f"{section}.{name}", message)


def kl_target(config: Config) -> Iterator[Problem]:
    """A weight of zero cannot be raised by a factor."""
    if config.reward.kl_target is not None and config.reward.kl_weight == 0:
        message = "A divergence to hold needs a kl_weight above 0 to start from: set kl_weight, or leave this empty."
        yield Problem("reward.kl_target", message)


def _span(steps: list[int]) -> str:
    return f"gradient steps {steps[0]} to {steps[-1]}" if len(steps) > 1 else f"gradient step {steps[0]}"


def _listed(names: tuple[str, ...]) -> str:
    return ",".join(names) or "empty"


_STEPS = ("sampling.mid_timestep", "sampling.final_timestep", "sampling.num_inference_steps")

# Each rule with the fields it reads.
RULES: list[tuple[tuple[str, ...], Rule]] = [
    (
        (
            "model.model_name",
            "model.model_paths",
            "model.model_id_with_origin_paths",
            "reward.reward_model_path",
            "data.metadata_path",
        ),
        paths.missing_names,
    ),
    (("model.model_id_with_origin_paths",), paths.hub_entries),
    (("model.trainable_models",), trainable),
    (("model.model_name", "model.trainable_models", "model.min_timestep_boundary"), one_network),
    (("model.extra_inputs",), extra_inputs),
    (("model.min_timestep_boundary", "model.max_timestep_boundary"), boundaries),
    (("model.use_gradient_checkpointing", "model.use_gradient_checkpointing_offload"), checkpointing),
    (("model.compile_blocks", "lora.lora_dropout", "deepspeed.zero_stage"), compiled),
    (("data.num_frames",), frames),
    (("data.height", "data.width", "data.max_pixels", "model.model_name"), size),
    (_STEPS, step_order),
    ((*_STEPS, "sampling.shift", "model.min_timestep_boundary", "model.trainable_models"), step_window),
    (("reward.roll_compatible", "reward.pool", "reward.hinge", "reward.missing_face_penalty"), roll),
    (("reward.rewards", "reward.roll_compatible"), rewards),
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
    (
        (
            "train.train_batch_size",
            "train.per_device_train_batch_size",
            "train.gradient_accumulation_steps",
            "deepspeed.num_processes",
            "deepspeed.context_parallel",
        ),
        batch,
    ),
    (("deepspeed.zero_stage", "deepspeed.offload_optimizer", "deepspeed.offload_parameters"), spreading.zero),
    (("deepspeed.devices", "deepspeed.num_processes", "deepspeed.hostfile"), spreading.devices),
    (
        (
            "deepspeed.context_parallel",
            "deepspeed.num_processes",
            "deepspeed.zero_stage",
            "model.model_name",
            "model.attention_backend",
            "model.compile_blocks",
            "lora.lora_dropout",
        ),
        spreading.context,
    ),
    (
        (
            "deepspeed.context_parallel",
            "model.model_name",
            "data.num_frames",
            "data.height",
            "data.width",
        ),
        spreading.tokens,
    ),
    (("sampling.gradient_mode", "sampling.num_gradient_steps", *_STEPS[:2]), gradient_mode),
    (("sampling.prefix_seeds", "model.trainable_models", "sampling.final_timestep"), prefix),
    (("sampling.decode_region", "reward.rewards", "reward.roll_compatible"), region),
    (("reward.kl_target", "reward.kl_weight"), kl_target),
    ((), secrets),
    (("train.lr_scheduler_type", "train.lr_scheduler_kwargs"), learning_rates.options),
]
