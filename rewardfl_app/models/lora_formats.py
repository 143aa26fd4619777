"""LoRA files of Wan transformers: tensors under the key names of any tool -> what is added to which layer, and back.

Read are diffusers' names (`transformer.blocks.0.attn1.to_q.lora_A.weight`), PEFT's (`base_model.model.blocks.0...`),
ComfyUI's and lightx2v's (`diffusion_model.blocks.0.self_attn.q.lora_down.weight` with `.alpha`, and the full
differences `.diff` of a weight and `.diff_b` of a bias) and musubi's (`lora_unet_blocks_0_self_attn_q.lora_down.weight`
with `.alpha`). A layer's weight gains alpha / rank * up @ down; without an alpha this factor is 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rewardfl_app.models import wan_names
from rewardfl_app.models.sources import WeightsError

DIFFUSERS_PREFIX = "transformer."  # load_lora_weights strips it, for transformer_2 as well
COMFYUI_PREFIX = "diffusion_model."
METADATA_KEY = "lora_adapter_metadata"  # where diffusers looks for rank and alpha, in a file's metadata
_PREFIXES = ("base_model.model.", "model.diffusion_model.", COMFYUI_PREFIX, DIFFUSERS_PREFIX, "transformer_2.")
_FLAT_PREFIX = "lora_unet_"
_UP, _DOWN = ("lora_B", "lora_up"), ("lora_A", "lora_down")
# PEFT puts the adapter's name before `weight` where it saves a whole model.
_MATRIX = re.compile(rf"(.+)\.({'|'.join(_UP + _DOWN)})(?:\.[^.]+)?\.(weight|bias)")
_TABLE = "scale_shift_table"  # a parameter of the network itself, which has no `.weight`


@dataclass(frozen=True)
class LowRank:
    """A layer's weight gains scale * up @ down: up [out, rank], down [rank, in], of a convolution with its kernel
    behind. `key`: what the file calls it, for messages."""

    up: Tensor
    down: Tensor
    scale: float
    key: str

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight it belongs to."""
        return (self.up.shape[0], *self.down.shape[1:])

    def product(self, device: torch.device | str = "cpu") -> Tensor:
        """What the weight gains, float32."""
        up, down = self.up.to(device).float().flatten(1), self.down.to(device).float().flatten(1)
        return (self.scale * (up @ down)).reshape(self.shape)


@dataclass(frozen=True)
class Difference:
    """A parameter gains scale * value. `key`: what the file calls it."""

    value: Tensor
    scale: float
    key: str


@dataclass(frozen=True)
class LoraTensors:
    """A LoRA under diffusers' names: of layers (`blocks.0.attn1.to_q`), and full differences of parameters
    (`blocks.0.attn1.to_q.bias`). `place`: where it was read, for messages."""

    layers: dict[str, LowRank]
    differences: dict[str, Difference]
    place: str

    def check(self, shapes: Mapping[str, Iterable[int]]) -> None:
        """Raises WeightsError for the first key that belongs to none of a network's parameters, whose shapes these
        are, or has another shape."""
        wanted = [(f"{layer}.weight", low.shape, low.key) for layer, low in self.layers.items()]
        wanted += [(name, tuple(each.value.shape), each.key) for name, each in self.differences.items()]
        for name, shape, key in wanted:
            if name not in shapes:
                raise WeightsError(
                    f"{self.place} has the key {key}, which matches no layer of the network: it is of another model"
                )
            if tuple(shapes[name]) != shape:
                raise WeightsError(
                    f"{self.place}: {key} is for a tensor of the shape {list(shape)}, that of the network is "
                    f"{list(shapes[name])}: it is of another model"
                )

    def changed(self) -> list[str]:
        """The parameters that gain something."""
        return sorted({f"{layer}.weight" for layer in self.layers} | set(self.differences))

    def add_to(self, name: str, value: Tensor, strength: float = 1.0) -> Tensor:
        """A parameter's value [...], float32, with `strength` times what it gains."""
        low, full = self.layers.get(name.removesuffix(".weight")), self.differences.get(name)
        if low is not None and name.endswith(".weight"):
            value = value + strength * low.product(value.device)
        if full is not None:
            value = value + strength * full.scale * full.value.to(value.device).float()
        return value


