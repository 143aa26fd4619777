"""The model that the preview worker keeps: one base, on which one checkpoint after another is put."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rewardfl_app.config import schedule
from rewardfl_app.models import adaptation, conditioning, frozen_lora, lora, wan
from rewardfl_app.models.sources import resolve

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config, Expert
    from rewardfl_app.models.wan import WanModel

_KEPT_ENCODINGS = 8


class PreviewModel:
    """A base model in memory, and what of a checkpoint is on it. There is never a second copy of a network.

    A LoRA is added beside the weights and switched off for the base; weights that were trained whole are moved in
    place, so the base is read from its files again after them.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._key: object = None
        self._model: WanModel | None = None
        self._adapters: dict[Expert, tuple[Any, ...]] = {}  # layers, rank and alpha of the LoRA that is on an expert
        self._loaded: dict[Expert, tuple[Path, int]] = {}  # and the file that is in it
        self._blended: dict[Expert, tuple[Path, int, float]] = {}  # trained whole: the file, and how strong
        self._texts: OrderedDict[str, Tensor] = OrderedDict()
        self._conditions: OrderedDict[str, Tensor] = OrderedDict()

    def load(self, config: Config) -> WanModel:
        """The base model of a configuration: the one that is held, if its files are the same. Raises WeightsError."""
        sources = resolve(config.model)
        loras = [frozen_lora.of(config.model, expert) for expert in wan.EXPERTS]
        key = (sources, config.model.dtype, *loras)
        if self._model is None or key != self._key:
            self.drop()
            self._model, self._key = wan.load(config.model, self._device), key
        return self._model

    def drop(self) -> None:
        """Let the model go."""
        if self._model is not None:
            self._model.release("high_noise", "low_noise", "text_encoder", "vae")
        self._model, self._key = None, None
        for kept in (self._adapters, self._loaded, self._blended, self._texts, self._conditions):
            kept.clear()

    def text(self, prompt: str) -> Tensor:
        """Encoding [L, D] of a prompt; the last few are kept, so that the same again needs no text encoder."""
        model = self._held()
        return _kept(self._texts, prompt, lambda: conditioning.encode_prompts(model, [prompt])[0])

    def condition(self, picture: str, first: Tensor, num_frames: int) -> Tensor:
        """Mask and condition latents [20, T', h, w] for a first frame [3, H, W] in [-1, 1]; the last few are kept.

        `picture` is a digest of the file the frame was cut from.
        """
        model = self._held()
        return _kept(
            self._conditions,
            f"{picture} {tuple(first.shape)} {num_frames}",
            lambda: conditioning.encode_condition(model.vae, first[None].to(model.device), num_frames)[0],
        )

    def make_room(self) -> None:
        """On a GPU, let the networks that encode go: the experts need the room."""
        if self._device.type == "cuda":
            self._held().release("text_encoder", "vae_encoder")

    @contextmanager
    def as_base(self) -> Iterator[WanModel]:
        """Inside, the experts compute what the untrained model would."""
        model = self._held()
        for name in list(self._blended):
            model.release(name)
            del self._blended[name]
        with lora.disabled([model.experts[name] for name in self._adapters]):
            yield model

    @contextmanager
    def as_tuned(self, config: Config, checkpoint: Path, strength: float) -> Iterator[WanModel]:
        """Inside, `strength` times what a checkpoint of this configuration trained is on the experts.

        Raises WeightsError.
        """
        model, trained = self._held(), schedule.trained_experts(config)
        for name in set(self._blended) - set(trained):
            model.release(name)
            del self._blended[name]
        for name in trained:
            self._put(model, config, name, adaptation.checkpoint_file(checkpoint, name), strength)
        idle = [model.experts[name] for name in self._adapters if name not in trained]
        with lora.disabled(idle):
            yield model

    def _put(self, model: WanModel, config: Config, name: Expert, path: Path, strength: float) -> None:
        stamp = path.stat().st_mtime_ns if path.exists() else 0
        if schedule.trains_all_weights(config):
            self._take_off(model, name)
            if self._blended.get(name) == (path, stamp, strength):
                return
            if self._blended.pop(name, None) is not None:
                model.release(name)
            self._blended[name] = (path, stamp, float("nan"))  # half of it may be there if this raises
            adaptation.blend(model.experts[name], path, strength)
            self._blended[name] = (path, stamp, strength)
            return
        if self._blended.pop(name, None) is not None:
            model.release(name)
        settings = config.lora
        shape = (tuple(settings.lora_target_modules), settings.lora_rank, settings.lora_alpha)
        if self._adapters.get(name) != shape:
            self._take_off(model, name)
            lora.add(model.experts[name], settings.lora_target_modules, shape[1], shape[2], seed=0)
            model.experts[name].requires_grad_(False)
            self._adapters[name] = shape
        if self._loaded.get(name) != (path, stamp):
            self._loaded.pop(name, None)
            lora.load(model.experts[name], path)
            self._loaded[name] = (path, stamp)
        lora.set_strength(model.experts[name], strength)

    def _take_off(self, model: WanModel, name: Expert) -> None:
        if self._adapters.pop(name, None) is not None:
            lora.remove(model.experts[name])
            self._loaded.pop(name, None)

    def _held(self) -> WanModel:
        if self._model is None:
            raise RuntimeError("no model was loaded")
        return self._model


def _kept(kept: OrderedDict[str, Tensor], key: str, make: Callable[[], Tensor]) -> Tensor:
    """The tensor of a key, made where it is not there; the oldest goes when there are too many."""
    if key not in kept:
        kept[key] = make()
        while len(kept) > _KEPT_ENCODINGS:
            kept.popitem(last=False)
    kept.move_to_end(key)
    return kept[key]
