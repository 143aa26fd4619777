"""How videos are sampled and which steps carry the gradient: the section `sampling`."""

from __future__ import annotations

from typing import Literal

from rewardfl_app.config.section import Section
from rewardfl_app.config.section import field as _field


class SamplingConfig(Section):
    """The denoising steps and which of them carry the gradient."""

    num_inference_steps: int = _field(
        8, "Denoising steps per video; 4 or 8 for the distilled Wan2.2 (Lightning).", level="basic", ge=1, le=1000
    )
    shift: float = _field(
        5.0,
        "Timestep shift s of the noise grid: sigma = s u / (1 + (s-1) u) with u = 1 - step/num_inference_steps. 5 is "
        "Wan2.2-Lightning's.",
        gt=0.0,
    )
    mid_timestep: int = _field(
        4,
        "First step that carries the gradient: a step index from 0. Steps before it run without gradient.",
        level="basic",
        ge=0,
        le=999,
    )
    final_timestep: int = _field(
        7,
        "Last step that runs and carries the gradient: a step index, at most num_inference_steps - 1. If sampling "
        "stops earlier, the predicted clean video of that step is decoded.",
        level="basic",
        ge=0,
        le=999,
    )
    gradient_decay: float = _field(
        1.0,
        "How much of the gradient flows on from one step to the step before it, 0 to 1. 1 is the exact gradient "
        "(DRaFT-K), 0 treats each step's input as a constant (DRTune); has no effect with a single gradient step.",
        ge=0.0,
        le=1.0,
    )
    gradient_mode: Literal["last_k", "random_k", "random_steps", "draft_lv", "refl"] = _field(
        "last_k",
        "Which of the steps from mid_timestep to final_timestep carry the gradient in an update. `last_k`: all "
        "(DRaFT-K). `random_k`: the last few, their number drawn evenly. `random_steps`: num_gradient_steps of them, "
        "step i drawn in proportion to (i+1)^2, the others passed over. `draft_lv`: the last alone, on num_renoised "
        "noisings of the finished video (DRaFT-LV). `refl`: one drawn step, whose clean prediction is scored (ReFL).",
    )
    num_gradient_steps: int = _field(
        2, "Steps that carry the gradient in an update when gradient_mode is `random_steps`.", ge=1
    )
    num_renoised: int = _field(
        2, "Noisings of the finished video that are averaged when gradient_mode is `draft_lv`.", ge=1
    )
    keep_graphs: int = _field(
        0,
        "How many of the steps that carry the gradient, counted from the last, keep their graph from sampling on "
        "instead of running again for it: a forward pass less for each, but the memory of its graph until it is pulled "
        "back. Has no effect when gradient_mode is `draft_lv`.",
        ge=0,
    )
    prefix_seeds: int = _field(
        0,
        "Noises per clip whose frozen leading steps (those before a network that trains) are computed once and kept, "
        "so that the high-noise expert, the text encoder and the VAE's encoder need not stay in memory. 0: fresh "
        "noise for every video, nothing kept.",
        ge=0,
    )
    decode_chunk: int | None = _field(
        4,
        "Latent frames (of 4 video frames each) that are decoded at a time for the gradient, so that memory does not "
        "grow with the length of the video. Empty: the whole video at once, which is faster for short ones.",
        applies="live",
        ge=1,
    )
    decode_region: bool = _field(
        False,
        "Carry the gradient through the decoder only around the faces: less time and memory, not exact (see "
        "`bench gradients`).",
    )
    decode_margin: float = _field(
        0.5,
        "Room left around the faces on each side when decode_region is on, as a share of the faces' box.",
        ge=0.0,
    )
