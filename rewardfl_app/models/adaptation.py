"""What is trained of one expert: a LoRA on it, or all its weights."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from rewardfl_app.config import schedule
from rewardfl_app.models import compiled_blocks, lora
from rewardfl_app.models.dropout import Key, Masks
from rewardfl_app.models.precision import train_in_float32
from rewardfl_app.models.sources import WeightsError
from rewardfl_app.models.tensor_file import open_tensors

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

    from rewardfl_app.config.schema import Config, Expert


class Adaptation(ABC):
    """The trained parameters of an expert, and the expert as it was without them.

    `moved`: whether the parameters have left the values the expert was loaded with; whoever changes them sets it.
    """

    expert: WanTransformer3DModel
    moved: bool = False

    @abstractmethod
    def named_parameters(self) -> dict[str, nn.Parameter]:
        """The trained parameters, float32, in a fixed order, under the names of the checkpoint file."""

    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters in the order of their names."""
        return list(self.named_parameters().values())

    @property
    def networks(self) -> list[nn.Module]:
        """The networks whose weights ZeRO 3 divides among the ranks."""
        return [self.expert]

    @abstractmethod
    def base(self) -> AbstractContextManager[WanTransformer3DModel]:
        """Inside, the expert (which it gives) computes what the untrained network would; without gradient."""

    def dropout(self, key: Key) -> AbstractContextManager[None]:
        """Inside, the LoRA's dropout is on and drawn from `key`; nothing changes without one."""
        return nullcontext()

    @abstractmethod
    def save(self, path: Path, values: Mapping[str, Tensor] | None = None) -> None:
        """Writes the file that is evaluated and exported. `values`: by name, instead of the parameters' own."""

    @abstractmethod
    def load(self, path: Path) -> None:
        """Puts a file written by `save` into the parameters; before the engine is made. Raises WeightsError."""

    def put(self, values: Mapping[str, Tensor]) -> None:
        """Puts values by name into the parameters; before the engine is made."""
        with torch.no_grad():
            for name, parameter in self.named_parameters().items():
                parameter.copy_(values[name])
        self.moved = True


class LoraAdaptation(Adaptation):
    """A LoRA on a frozen expert."""

    def __init__(self, expert: WanTransformer3DModel, config: Config, seed: int) -> None:
        self.expert = expert
        self._masks = Masks()
        settings = config.lora
        rate = settings.lora_dropout
        lora.add(expert, settings.lora_target_modules, settings.lora_rank, settings.lora_alpha, seed)
        self._layers = lora.layers(expert)
        if rate:
            lora.set_dropout(expert, rate, self._masks)
            if expert._gradient_checkpointing_func is not None:
                expert._gradient_checkpointing_func = self._masks.kept_for(expert._gradient_checkpointing_func)

    def named_parameters(self) -> dict[str, nn.Parameter]:
        return lora.named_parameters(self.expert)

    @contextmanager
    def base(self) -> Iterator[WanTransformer3DModel]:
        with lora.switched_off(self._layers):
            yield self.expert

    def dropout(self, key: Key) -> AbstractContextManager[None]:
        return self._masks.drawn_from(key)

    def save(self, path: Path, values: Mapping[str, Tensor] | None = None) -> None:
        lora.save(self.expert, path, values)

    def load(self, path: Path) -> None:
        lora.load(self.expert, path)
        self.moved = True


class FullWeights(Adaptation):
    """All weights of an expert, trained in float32; a frozen copy stands for the untrained network."""

    def __init__(self, expert: WanTransformer3DModel, keep_base: bool, offload_base: bool) -> None:
        """keep_base: whether the untrained network is needed once the weights have moved. offload_base: keep it in CPU
        memory except while it runs."""
        self.expert = expert
        self._base = _Frozen(_copy(expert), offload_base) if keep_base else None
        train_in_float32(expert)

    def named_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.expert.named_parameters())

    @property
    def networks(self) -> list[nn.Module]:
        divided = [] if self._base is None or self._base.offload else [self._base.network]
        return [self.expert, *divided]

    @contextmanager
    def base(self) -> Iterator[WanTransformer3DModel]:
        if self._base is None:
            if self.moved:
                raise RuntimeError("no copy of the untrained network was kept: there is no divergence to measure")
            yield self.expert
            return
        with self._base.on_device():
            # Callers hold the expert, inside a model or by itself: they get the copy's result without knowing of it.
            self.expert.forward = self._base.network.__call__
            try:
                yield self.expert
            finally:
                del self.expert.forward

    def save(self, path: Path, values: Mapping[str, Tensor] | None = None) -> None:
        tensors = self.named_parameters() if values is None else values
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path, {"format": "pt"})

    def load(self, path: Path) -> None:
        _fill(self.expert, path)
        self.moved = True


