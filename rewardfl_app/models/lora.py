"""The LoRA that is trained on an expert: adding, switching off, saving and loading, with PEFT, under diffusers' names.

An adapter that was on the expert before (see `frozen_lora`) belongs to the base: it stays as it is, and stays on.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from rewardfl_app.models.dropout import KeyedDropout, Masks
from rewardfl_app.models.lora_formats import DIFFUSERS_PREFIX as _PREFIX
from rewardfl_app.models.lora_formats import METADATA_KEY as _METADATA_KEY
from rewardfl_app.models.lora_linear import LoraLinear
from rewardfl_app.models.sources import WeightsError
from rewardfl_app.models.tensor_file import open_tensors

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel


ADAPTER = "default"
# Wan's own layer names -> diffusers' names, as endings of module names inside a block
DIFFUSERS_TARGETS = {
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "o": "to_out.0",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
}


def add(expert: WanTransformer3DModel, targets: Sequence[str], rank: int, alpha: float | None, seed: int) -> None:
    """Adds a LoRA that changes nothing yet (its B is zero); A is drawn from `seed`. Trained weights are float32.

    Args:
        targets: Wan's layer names, keys of DIFFUSERS_TARGETS. alpha: None means equal to the rank.
    """
    names = [DIFFUSERS_TARGETS[name] for name in targets]
    lora = LoraConfig(
        r=rank,
        lora_alpha=rank if alpha is None else alpha,  # type: ignore[arg-type]  # PEFT takes any number
        target_modules=names,
        init_lora_weights=True,
    )
    lora._register_custom_module({nn.Linear: LoraLinear})
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # that of the base
        torch.manual_seed(seed)
        expert.add_adapter(lora, adapter_name=ADAPTER)
    for layer in layers(expert):  # PEFT leaves the new adapter on alone
        _switch(layer, on=True)
    for parameter in trainable_parameters(expert):
        parameter.data = parameter.data.float()


def set_dropout(expert: nn.Module, rate: float, masks: Masks) -> None:
    """Leaves out a share `rate` of the inputs of every LoRA layer while `masks` has a key."""
    for place, layer in enumerate(layer for layer in layers(expert) if ADAPTER in layer.lora_A):
        layer.lora_dropout[ADAPTER] = KeyedDropout(rate, place, masks)


def named_parameters(expert: nn.Module) -> dict[str, nn.Parameter]:
    """The LoRA's parameters in a fixed order, under the names that `state_dict` gives them."""
    return {
        _PREFIX + name.replace(f".{ADAPTER}.", "."): parameter
        for name, parameter in sorted(expert.named_parameters())
        if parameter.requires_grad
    }


def trainable_parameters(expert: nn.Module) -> list[nn.Parameter]:
    """The LoRA's parameters in a fixed order."""
    return list(named_parameters(expert).values())


@contextmanager
def disabled(experts: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, the experts compute exactly what they would without their LoRA.

    PEFT's own `enable_adapters(False)` also flips requires_grad of every weight; that must not happen between the
    backward passes of one update, so only the list that `forward` goes through is set.
    """
    with switched_off([layer for expert in experts for layer in layers(expert)]):
        yield


@contextmanager
def switched_off(layers: Sequence[LoraLayer]) -> Iterator[None]:
    """`disabled` for the `layers` of experts, which to find takes as long as a tenth of a small network's step."""
    before = [layer._active_adapter for layer in layers]
    for layer in layers:
        _switch(layer, on=False)
    try:
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer._active_adapter = value


def set_strength(expert: nn.Module, strength: float) -> None:
    """Adds `strength` times what was trained: 1 is the LoRA as it was saved."""
    for layer in layers(expert):
        layer.set_scale(ADAPTER, strength)


def remove(expert: WanTransformer3DModel) -> None:
    """Takes the LoRA off: the expert is as it was before `add`."""
    if len(expert.peft_config) == 1:
        expert.unload_lora()
        return
    expert.delete_adapters(ADAPTER)
    expert.requires_grad_(False)  # PEFT makes what is left trainable


def state_dict(expert: WanTransformer3DModel) -> dict[str, Tensor]:
    """The LoRA's tensors (CPU, contiguous) under the names `save_lora_weights` writes:
    transformer.blocks.0.attn1.to_q.lora_A.weight."""
    tensors = get_peft_model_state_dict(expert, adapter_name=ADAPTER)
    return {_PREFIX + key: value.detach().cpu().contiguous() for key, value in sorted(tensors.items())}


def save(expert: WanTransformer3DModel, path: Path, values: Mapping[str, Tensor] | None = None) -> None:
    """Writes a file that `WanImageToVideoPipeline.load_lora_weights` reads (for transformer_2 with
    load_into_transformer_2=True). `values`: by the names of `named_parameters`, instead of the LoRA's own."""
    lora = expert.peft_config[ADAPTER]
    metadata = {
        _PREFIX + "r": lora.r,
        _PREFIX + "lora_alpha": lora.lora_alpha,
        _PREFIX + "target_modules": sorted(lora.target_modules),
    }
    tensors = named_parameters(expert) if values is None else values
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        path,
        {"format": "pt", _METADATA_KEY: json.dumps(metadata, sort_keys=True)},
    )


def load(expert: WanTransformer3DModel, path: Path) -> None:
    """Puts a file written by `save` into a LoRA made by `add` with the same rank and layers. Raises WeightsError
    naming file and key."""
    try:
        with open_tensors(path) as opened:
            saved = {key: opened.get_tensor(key) for key in opened.offset_keys()}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"LoRA: {path} is missing, truncated or not a safetensors file ({error})") from error
    expected = state_dict(expert)
    wrong = sorted(set(saved) ^ set(expected))
    if wrong:
        state = "has no" if wrong[0] in expected else "has an unexpected"
        raise WeightsError(f"LoRA: {path} {state} key {wrong[0]}: it was saved with other lora_target_modules")
    for key, tensor in saved.items():
        if tensor.shape != expected[key].shape:
            raise WeightsError(
                f"LoRA: {key} in {path} has the shape {list(tensor.shape)}, expected {list(expected[key].shape)}: "
                "it was saved with another lora_rank"
            )
    set_peft_model_state_dict(
        expert, {key.removeprefix(_PREFIX): tensor for key, tensor in saved.items()}, adapter_name=ADAPTER
    )


def layers(expert: nn.Module) -> list[LoraLayer]:
    """The layers of an expert that have a LoRA, in a fixed order."""
    return [module for _, module in sorted(expert.named_modules()) if isinstance(module, LoraLayer)]


def _switch(layer: LoraLayer, on: bool) -> None:
    """Sets which adapters the layer computes: the base's, and with `on` this one after them."""
    base = [name for name in layer.lora_A if name != ADAPTER]
    layer._active_adapter = [*base, ADAPTER] if on else base
