"""The rules on the steps: which of them carry the gradient, on which networks they run, and what is decoded."""

from __future__ import annotations

from collections.abc import Iterator

from rewardfl_app.config import schedule
from rewardfl_app.config.problems import Problem, Rule, listed
from rewardfl_app.config.schema import EXPERT_OF_TRAINABLE, EXPERT_TITLES, FACE_SIMILARITY, Config


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
                f"{name} is to be trained, but the {EXPERT_TITLES[expert]} does not run in "
                f"{_span(steps)}: remove {name}, or move mid_timestep.",
            )


def _outside(config: Config, steps: list[int], outside: list[int]) -> str:
    """The sentence on gradient steps that run on a network that does not train."""
    experts, trained = schedule.step_experts(config), schedule.trained_experts(config)
    levels = schedule.sigmas(config.sampling.num_inference_steps, config.sampling.shift)
    runs = ", ".join(
        f"step {step} (sigma {levels[step]:.3f}) runs on the {EXPERT_TITLES[experts[step]]}" for step in outside
    )
    allowed = [step for step, expert in enumerate(experts) if expert in trained]
    if allowed:
        advice = f"keep mid_timestep and final_timestep within {allowed[0]} to {allowed[-1]}"
    else:
        advice = "change num_inference_steps, shift or min_timestep_boundary"
    return (
        f"trainable_models is {listed(config.model.trainable_models)}, but in {_span(steps)}, "
        f"{runs}: {advice}, or train that network too."
    )


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
            f"The {EXPERT_TITLES[experts[0]]} trains and runs the first step, so no leading steps stay as they are: "
            "set prefix_seeds to 0, or train dit2 alone."
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


def _span(steps: list[int]) -> str:
    return f"gradient steps {steps[0]} to {steps[-1]}" if len(steps) > 1 else f"gradient step {steps[0]}"


_STEPS = ("sampling.mid_timestep", "sampling.final_timestep", "sampling.num_inference_steps")
RULES: list[tuple[tuple[str, ...], Rule]] = [
    (_STEPS, step_order),
    ((*_STEPS, "sampling.shift", "model.min_timestep_boundary", "model.trainable_models"), step_window),
    (("sampling.gradient_mode", "sampling.num_gradient_steps", *_STEPS[:2]), gradient_mode),
    (("sampling.prefix_seeds", "model.trainable_models", "sampling.final_timestep"), prefix),
    (("sampling.decode_region", "reward.rewards", "reward.roll_compatible"), region),
]