class _Frozen:
    """A frozen network, which with `offload` is in CPU memory except while it runs."""

    def __init__(self, network: WanTransformer3DModel, offload: bool) -> None:
        self.network = network
        self._device = next(network.parameters()).device
        self.offload = offload and self._device.type != "cpu"
        self._kept: dict[nn.Parameter, Tensor] = {}
        if self.offload:
            for weight in network.parameters():
                self._kept[weight] = weight.data = weight.data.cpu().pin_memory()

    @contextmanager
    def on_device(self) -> Iterator[None]:
        for weight, kept in self._kept.items():
            weight.data = kept.to(self._device, non_blocking=True)
        try:
            yield
        finally:
            for weight, kept in self._kept.items():
                weight.data = kept


def _copy(expert: WanTransformer3DModel) -> WanTransformer3DModel:
    copied = copy.deepcopy(expert)
    if compiled_blocks.are_in(expert):
        compiled_blocks.compile_in(copied, next(copied.parameters()).device)
    return copied


def adapt(expert: WanTransformer3DModel, config: Config, seed: int) -> Adaptation:
    """Makes an expert trainable as the configuration says; `seed` is that of a LoRA's first values."""
    if schedule.trains_all_weights(config):
        return FullWeights(expert, config.reward.kl_weight > 0, config.model.offload_reference)
    return LoraAdaptation(expert, config, seed)


@contextmanager
def untrained(adaptations: Iterable[Adaptation]) -> Iterator[None]:
    """Inside, all these experts compute what the untrained networks would."""
    with ExitStack() as stack:
        for adaptation in adaptations:
            stack.enter_context(adaptation.base())
        yield


@contextmanager
def dropout(adaptations: Iterable[Adaptation], key: Key) -> Iterator[None]:
    """Inside, LoRA dropout is on, with the same masks for the same key; outside it is off.

    A forward pass inside may be pulled back outside: blocks that are run again then see the masks of their first run.
    """
    with ExitStack() as stack:
        for adaptation in adaptations:
            stack.enter_context(adaptation.dropout(key))
        yield


def restore(expert: WanTransformer3DModel, config: Config, path: Path) -> None:
    """Puts what a checkpoint file holds on an expert that is not to be trained. Raises WeightsError."""
    if schedule.trains_all_weights(config):
        _fill(expert, path)
    else:
        settings = config.lora
        lora.add(expert, settings.lora_target_modules, settings.lora_rank, settings.lora_alpha, seed=0)
        lora.load(expert, path)


def blend(expert: WanTransformer3DModel, path: Path, strength: float) -> None:
    """Moves an expert's weights toward those of a file of all weights: 0 leaves them, 1 puts the file's own in place,
    2 goes as far again. Raises WeightsError."""
    _fill(expert, path, strength)


def checkpoint_file(folder: Path, expert: Expert) -> Path:
    """Where a checkpoint folder keeps what was trained of an expert."""
    return folder / f"{expert}.safetensors"


def _fill(expert: WanTransformer3DModel, path: Path, strength: float = 1.0) -> None:
    """Copies a file of all weights into an expert, tensor by tensor, in the expert's own types; with another strength
    than 1, the expert's own weights plus `strength` times the difference."""
    expected = dict(expert.named_parameters())
    try:
        with open_tensors(path) as opened:
            wrong = sorted(set(opened.keys()) ^ set(expected))
            if wrong:
                state = "has no" if wrong[0] in expected else "has an unexpected"
                raise WeightsError(f"Weights: {path} {state} key {wrong[0]}: it was saved by another kind of training")
            with torch.no_grad():
                for name, parameter in expected.items():
                    saved = opened.get_tensor(name)
                    if saved.shape != parameter.shape:
                        raise WeightsError(
                            f"Weights: {name} in {path} has the shape {list(saved.shape)}, expected "
                            f"{list(parameter.shape)}: it is of another model"
                        )
                    if strength != 1.0:
                        own = parameter.float()
                        saved = own + strength * (saved.to(own) - own)
                    parameter.copy_(saved)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"Weights: {path} is missing, truncated or not a safetensors file ({error})") from error
