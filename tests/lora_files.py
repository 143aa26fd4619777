"""The same low-rank matrices in LoRA files of every format that there is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

RANK, ALPHA = 3, 1.5
# Wan's own names of a block's layers
WAN = {
    "attn1.to_q": "self_attn.q",
    "attn1.to_k": "self_attn.k",
    "attn1.to_v": "self_attn.v",
    "attn1.to_out.0": "self_attn.o",
    "attn2.to_q": "cross_attn.q",
    "attn2.to_k": "cross_attn.k",
    "attn2.to_v": "cross_attn.v",
    "attn2.to_out.0": "cross_attn.o",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
}


@dataclass(frozen=True)
class Matrices:
    """up [out, RANK] and down [RANK, in] of every layer of WAN in every block, by diffusers' names."""

    layers: dict[str, tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, network: nn.Module, seed: int = 0, size: float = 0.3) -> Matrices:
        generator = torch.Generator().manual_seed(seed)
        layers = {}
        for block in range(len(network.blocks)):  # type: ignore[arg-type]
            for name in WAN:
                weight = network.get_submodule(f"blocks.{block}.{name}").weight
                up = size * torch.randn(weight.shape[0], RANK, generator=generator)
                layers[f"blocks.{block}.{name}"] = (up, size * torch.randn(RANK, weight.shape[1], generator=generator))
        return cls(layers)

    def delta(self, layer: str, alpha: float = ALPHA) -> Tensor:
        up, down = self.layers[layer]
        return alpha / RANK * up @ down


def wan_name(layer: str) -> str:
    _, block, rest = layer.split(".", 2)
    return f"blocks.{block}.{WAN[rest]}"


def diffusers(folder: Path, matrices: Matrices, prefix: str = "transformer.") -> Path:
    pairs = {f"{prefix}{layer}": pair for layer, pair in matrices.layers.items()}
    settings = {"transformer.r": RANK, "transformer.lora_alpha": ALPHA}
    settings["transformer.target_modules"] = sorted(matrices.layers)  # type: ignore[assignment]
    return _save(folder / "diffusers.safetensors", _matrices(pairs), {"lora_adapter_metadata": json.dumps(settings)})


def peft(folder: Path, matrices: Matrices) -> Path:
    pairs = {f"base_model.model.{layer}": pair for layer, pair in matrices.layers.items()}
    (folder / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": ALPHA}))
    return _save(folder / "adapter_model.safetensors", _matrices(pairs))


def lightx2v(folder: Path, matrices: Matrices) -> Path:
    pairs = {f"diffusion_model.{wan_name(layer)}": pair for layer, pair in matrices.layers.items()}
    return _save(folder / "lightx2v.safetensors", _matrices(pairs, "lora_down", "lora_up") | _alphas(pairs))


def comfyui(folder: Path, matrices: Matrices) -> Path:
    pairs = {f"diffusion_model.{wan_name(layer)}": pair for layer, pair in matrices.layers.items()}
    return _save(folder / "comfyui.safetensors", _matrices(pairs) | _alphas(pairs))


def musubi(folder: Path, matrices: Matrices) -> Path:
    pairs = {"lora_unet_" + wan_name(layer).replace(".", "_"): pair for layer, pair in matrices.layers.items()}
    return _save(folder / "musubi.safetensors", _matrices(pairs, "lora_down", "lora_up") | _alphas(pairs))


FORMATS = {"diffusers": diffusers, "peft": peft, "lightx2v": lightx2v, "comfyui": comfyui, "musubi": musubi}


def _matrices(pairs: dict[str, tuple[Tensor, Tensor]], down: str = "lora_A", up: str = "lora_B") -> dict[str, Tensor]:
    tensors = {f"{name}.{down}.weight": pair[1] for name, pair in pairs.items()}
    return tensors | {f"{name}.{up}.weight": pair[0] for name, pair in pairs.items()}


def _alphas(pairs: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    return {f"{name}.alpha": torch.tensor(ALPHA) for name in pairs}


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    save_file({key: value.clone() for key, value in tensors.items()}, path, {"format": "pt", **(metadata or {})})
    return path
