"""The configuration: one documented field per parameter, section by section in the files beside this one.

The page's form, the README's table and `--set` are all made from these declarations. Each field carries a help text
(what it does, its unit and range, where the default comes from) and two hints: `level` says whether the page shows it
at once ("basic") or folded away ("advanced"); `applies` says when a change takes effect: on a running job from its next
update on ("live"), when a run is continued from a checkpoint ("resume"), or in a new run alone ("new"). Defaults are
those of the Wan2.2 reference example; the preset `pocket` overrides what the small model needs.

Rules that hold between fields live in `validation`, so that all of them are reported at once.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardfl_app.config.model_section import DataConfig, ModelConfig
from rewardfl_app.config.reward_section import FACE_SIMILARITY, RewardConfig
from rewardfl_app.config.sampling_section import SamplingConfig
from rewardfl_app.config.section import Section
from rewardfl_app.config.training_section import DeepSpeedConfig, EvaluationConfig, LoraConfig, TrainConfig

__all__ = [
    "DIFFUSERS_NAME",
    "EXPERT_OF_TRAINABLE",
    "EXPERT_TITLES",
    "FACE_SIMILARITY",
    "Config",
    "DataConfig",
    "DeepSpeedConfig",
    "EvaluationConfig",
    "Expert",
    "LoraConfig",
    "ModelConfig",
    "RewardConfig",
    "SamplingConfig",
    "TrainConfig",
]

Expert = Literal["high_noise", "low_noise"]

# What each name in `trainable_models` trains. `vae` and `text_encoder` are known names that validation refuses with a
# reason.
EXPERT_OF_TRAINABLE: dict[str, Expert] = {"dit": "high_noise", "dit2": "low_noise"}
EXPERT_TITLES: dict[Expert, str] = {"high_noise": "high-noise expert", "low_noise": "low-noise expert"}
# The attribute of diffusers' WanImageToVideoPipeline (and the folder of a saved pipeline) that holds each expert.
DIFFUSERS_NAME: dict[Expert, str] = {"high_noise": "transformer", "low_noise": "transformer_2"}


class Config(Section):
    """Everything a run is defined by."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    reward: RewardConfig = Field(default_factory=RewardConfig)
    lora: LoraConfig = Field(default_factory=LoraConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    deepspeed: DeepSpeedConfig = Field(default_factory=DeepSpeedConfig)
