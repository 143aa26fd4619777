"""A LoRA that belongs to the base model of an expert, such as Wan2.2-Lightning's: merged into its weights, or kept
beside them under an adapter name of its own.

It is there wherever the expert is: in training, in the reference of the divergence, in everything that renders. What
is trained on top is another adapter (see `lora`), and that one alone is ever switched off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn

from rewardfl_app.config.schema import DIFFUSERS_NAME
from rewardfl_app.models import lora_file
from rewardfl_app.models.lora_file import PEFT_SETTINGS
from rewardfl_app.models.lora_formats import LoraTensors, LowRank
from rewardfl_app.runs import content

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

    from rewardfl_app.config.schema import Expert, ModelConfig

ADAPTER = "frozen"


@dataclass(frozen=True)
class FrozenLora:
    """The file that a configuration names for an expert, how strong it is and whether it is merged."""

    expert: Expert
    path: Path
    strength: float
    merged: bool

    def content(self) -> list[object]:
        """What the expert's results depend on."""
        files = [self.path, *([settings] if (settings := self.path.parent / PEFT_SETTINGS).is_file() else [])]
        return [*(content.file_digest(file) for file in files), self.strength, self.merged]

    def read(self) -> LoraTensors:
        """What is in the file. Raises WeightsError naming the file, and the key that is wrong."""
        return lora_file.read(self.path, f"model.{self.expert}_lora: {self.path}", f"{DIFFUSERS_NAME[self.expert]}.")


def of(model: ModelConfig, expert: Expert) -> FrozenLora | None:
    """The LoRA that a configuration puts on an expert for good; None without one."""
    paths = {"high_noise": model.high_noise_lora, "low_noise": model.low_noise_lora}
    path = paths[expert]
    return FrozenLora(expert, Path(path), model.frozen_lora_strength, model.fuse_frozen_lora) if path else None


def put_on(network: WanTransformer3DModel, lora: LoraTensors, strength: float, merged: bool) -> None:
    """Puts a LoRA on a frozen network that has none.

    Merged: added in float32 to each weight, which keeps its type. Kept: computed beside the linear layers, in their
    type; differences of whole parameters, and what belongs to other layers, are added to the weights all the same.
    Raises WeightsError for a file of another model.
    """
    parameters = dict(network.named_parameters())
    lora.check({name: parameter.shape for name, parameter in parameters.items()})
    beside = [] if merged else [name for name in lora.layers if isinstance(network.get_submodule(name), nn.Linear)]
    added = LoraTensors(
        {name: low for name, low in lora.layers.items() if name not in set(beside)}, lora.differences, lora.place
    )
    for name in added.changed():
        parameter = parameters[name]
        parameter.data = added.add_to(name, parameter.data.float(), strength).to(parameter.dtype)
    if beside:
        _keep(network, {name: lora.layers[name] for name in beside}, strength)


def _keep(network: WanTransformer3DModel, layers: Mapping[str, LowRank], strength: float) -> None:
    most = max(low.rank for low in layers.values())
    config = LoraConfig(
        r=most,
        target_modules=list(layers),
        rank_pattern={name: low.rank for name, low in layers.items() if low.rank != most},
    )
    with torch.random.fork_rng(devices=[]):  # PEFT draws first values, which nobody sees
        network.add_adapter(config, adapter_name=ADAPTER)
    for name, low in layers.items():
        layer = network.get_submodule(name)
        assert isinstance(layer, LoraLayer)
        layer.lora_A[ADAPTER].weight.data.copy_(low.down)
        layer.lora_B[ADAPTER].weight.data.copy_(low.up)
        layer.scaling[ADAPTER] = low.scale * strength
    network.requires_grad_(False)
