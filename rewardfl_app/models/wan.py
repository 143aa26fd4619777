"""A Wan image-to-video model: two experts, VAE, text encoder, tokenizer, each read from its own files when needed."""

from __future__ import annotations

import gc
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from transformers import AutoTokenizer, PreTrainedTokenizerBase, UMT5Config, UMT5EncoderModel

from rewardfl_app.config import family
from rewardfl_app.config.schema import Expert
from rewardfl_app.models import compiled_blocks, frozen_lora, original_format, original_vae, token_parallel, weights
from rewardfl_app.models.activation_offload import OffloadedCheckpoint
from rewardfl_app.models.sources import ModelSources, Source, WeightsError, resolve
from rewardfl_app.runs import content

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from rewardfl_app.config.schema import ModelConfig

logger = logging.getLogger(__name__)

MAX_SEQUENCE_LENGTH = 512  # of Wan2.2; a tokenizer that allows fewer tokens lowers it
EXPERTS: tuple[Expert, ...] = get_args(Expert)
Network = Literal["high_noise", "low_noise", "text_encoder", "vae", "vae_encoder"]

# A library that computes differently gives other results from the same weights.
_VERSIONS = {name: metadata.version(name) for name in ("torch", "diffusers", "transformers")}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class WanModel:
    """The networks of an image-to-video pipeline on one device, frozen, each read from its files when it is first used.

    `experts` holds the transformer of each expert: 36 input channels (16 noisy latents, 4 mask, 16 condition), 16 out;
    of a family that holds its first frame one transformer, `high_noise`, with as many channels in as out.

    Any access to a network may raise WeightsError, which names the file and the key that is wrong.
    """

    def __init__(
        self, sources: ModelSources, settings: ModelConfig, device: torch.device, tokens: ProcessGroup | None = None
    ) -> None:
        """`tokens`: the processes that run the experts together, each with a part of a video's tokens."""
        self.device = device
        self.family = family.of(settings)
        names = EXPERTS if sources.low_noise is not None else EXPERTS[:1]
        self.experts: Mapping[Expert, WanTransformer3DModel] = _Experts(names, self._read_expert)
        self._sources = sources
        self._settings = settings
        self._tokens = tokens
        self._vae: WanVae | None = None
        self._text_encoder: UMT5EncoderModel | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None

    @property
    def vae(self) -> WanVae:
        """The VAE; its encoder is read when a picture is first encoded."""
        if self._vae is None:
            self._vae = self._read_vae()
            self._vae.leave_encoder(self._read_vae)
        return self._vae

    @property
    def text_encoder(self) -> UMT5EncoderModel:
        if self._text_encoder is None:
            logger.info("reading the text encoder")
            self._text_encoder = load_text_encoder(self._sources.text_encoder, self._dtype, self.device)
        return self._text_encoder

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self._sources.tokenizer)
        return self._tokenizer

    @property
    def max_sequence_length(self) -> int:
        """Tokens a prompt is padded or cut to."""
        return min(MAX_SEQUENCE_LENGTH, int(self.tokenizer.model_max_length))

    @property
    def resident(self) -> frozenset[Network]:
        """The networks that are in memory; "vae" is the VAE without its encoder."""
        there: set[Network] = set(self._experts.loaded)
        if self._text_encoder is not None:
            there.add("text_encoder")
        if self._vae is not None:
            there.add("vae")
            if self._vae.has_encoder:
                there.add("vae_encoder")
        return frozenset(there)

    def release(self, *networks: Network) -> None:
        """Gives the memory of these networks back; the next use reads the files again.

        Raises ValueError for a network that trains: what it has learnt would be lost.
        """
        if not self.resident.intersection(networks):
            return
        for network in networks:
            if network == "text_encoder":
                self._text_encoder = None
            elif network == "vae_encoder":
                if self._vae is not None:
                    self._vae.leave_encoder(self._read_vae)
            elif network == "vae":
                self._vae = None
            else:
                self._experts.release(network)
        gc.collect()  # adapters and hooks refer to their modules and back
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def digest(self, *networks: Network | Literal["tokenizer"]) -> str:
        """What the results of these networks depend on beside their input: weights, number format, device, versions.

        Without any network, device and versions alone.
        """
        parts: dict[str, object] = {name: self._content(name) for name in networks}
        if networks:
            parts["dtype"] = self._settings.dtype
        device = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return content.digest({**parts, "device": device, "versions": _VERSIONS})

    @property
    def _dtype(self) -> torch.dtype:
        return DTYPES[self._settings.dtype]

    @property
    def _experts(self) -> _Experts:
        assert isinstance(self.experts, _Experts)
        return self.experts

    def _read_expert(self, name: Expert) -> WanTransformer3DModel:
        logger.info("reading the %s expert", name)
        lora = frozen_lora.of(self._settings, name)
        added = None if lora is None else lora.read()  # before the weights: a fault in it shows at once
        source = self._sources.high_noise if name == "high_noise" else self._sources.low_noise
        assert source is not None  # see EXPERTS in __init__
        expert = load_expert(source, self._dtype, self.device, holds_first_frame=self.family.holds_first_frame)
        if lora is not None and added is not None:
            frozen_lora.put_on(expert, added, lora.strength, lora.merged)
        attention(expert, self._settings)
        checkpointing(expert, self._settings, self.device)
        if self._tokens is not None:
            token_parallel.divide(expert, self._tokens)
        if self._settings.compile_blocks:
            compiled_blocks.compile_in(expert, self.device)
        return expert

    def _read_vae(self) -> WanVae:
        vae = load_vae(self._sources.vae, self._dtype, self.device)
        found = (vae.config["z_dim"], vae.config["scale_factor_spatial"])
        if found != (self.family.channels, self.family.pixels_per_latent):
            raise WeightsError(
                f"vae: {self._sources.vae.place} has {found[0]} latent channels, each for {found[1]} x {found[1]} "
                f"pixels, that of {self.family.title} has {self.family.channels}, each for "
                f"{self.family.pixels_per_latent} x {self.family.pixels_per_latent}: it is of another model"
            )
        if self.device.type == "cpu":
            for module in vae.modules():
                if isinstance(module, torch.nn.Conv3d):  # see vae_sequence: the fast layout of its inputs
                    module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
        return vae

    def _content(self, network: str) -> object:
        if network == "tokenizer":
            folder = Path(self._sources.tokenizer)
            return content.tree_digest(folder) if folder.is_dir() else self._sources.tokenizer
        source: Source = getattr(self._sources, "vae" if network == "vae_encoder" else network)
        files = [*source.files, *([source.config] if source.config else [])]
        digests: list[object] = [content.file_digest(file) for file in files]
        expert = next((expert for expert in EXPERTS if expert == network), None)
        lora = None if expert is None else frozen_lora.of(self._settings, expert)
        return digests if lora is None else [*digests, lora.content()]


