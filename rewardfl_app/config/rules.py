"""The rules between fields. Each rule yields what is wrong, in the words of the person who set it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rewardfl_app.config import family, learning_rates, network_rules, paths, spreading, step_rules
from rewardfl_app.config.problems import Problem, Rule, suggestion
from rewardfl_app.config.schema import FACE_SIMILARITY, Config
from rewardfl_app.config.secrets import holds_token

_OWN_REWARD = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


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


def kl_target(config: Config) -> Iterator[Problem]:
    """A weight of zero cannot be raised by a factor."""
    if config.reward.kl_target is not None and config.reward.kl_weight == 0:
        message = "A divergence to hold needs a kl_weight above 0 to start from: set kl_weight, or leave this empty."
        yield Problem("reward.kl_target", message)


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


# Each rule with the fields it reads.
RULES: list[tuple[tuple[str, ...], Rule]] = [
    *network_rules.RULES,
    *step_rules.RULES,
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
    (("data.num_frames",), frames),
    (("data.height", "data.width", "data.max_pixels", "model.model_name"), size),
    (("reward.roll_compatible", "reward.pool", "reward.hinge", "reward.missing_face_penalty"), roll),
    (("reward.rewards", "reward.roll_compatible"), rewards),
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
    (("reward.kl_target", "reward.kl_weight"), kl_target),
    ((), secrets),
    (("train.lr_scheduler_type", "train.lr_scheduler_kwargs"), learning_rates.options),
]
