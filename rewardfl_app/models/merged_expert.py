"""The weights of an expert with everything that was added to them, tensor by tensor: the network is never in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from torch import Tensor

from rewardfl_app.config import family, schedule
from rewardfl_app.config.schema import DIFFUSERS_NAME
from rewardfl_app.models import frozen_lora, lora_file, original_format, wan, weights
from rewardfl_app.models.sources import ModelSources, Source, WeightsError, resolve
from rewardfl_app.models.tensor_file import open_tensors

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config, Expert


class MergedExpert:
    """What an expert computes with, in one set of weights: those of its files, the LoRA of the base model (see
    `frozen_lora`) and what was trained.

    `network` has no memory: it tells the configuration, and the names, shapes and number formats of the parameters.
    """

    def __init__(self, config: Config, expert: Expert, trained: Path) -> None:
        """`trained`: the file of a checkpoint. Raises WeightsError naming the file and key that is wrong."""
        source = source_of(resolve(config.model), expert)
        kind = family.of(config.model)
        dtype = wan.DTYPES[config.model.dtype]
        self.network = wan.load_expert(source, dtype, "meta", holds_first_frame=kind.holds_first_frame)
        self.parameters: dict[str, Tensor] = {name: value.data for name, value in self.network.named_parameters()}
        shapes = {name: value.shape for name, value in self.parameters.items()}
        self._trained = trained
        self._whole = schedule.trains_all_weights(config)
        if self._whole:
            self._check_whole()
            return
        # Views of the files, which are read where they are used.
        self._base = original_format.transformer_state(weights.read_state(source))
        self._own = lora_file.read(trained, f"LoRA: {trained}", f"{DIFFUSERS_NAME[expert]}.")
        self._own.check(shapes)
        self._frozen = frozen_lora.of(config.model, expert)
        self._added = None if self._frozen is None else self._frozen.read()
        if self._added is not None:
            self._added.check(shapes)

    @property
    def num_bytes(self) -> int:
        """Of all tensors."""
        return sum(value.nbytes for value in self.parameters.values())

    def tensor(self, name: str) -> Tensor:
        """One parameter, in CPU memory. What was rounded in training is rounded here: the base model's own weights, and
        a LoRA that was merged into them; what was beside them is added in float32 and rounded once."""
        dtype = self.parameters[name].dtype
        if self._whole:
            with open_tensors(self._trained) as opened:
                return opened.get_tensor(name).to(dtype)
        value = self._base[name].to(dtype).float()
        if self._frozen is not None and self._added is not None:
            value = self._added.add_to(name, value, self._frozen.strength)
            if self._frozen.merged:
                value = value.to(dtype).float()
        return self._own.add_to(name, value).to(dtype)

    def _check_whole(self) -> None:
        try:
            with open_tensors(self._trained) as opened:
                saved = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise WeightsError(
                f"Weights: {self._trained} is missing, truncated or not a safetensors file ({error})"
            ) from error
        wanted = {name: tuple(value.shape) for name, value in self.parameters.items()}
        if saved != wanted:
            wrong = sorted(name for name in set(saved) | set(wanted) if saved.get(name) != wanted.get(name))
            raise WeightsError(f"Weights: {wrong[0]} in {self._trained} is missing or of another model")


def source_of(sources: ModelSources, expert: Expert) -> Source:
    """The files of an expert, which must be there."""
    source = sources.high_noise if expert == "high_noise" else sources.low_noise
    if source is None:
        raise WeightsError(f"model.model_paths: there is no {expert} expert in {sources.high_noise.place}")
    return source


def released_config(merged: MergedExpert) -> dict[str, object]:
    """The config.json that stands beside Wan's own files."""
    sizes = merged.network.config
    return {
        "_class_name": "WanModel",
        "dim": sizes["num_attention_heads"] * sizes["attention_head_dim"],
        "eps": sizes["eps"],
        "ffn_dim": sizes["ffn_dim"],
        "freq_dim": sizes["freq_dim"],
        "in_dim": sizes["in_channels"],
        "model_type": "ti2v" if sizes["in_channels"] == sizes["out_channels"] else "i2v",
        "num_heads": sizes["num_attention_heads"],
        "num_layers": sizes["num_layers"],
        "out_dim": sizes["out_channels"],
        "text_len": wan.MAX_SEQUENCE_LENGTH,
    }