class WanVae(AutoencoderKLWan):
    """The VAE of which the half that only the given pictures need can be left out, and comes back when it is used."""

    _ENCODER = ("encoder", "quant_conv")

    @property
    def has_encoder(self) -> bool:
        return "encoder" in self._modules

    def leave_encoder(self, read: Callable[[], WanVae]) -> None:
        """Drops the encoder; `read` gives the whole VAE again when the encoder is next asked for."""
        for name in self._ENCODER:
            self._modules.pop(name, None)
        self._read_whole = read

    def __getattr__(self, name: str) -> Any:
        if name in self._ENCODER and not self.has_encoder and "_read_whole" in self.__dict__:
            logger.info("reading the VAE's encoder")
            whole = self._read_whole()
            self._modules.update({part: whole._modules[part] for part in self._ENCODER})
        return super().__getattr__(name)


class _Experts(Mapping["Expert", WanTransformer3DModel]):
    """The experts by name; looking one up reads it."""

    def __init__(self, names: tuple[Expert, ...], read: Callable[[Expert], WanTransformer3DModel]) -> None:
        self._names = names
        self._read = read
        self.loaded: dict[Expert, WanTransformer3DModel] = {}

    def __getitem__(self, name: Expert) -> WanTransformer3DModel:
        if name not in self.loaded:
            if name not in self._names:
                raise KeyError(name)
            self.loaded[name] = self._read(name)
        return self.loaded[name]

    def __iter__(self) -> Iterator[Expert]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def release(self, name: Expert) -> None:
        expert = self.loaded.get(name)
        if expert is not None and any(parameter.requires_grad for parameter in expert.parameters()):
            raise ValueError(f"the {name} expert trains and cannot be let go")
        self.loaded.pop(name, None)


def load(model: ModelConfig, device: torch.device | str = "cpu", tokens: ProcessGroup | None = None) -> WanModel:
    """The model a configuration names; its networks are read when they are used. `tokens`: see WanModel.

    Raises WeightsError naming a file that is missing, truncated or not a weight file; that a key is missing or wrong is
    seen when the network is read. Raises ConfigError where blocks are to be compiled and nothing can be.
    """
    sources = resolve(model)
    for source in sources.networks:
        weights.check(source)
    if model.compile_blocks:
        compiled_blocks.check(torch.device(device))
    loaded = WanModel(sources, model, torch.device(device), tokens)
    if not Path(sources.tokenizer).is_dir():  # what is looked up elsewhere may not be found
        loaded.tokenizer  # noqa: B018
    return loaded


