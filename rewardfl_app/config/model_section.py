"""Which model is trained, and on what: the sections `model` and `data`."""

from __future__ import annotations

from typing import Literal

from rewardfl_app.config.section import Names, Section
from rewardfl_app.config.section import field as _field


class ModelConfig(Section):
    """Which model is trained, where its weights are and how it is held in memory."""

    model_name: Literal["pocket", "wan2_2", "wan2_2_5b"] = _field(
        "wan2_2",
        "Model family. `wan2_2` is Wan2.2-I2V-A14B (two networks of 14 billion parameters) and `wan2_2_5b` is "
        "Wan2.2-TI2V-5B (one of 5 billion, which a card of 24 GB can train), both from your own files; `pocket` is the "
        "small family of the same classes that ships with the package and trains on a laptop.",
        level="basic",
    )
    model_paths: str | None = _field(
        None,
        "JSON file with the entries high_noise_model, low_noise_model, text_encoder and vae, by name or as a list in "
        "this order (of `wan2_2_5b`: dit, text_encoder, vae). Each entry is a file, a list of shard files, or a "
        "folder; relative entries are relative to the JSON file. Leave empty for `pocket`.",
        level="basic",
        path="file",
    )
    model_id_with_origin_paths: str | None = _field(
        None,
        "Instead of model_paths: comma-separated `owner/model:file pattern` entries, for example "
        "`Wan-AI/Wan2.1-T2V-1.3B:diffusion_pytorch_model*.safetensors`, looked up in the Hugging Face cache of this "
        "machine.",
    )
    high_noise_lora: str | None = _field(
        None,
        "LoRA file (.safetensors, of diffusers, PEFT, ComfyUI, lightx2v or musubi) that belongs to the high-noise "
        "expert's base model, for example that of Wan2.2-Lightning; of `wan2_2_5b`, to its one network's. It does not "
        "train, and is there in everything that is compared with.",
        path="file",
    )
    low_noise_lora: str | None = _field(
        None,
        "The same for the low-noise expert.",
        path="file",
    )
    frozen_lora_strength: float = _field(
        1.0, "How much of high_noise_lora and low_noise_lora is added; 1 is the LoRA as it was trained.", ge=0.0
    )
    fuse_frozen_lora: bool = _field(
        True,
        "Merge high_noise_lora and low_noise_lora into the weights when they are loaded (in float32, then rounded to "
        "dtype). Off: compute them beside the weights, which rounds nothing but takes more time and memory.",
    )
    tokenizer_path: str = _field(
        "",
        "Folder of the UMT5 tokenizer (the `google/umt5-xxl` folder of the Wan2.2 download). Empty: from the Hugging "
        "Face hub.",
        path="folder",
    )
    trainable_models: Names = _field(
        "dit2",
        "Which networks train, comma-separated: `dit` is the high-noise expert, `dit2` the low-noise expert; of "
        "`wan2_2_5b`, `dit` is its one network. The gradient steps must run on a network named here.",
        level="basic",
    )
    extra_inputs: Names = _field(
        "input_image",
        "Inputs besides the prompt, comma-separated: `input_image` is the first frame (from the column of that name, "
        "else the first frame of the clip).",
    )
    max_timestep_boundary: float = _field(
        1.0,
        "Upper end of the interval of t/1000 that the high-noise expert covers, 0 to 1. Sampling starts at 1.0.",
        ge=0.0,
        le=1.0,
    )
    min_timestep_boundary: float = _field(
        0.9,
        "Lower end of the interval of t/1000 that the high-noise expert covers, 0 to 1; below it the low-noise expert "
        "runs. 0.9 is `boundary_ratio` of Wan2.2-I2V-A14B; 0 for `wan2_2_5b`, whose one network runs every step.",
        ge=0.0,
        le=1.0,
    )
    use_gradient_checkpointing: bool = _field(
        True,
        "Recompute the transformer blocks in the backward pass instead of keeping their activations: far less memory, "
        "about a third more time.",
    )
    use_gradient_checkpointing_offload: bool = _field(
        True,
        "Keep the checkpointed activations in CPU memory, copied while the GPU computes. Saves more GPU memory at the "
        "cost of transfers; needs use_gradient_checkpointing.",
    )
    attention_backend: Literal[
        "native", "native_flash", "native_efficient", "native_cudnn", "native_math", "flash", "xformers"
    ] = _field(
        "native",
        "How the transformers compute attention; all of these have a backward pass. `native` lets PyTorch choose, the "
        "other native ones hold it to one kernel, `flash` and `xformers` need their packages.",
        applies="resume",
    )
    compile_blocks: bool = _field(
        False,
        "Compile the transformer blocks (torch.compile), the same code for all of them, which moves less memory. Costs "
        "about a minute when a run first starts and some seconds later on, and as much again for every new size of "
        "videos or batch. Needs Triton and a C compiler on a GPU, a C++ compiler on a CPU, where an update becomes "
        "little faster: too little for a short run.",
        applies="resume",
    )
    dtype: Literal["bfloat16", "float32"] = _field(
        "bfloat16",
        "Number format of the frozen weights and of the forward pass. The trained LoRA weights and the sampler stay "
        "in float32.",
    )
    offload_reference: bool = _field(
        False,
        "When all weights train (lora_base_model is none) the divergence needs a frozen copy of the network: keep it "
        "in CPU memory and bring it to the device only while it runs.",
    )


class DataConfig(Section):
    """The training clips and the size of what is generated."""

    metadata_path: str | None = _field(
        None,
        "CSV file (UTF-8) with the columns video and prompt, optionally input_image; paths are relative to the CSV. "
        "The first frame of every clip must show a face. Leave empty for `pocket`: its own portraits are used.",
        level="basic",
        path="file",
    )
    num_frames: int = _field(
        81,
        "Frames per video, 4k+1 (the VAE packs four frames into one latent frame). 81 frames at 16 fps are 5 s.",
        ge=5,
    )
    max_pixels: int = _field(
        230400,
        "Largest height x width, in pixels, when height and width are empty: the size follows each clip's aspect "
        "ratio. 230400 = 480 x 480.",
        ge=256,
    )
    height: int | None = _field(
        None,
        "Video height in pixels, a multiple of 16 (of `wan2_2_5b`: 32). Empty: from the clip, within max_pixels.",
        ge=16,
    )
    width: int | None = _field(
        None,
        "Video width in pixels, a multiple of 16 (of `wan2_2_5b`: 32). Empty: from the clip, within max_pixels.",
        ge=16,
    )
    fps: int = _field(
        16,
        "Frames per second of the written videos; Wan2.2-I2V-A14B is trained at 16. Clips are read frame by frame.",
        ge=1,
    )
    cache_gb: float = _field(
        20.0,
        "Space for the cache beside the runs, in GB, shared by all of them: encoded prompts and first frames, "
        "reference faces, prefix latents, the base model's evaluation. What was not used for longest goes first; "
        "0: no cache.",
        applies="resume",
        ge=0.0,
    )