def read(
    tensors: Mapping[str, Tensor], place: str, own: str = DIFFUSERS_PREFIX, settings: Mapping[str, Any] | None = None
) -> LoraTensors:
    """The LoRA in the tensors of a file.

    Args:
        place: how messages name the file.
        own: the prefix that counts in a file that holds both `transformer.` and `transformer_2.`.
        settings: PEFT's, of files that hold no alphas: lora_alpha, alpha_pattern, use_rslora.
    Raises: WeightsError naming the first key that belongs to no LoRA, or has not the tensors it needs beside it.
    """
    ups: dict[str, tuple[str, Tensor]] = {}
    downs: dict[str, tuple[str, Tensor]] = {}
    alphas: dict[str, tuple[str, Tensor]] = {}
    biases: dict[str, tuple[str, Tensor]] = {}
    differences: dict[str, Difference] = {}
    for key, tensor in _of_one_network(tensors, own).items():
        matrix = _MATRIX.fullmatch(key)
        if matrix:
            kept = downs if matrix[2] in _DOWN else ups if matrix[3] == "weight" else biases
            kept[_layer(matrix[1])] = (key, tensor)
        elif key.endswith(".alpha") and tensor.numel() == 1:
            alphas[_layer(key.removesuffix(".alpha"))] = (key, tensor)
        elif key.endswith(".diff"):
            layer = _layer(key.removesuffix(".diff"))
            name = layer if layer.endswith(_TABLE) else f"{layer}.weight"
            differences[name] = Difference(tensor, 1.0, key)
        elif key.endswith(".diff_b"):
            differences[f"{_layer(key.removesuffix('.diff_b'))}.bias"] = Difference(tensor, 1.0, key)
        else:
            raise WeightsError(f"{place} has the key {key}, which is none of a LoRA: name a LoRA file for Wan")
    if not downs and not differences:
        raise WeightsError(f"{place} has no layer of a LoRA: name a LoRA file for Wan")
    for found in (ups, downs, alphas, biases):
        for layer, (key, _) in found.items():
            if layer not in downs or layer not in ups:
                raise WeightsError(f"{place} has the key {key} without the matrices of its layer: copy it again")
    layers = {}
    for layer, (key, down) in downs.items():
        up = ups[layer][1]
        if up.ndim < 2 or down.ndim < 2 or up.flatten(1).shape[1] != down.shape[0] or not down.shape[0]:
            raise WeightsError(
                f"{place}: {key} has the shape {list(down.shape)}, which does not go with {list(up.shape)} of "
                f"{ups[layer][0]}: copy it again"
            )
        rank = down.shape[0]
        try:
            scale = float(alphas[layer][1]) / rank if layer in alphas else _scale(settings or {}, layer, rank)
        except (TypeError, ValueError, AttributeError) as error:
            raise WeightsError(f"{place} has an alpha for {layer} that is no number: copy it again") from error
        layers[layer] = LowRank(up, down, scale, key)
        if layer in biases:
            differences[f"{layer}.bias"] = Difference(biases[layer][1], scale, biases[layer][0])
    return LoraTensors(layers, differences, place)


def to_diffusers(layers: Mapping[str, LowRank]) -> dict[str, Tensor]:
    """Tensors under the names that diffusers' load_lora_weights reads; the alphas stand in the file's metadata."""
    tensors = {}
    for layer, low in layers.items():
        tensors[f"{DIFFUSERS_PREFIX}{layer}.lora_A.weight"] = low.down
        tensors[f"{DIFFUSERS_PREFIX}{layer}.lora_B.weight"] = low.up
    return tensors


def to_comfyui(layers: Mapping[str, LowRank]) -> dict[str, Tensor]:
    """Tensors under ComfyUI's names, with the alphas beside them."""
    tensors = {}
    for layer, low in layers.items():
        name = COMFYUI_PREFIX + wan_names.to_wan(layer)
        tensors[f"{name}.lora_down.weight"] = low.down
        tensors[f"{name}.lora_up.weight"] = low.up
        tensors[f"{name}.alpha"] = torch.tensor(low.scale * low.rank)
    return tensors


def _of_one_network(tensors: Mapping[str, Tensor], own: str) -> Mapping[str, Tensor]:
    both = all(any(key.startswith(prefix) for key in tensors) for prefix in (DIFFUSERS_PREFIX, "transformer_2."))
    return {key: value for key, value in tensors.items() if key.startswith(own)} if both else tensors


def _layer(name: str) -> str:
    """diffusers' name of a layer that a file names in any way; an unknown one keeps its name."""
    if name.startswith(_FLAT_PREFIX):
        return wan_names.from_flat(name.removeprefix(_FLAT_PREFIX))
    prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
    return wan_names.to_diffusers(name.removeprefix(prefix))


def _scale(settings: Mapping[str, Any], layer: str, rank: int) -> float:
    pattern = settings.get("alpha_pattern") or {}
    own = [alpha for name, alpha in pattern.items() if layer == name or layer.endswith(f".{name}")]
    alpha = own[0] if own else settings.get("lora_alpha")
    if alpha is None:
        return 1.0
    return float(alpha) / (rank**0.5 if settings.get("use_rslora") else rank)