def load_expert(
    source: Source,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    *,
    holds_first_frame: bool = False,
) -> WanTransformer3DModel:
    """One transformer from a diffusers folder, a file or shards in diffusers' or Wan's own key names.

    As in diffusers, the time embedder, the norms and the modulation tables stay in float32 whatever `dtype` is.
    `holds_first_frame`: see `config.family.Family`. Raises WeightsError for a transformer of another kind.
    """
    state = original_format.transformer_state(weights.read_state(source))
    config = weights.read_config(source)
    if "num_attention_heads" not in config:
        config = _inferred(source, lambda: original_format.transformer_config(config, state))
    known = _arguments(WanTransformer3DModel, config)
    expert = weights.empty_network(source, known, len(state), lambda: WanTransformer3DModel(**known))
    _check_kind(source, expert, holds_first_frame)
    return weights.fill(
        expert,
        state,
        source,
        dtype=dtype,
        device=device,
        keep_float32=WanTransformer3DModel._keep_in_fp32_modules,
        ignored=WanTransformer3DModel._keys_to_ignore_on_load_unexpected,
    )


def _check_kind(source: Source, expert: WanTransformer3DModel, holds_first_frame: bool) -> None:
    taken = expert.config["in_channels"]
    given = expert.config["out_channels"] or taken  # as diffusers takes an empty one
    if taken != (given if holds_first_frame else 2 * given + 4):
        wanted = (
            "that of Wan2.2-TI2V-5B takes 48, as many as it gives"
            if holds_first_frame
            else "an image-to-video transformer of Wan2.2 takes 36 (16 latent, 4 mask, 16 condition)"
        )
        raise WeightsError(
            f"{source.network}: {source.place} takes {taken} channels, {wanted}: these weights are of another model"
        )


def load_vae(source: Source, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> WanVae:
    """The VAE from a diffusers folder or an original file of Wan2.1 or Wan2.2 (`.pth` or `.safetensors`)."""
    state = original_vae.state(weights.read_state(source))
    config = weights.read_config(source)
    if "base_dim" not in config:
        config = _inferred(source, lambda: original_vae.config(state))
    known = _arguments(AutoencoderKLWan, config)
    vae = weights.empty_network(source, known, len(state), lambda: WanVae(**known))
    return weights.fill(vae, state, source, dtype=dtype, device=device)


def load_text_encoder(
    source: Source, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> UMT5EncoderModel:
    """The UMT5 encoder from a transformers folder or Wan's original file."""
    state = original_format.text_encoder_state(weights.read_state(source))
    config = weights.read_config(source)
    if "d_model" not in config:
        config = _inferred(source, lambda: original_format.text_encoder_config(state))
    encoder = weights.empty_network(source, config, len(state), lambda: UMT5EncoderModel(UMT5Config(**config)))
    tied = ("encoder.embed_tokens.weight", "shared.weight")
    filled = weights.fill(encoder, state, source, dtype=dtype, device=device, tied=tied)
    filled.tie_weights()
    if filled.shared.weight.is_meta:
        raise WeightsError(f"{source.network}: {source.place} has no key shared.weight")
    return filled


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or, from the local cache or the network, of a hub name."""
    if name.startswith(("/", ".")) and not Path(name).is_dir():
        raise WeightsError(f"tokenizer: {name} is not a folder; set model.tokenizer_path")
    try:
        # Without the word, a folder that brings code of its own would make transformers ask at the terminal.
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises Exception itself
        raise WeightsError(f"tokenizer: {name} cannot be loaded ({str(error).partition(chr(10))[0]})") from error


def _arguments(cls: type, config: dict[str, Any]) -> dict[str, Any]:
    known = inspect.signature(cls).parameters
    return {key: value for key, value in config.items() if key in known}


def _inferred(source: Source, infer: Any) -> dict[str, Any]:
    try:
        return infer()
    except KeyError as error:
        raise WeightsError(f"{source.network}: {source.place} has no key {error.args[0]}") from error
    except (IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        message = f"{source.network}: the tensors of {source.place} have other shapes than this network's ({error})"
        raise WeightsError(message) from error


def attention(expert: WanTransformer3DModel, model: ModelConfig) -> None:
    """Sets how the transformer computes attention. Raises WeightsError where that is not to be had here."""
    backend = model.attention_backend
    if backend == "native":
        return
    try:
        # diffusers marks those that hold PyTorch to one kernel with an underscore.
        expert.set_attention_backend(f"_{backend}" if backend.startswith("native") else backend)
    except (RuntimeError, ImportError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"model.attention_backend: {backend} cannot be used here ({reason}); set native") from error


def checkpointing(expert: WanTransformer3DModel, model: ModelConfig, device: torch.device) -> None:
    """Has the blocks computed again in the backward pass, their inputs kept in host memory where that is asked for."""
    if not model.use_gradient_checkpointing:
        return
    offloaded = OffloadedCheckpoint(expert.blocks) if model.use_gradient_checkpointing_offload else None

    def run(block: torch.nn.Module, *inputs: Any) -> Any:
        if offloaded is not None and device.type != "cpu":  # there the host is where they are
            return offloaded(block, *inputs)
        return torch.utils.checkpoint.checkpoint(block, *inputs, use_reentrant=False)

    expert.enable_gradient_checkpointing(run)
