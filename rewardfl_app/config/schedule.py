"""The sampling grid in plain Python: noise levels, and which expert runs each step.

Rectified-flow Euler as in Wan2.2-Lightning: u_i = 1 - i/N and sigma_i = s u_i / (1 + (s-1) u_i), with sigma_N = 0. Both
the checks of a configuration and the sampler use this file, so that they cannot disagree.
"""

from __future__ import annotations

from rewardfl_app.config.schema import EXPERT_OF_TRAINABLE, Config, Expert


def sigmas(num_inference_steps: int, shift: float) -> list[float]:
    """The num_inference_steps + 1 noise levels, falling from 1 to 0.

    Entry i is the level before step i, entry i + 1 the level after it.
    """
    if num_inference_steps < 1 or shift <= 0:
        raise ValueError(f"need num_inference_steps >= 1 and shift > 0, got {num_inference_steps} and {shift}")
    levels = []
    for step in range(num_inference_steps):
        u = 1.0 - step / num_inference_steps
        levels.append(shift * u / (shift * u + (1.0 - u)))  # the same fraction, but exactly 1 at u = 1
    return [*levels, 0.0]


def expert_at(sigma: float, boundary: float) -> Expert:
    """The expert that runs at noise level sigma (t/1000, 0 to 1): high noise from the boundary upwards."""
    return "high_noise" if sigma >= boundary else "low_noise"


def experts(num_inference_steps: int, shift: float, boundary: float) -> list[Expert]:
    """The expert of each of the num_inference_steps steps."""
    return [expert_at(sigma, boundary) for sigma in sigmas(num_inference_steps, shift)[:-1]]


def expert_of(step: int, config: Config) -> Expert:
    """The expert that runs step `step` (from 0) of this configuration."""
    return step_experts(config)[step]


def step_experts(config: Config) -> list[Expert]:
    """The expert of every step of this configuration."""
    return experts(config.sampling.num_inference_steps, config.sampling.shift, config.model.min_timestep_boundary)


def gradient_steps(config: Config) -> list[int]:
    """The steps that carry the gradient: mid_timestep to final_timestep, both included."""
    return list(range(config.sampling.mid_timestep, config.sampling.final_timestep + 1))


def trained_experts(config: Config) -> list[Expert]:
    """The experts named in trainable_models, high noise first."""
    return [expert for name, expert in EXPERT_OF_TRAINABLE.items() if name in config.model.trainable_models]


def prefix_length(config: Config) -> int:
    """The number of leading steps that run on networks that do not train: what they give is a constant of clip and
    noise."""
    trained = trained_experts(config)
    return next((i for i, expert in enumerate(step_experts(config)) if expert in trained), 0)


def trains_all_weights(config: Config) -> bool:
    """Whether the networks in trainable_models train whole, without a LoRA."""
    return config.lora.lora_base_model == ("none",)


def kl_steps(config: Config) -> list[int]:
    """The steps on which the divergence from the untrained model is measured (see reward.kl_steps)."""
    if config.reward.kl_steps == "gradient":
        return gradient_steps(config)
    trained = trained_experts(config)
    return [
        i for i, expert in enumerate(step_experts(config)[: config.sampling.final_timestep + 1]) if expert in trained
    ]
