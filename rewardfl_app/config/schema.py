"""The configuration: one documented field per parameter.

The page's form, the README's table and `--set` are all made from these declarations. Each field carries a help text
(what it does, its unit and range, where the default comes from) and two hints: `level` says whether the page shows it
at once ("basic") or folded away ("advanced"); `applies` says whether a checkpoint saved before a change can still be
continued after it ("resume") or a new run is needed ("new"). Defaults are those of the Wan2.2 reference example; the
preset `pocket` overrides what the small model needs.

Rules that hold between fields live in `validation`, so that all of them are reported at once.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rewardfl_app.config.section import Names, Section, Weights
from rewardfl_app.config.section import field as _field

Expert = Literal["high_noise", "low_noise"]

# What each name in `trainable_models` trains. `vae` and `text_encoder` are known names that validation refuses with a
# reason.
EXPERT_OF_TRAINABLE: dict[str, Expert] = {"dit": "high_noise", "dit2": "low_noise"}
# The attribute of diffusers' WanImageToVideoPipeline (and the folder of a saved pipeline) that holds each expert.
DIFFUSERS_NAME: dict[Expert, str] = {"high_noise": "transformer", "low_noise": "transformer_2"}


class ModelConfig(Section):
    """Which model is trained, where its weights are and how it is held in memory."""

    model_name: Literal["pocket", "wan2_2"] = _field(
        "wan2_2",
        "Model family. `wan2_2` is Wan2.2-I2V-A14B from your own files; `pocket` is the small family of the same "
        "classes that ships with the package and trains on a laptop.",
        level="basic",
    )
    model_paths: str | None = _field(
        None,
        "JSON file with a list of four entries in this order: high-noise model, low-noise model, text encoder, VAE. "
        "Each entry is a file, a list of shard files, or a diffusers folder; relative entries are relative to the "
        "JSON file. Leave empty for `pocket`.",
        level="basic",
        path="file",
    )
    model_id_with_origin_paths: str | None = _field(
        None,
        "Instead of model_paths: comma-separated `owner/model:file pattern` entries, for example "
        "`Wan-AI/Wan2.1-T2V-1.3B:diffusion_pytorch_model*.safetensors`, looked up in the Hugging Face cache of this "
        "machine.",
    )
    tokenizer_path: str = _field(
        "",
        "Folder of the UMT5 tokenizer (the `google/umt5-xxl` folder of the Wan2.2 download). Empty: from the Hugging "
        "Face hub.",
        path="folder",
    )
    trainable_models: Names = _field(
        "dit2",
        "Which networks train, comma-separated: `dit` is the high-noise expert, `dit2` the low-noise expert. The "
        "gradient steps must run on a network named here.",
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
        "runs. 0.9 is `boundary_ratio` of Wan2.2-I2V-A14B.",
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
        None, "Video height in pixels, a multiple of 16. Empty: from the clip, within max_pixels.", ge=16
    )
    width: int | None = _field(
        None, "Video width in pixels, a multiple of 16. Empty: from the clip, within max_pixels.", ge=16
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


class SamplingConfig(Section):
    """The denoising steps and which of them carry the gradient."""

    num_inference_steps: int = _field(
        8, "Denoising steps per video; 4 or 8 for the distilled Wan2.2 (Lightning).", level="basic", ge=1
    )
    shift: float = _field(
        5.0,
        "Timestep shift s of the noise grid: sigma = s u / (1 + (s-1) u) with u = 1 - step/num_inference_steps. 5 is "
        "Wan2.2-Lightning's.",
        gt=0.0,
    )
    mid_timestep: int = _field(
        4,
        "First step that carries the gradient: a step index from 0. Steps before it run without gradient.",
        level="basic",
        ge=0,
    )
    final_timestep: int = _field(
        7,
        "Last step that runs and carries the gradient: a step index, at most num_inference_steps - 1. If sampling "
        "stops earlier, the predicted clean video of that step is decoded.",
        level="basic",
        ge=0,
    )
    gradient_decay: float = _field(
        1.0,
        "How much of the gradient flows on from one step to the step before it, 0 to 1. 1 is the exact gradient "
        "(DRaFT-K), 0 treats each step's input as a constant (DRTune); has no effect with a single gradient step.",
        ge=0.0,
        le=1.0,
    )
    gradient_mode: Literal["last_k", "random_k", "random_steps", "draft_lv", "refl"] = _field(
        "last_k",
        "Which of the steps from mid_timestep to final_timestep carry the gradient in an update. `last_k`: all "
        "(DRaFT-K). `random_k`: the last few, their number drawn evenly. `random_steps`: num_gradient_steps of them, "
        "step i drawn in proportion to (i+1)^2, the others passed over. `draft_lv`: the last alone, on num_renoised "
        "noisings of the finished video (DRaFT-LV). `refl`: one drawn step, whose clean prediction is scored (ReFL).",
    )
    num_gradient_steps: int = _field(
        2, "Steps that carry the gradient in an update when gradient_mode is `random_steps`.", ge=1
    )
    num_renoised: int = _field(
        2, "Noisings of the finished video that are averaged when gradient_mode is `draft_lv`.", ge=1
    )
    prefix_seeds: int = _field(
        0,
        "Noises per clip whose frozen leading steps (those before a network that trains) are computed once and kept, "
        "so that the high-noise expert, the text encoder and the VAE's encoder need not stay in memory. 0: fresh "
        "noise for every video, nothing kept.",
        ge=0,
    )
    decode_chunk: int | None = _field(
        4,
        "Latent frames (of 4 video frames each) that are decoded at a time for the gradient, so that memory does not "
        "grow with the length of the video. Empty: the whole video at once, which is faster for short ones.",
        applies="resume",
        ge=1,
    )
    decode_region: bool = _field(
        False,
        "Carry the gradient through the decoder only around the faces: less time and memory, not exact (see "
        "`bench gradients`).",
    )
    decode_margin: float = _field(
        0.5,
        "Room left around the faces on each side when decode_region is on, as a share of the faces' box.",
        ge=0.0,
    )


FACE_SIMILARITY = "face_similarity"  # the reward of rewards/identity.py


class RewardConfig(Section):
    """The face reward, the divergence penalty and how they add up to the loss."""

    reward_model_path: str | None = _field(
        None,
        "Folder with the ONNX files of a face pack: a SCRFD detector and an ArcFace recogniser, for example "
        "insightface's unzipped `antelopev2`. Leave empty for `pocket`.",
        level="basic",
        path="folder",
    )
    judge_model_path: str | None = _field(
        None,
        "A second face recogniser (ONNX file or folder) that is never trained on, so that an increase of the reward "
        "can be believed. Empty: no judge is measured, except for `pocket`, which has its own.",
        path="file",
    )
    rewards: Weights = _field(
        FACE_SIMILARITY,
        "Rewards that add up to R, comma-separated, each with a weight: `face_similarity`, and classes of your own as "
        "`package.module:ClassName=0.5` (see rewards/protocol.py). A weight of 0 is measured, not trained.",
    )
    reward_weight: float = _field(
        0.1,
        "Weight of the reward in the loss: loss = -reward_weight (R - reward_mean) / reward_std + kl_weight KL.",
        level="basic",
        applies="resume",
        ge=0.0,
    )
    reward_mean: float = _field(
        0.54,
        "Mean that the reward is normalised by, in units of cosine similarity. 0.54 is the reference's for Wan2.2.",
        applies="resume",
    )
    reward_std: float = _field(
        0.16,
        "Standard deviation that the reward is normalised by, above 0. 0.16 is the reference's for Wan2.2.",
        applies="resume",
        gt=0.0,
    )
    kl_weight: float = _field(
        1.0,
        "Weight of the divergence from the untrained model. Too low and the model cheats, for example by freezing the "
        "face; too high and it does not learn. 0 turns it off.",
        level="basic",
        applies="resume",
        ge=0.0,
    )
    kl_target: float | None = _field(
        None,
        "Divergence to hold: kl_weight is then only the start and is raised or lowered after every update, by at most "
        "2 percent. Empty: kl_weight stays as it is.",
        applies="resume",
        gt=0.0,
    )
    kl_steps: Literal["gradient", "expert"] = _field(
        "gradient",
        "Steps on which the divergence is measured: `gradient` is the steps that carry the gradient (the reference), "
        "`expert` is every sampled step of the trained experts, which keeps motion better.",
        applies="resume",
    )
    kl_through_x: bool = _field(
        False,
        "Let the divergence's gradient also flow through the latent that enters a step, as the reference "
        "implementation did. Off is the textbook form.",
        applies="resume",
    )
    anchor_weight: float = _field(
        0.0,
        "Weight of a flow-matching loss on the real clips, which holds the model near the data. 0 turns it off.",
        applies="resume",
        ge=0.0,
    )
    pool: Literal["mean", "centroid", "max", "first_frame"] = _field(
        "mean",
        "How a generated face is compared with the faces of the clip's real frames: mean or max of the similarities, "
        "similarity to their centroid, or to the first frame's face alone.",
    )
    hinge: bool = _field(
        False,
        "Let the reward saturate at the similarity the real clip has with itself, so that nothing is gained by being "
        "more alike than real.",
    )
    missing_face_penalty: float = _field(
        0.0,
        "Taken from the reward, times the share of frames in which the person should be seen but no face is found; 0 "
        "or more, in units of cosine similarity. Frames without a face give no gradient of their own.",
        applies="resume",
        ge=0.0,
    )
    include_first_frame: bool = _field(
        False, "Also score frame 0, which is given to the model and so rewards nothing. The reference included it."
    )
    gradient_frame_stride: int = _field(
        1,
        "Only every n-th frame's faces carry the gradient, from an offset drawn for each update, n times as strong: "
        "right on average, and faster. The reward itself is always that of all frames.",
        applies="resume",
        ge=1,
    )
    roll_compatible: bool = _field(
        False,
        "Reproduce the reward of the reference implementation (ROLL) with its colour order, scaling and frame 0. For "
        "comparison only: the default follows insightface.",
    )
    det_size: int = _field(
        640,
        "Side of the square the frames are fitted into for face detection, in pixels, a multiple of 32.",
        ge=32,
        multiple_of=32,
    )
    det_threshold: float = _field(0.5, "Lowest detection score that counts as a face, 0 to 1.", gt=0.0, lt=1.0)
    nms_threshold: float = _field(
        0.4, "Overlap (IoU, 0 to 1) above which two detections are taken for the same face.", gt=0.0, lt=1.0
    )


class LoraConfig(Section):
    """The low-rank adapter that is trained."""

    lora_base_model: Names = _field(
        "dit2",
        "Networks that get the LoRA, comma-separated; must be the networks in trainable_models. `none`: no LoRA, "
        "all weights of those networks train (in float32).",
    )
    lora_target_modules: Names = _field(
        "q,k,v,o,ffn.0,ffn.2",
        "Layers of each block that get the LoRA, comma-separated, by Wan's own names: q, k, v, o (attention) and "
        "ffn.0, ffn.2.",
    )
    lora_rank: int = _field(
        32, "Rank of the LoRA: more can learn more, costs memory and file size.", level="basic", ge=1
    )
    lora_alpha: float | None = _field(
        None, "Scale of the LoRA: its output is multiplied by lora_alpha / lora_rank. Empty: equal to the rank.", gt=0.0
    )
    lora_dropout: float = _field(
        0.0, "Share of the LoRA's inputs that is left out at random while training, 0 to 1.", ge=0.0, lt=1.0
    )


class TrainConfig(Section):
    """Optimisation: rates, batch sizes, length and saving."""

    learning_rate: float = _field(
        2.5e-6, "Learning rate of AdamW after the warm-up, above 0.", level="basic", applies="resume", gt=0.0
    )
    lr_scheduler_type: Literal["constant", "constant_with_warmup", "linear", "cosine", "polynomial"] = _field(
        "constant",
        "Course of the learning rate, by Hugging Face's names. `constant` has no warm-up; all others rise over "
        "warmup_steps first.",
        applies="resume",
    )
    per_device_train_batch_size: int = _field(1, "Videos per device that are sampled and scored together.", ge=1)
    gradient_accumulation_steps: int = _field(
        1, "Batches whose gradients are added up before one update: more videos per update without more memory.", ge=1
    )
    train_batch_size: int = _field(
        8,
        "Videos per update over all devices; must equal per_device_train_batch_size x gradient_accumulation_steps x "
        "num_processes.",
        level="basic",
        ge=1,
    )
    warmup_steps: int = _field(
        10,
        "Updates over which the learning rate rises from 0 (not used by the scheduler `constant`).",
        applies="resume",
        ge=0,
    )
    weight_decay: float = _field(0.0, "Weight decay of AdamW on the LoRA weights.", applies="resume", ge=0.0)
    num_train_epochs: int = _field(
        1,
        "Optimisation rounds per batch of samples: how many updates are made for the same prompts and noise.",
        applies="resume",
        ge=1,
    )
    max_steps: int = _field(100, "Updates in the whole run.", level="basic", applies="resume", ge=1)
    max_grad_norm: float = _field(
        1.0, "The gradient is scaled down when its norm is larger than this.", applies="resume", gt=0.0
    )
    ema_decay: float = _field(
        0.0,
        "Decay of a running mean of the trained weights, which is then what is evaluated and exported; 0.99 is a mean "
        "over about the last 100 updates. 0 turns it off.",
        ge=0.0,
        lt=1.0,
    )
    save_steps: int = _field(
        25, "A checkpoint is saved every this many updates, and at the end.", level="basic", applies="resume", ge=1
    )
    seed: int = _field(
        42,
        "Seed of the noise, the data order and the LoRA's first values; the same seed repeats a run.",
        level="basic",
        ge=0,
        lt=2**63,
    )


class EvaluationConfig(Section):
    """The fixed set of videos that is rendered before training and again along the way."""

    eval_steps: int = _field(
        10,
        "The evaluation videos are rendered every this many updates, and before the first.",
        level="basic",
        applies="resume",
        ge=1,
    )
    num_samples: int = _field(
        8, "Number of evaluation videos: the first rows of the evaluation set.", level="basic", ge=1
    )
    metadata_path: str | None = _field(
        None,
        "CSV file of clips for evaluation, best of people not in the training data. Empty: the first rows of "
        "data.metadata_path (`pocket` brings unseen people of its own).",
        path="file",
    )
    seed: int = _field(
        1234, "Seed of the noise of the evaluation videos, the same at every evaluation.", ge=0, lt=2**63
    )
    batch_size: int = _field(
        4, "Evaluation videos rendered together on a device; changes memory and speed only.", applies="resume", ge=1
    )


class DeepSpeedConfig(Section):
    """How the training is spread over devices."""

    zero_stage: int = _field(
        2,
        "DeepSpeed ZeRO stage: 0 nothing is divided among the devices, 1 optimizer state, 2 also gradients, 3 also the "
        "weights of the networks that train.",
        ge=0,
        le=3,
    )
    offload_optimizer: bool = _field(
        True, "Keep the optimizer state in CPU memory; needs zero_stage 1, 2 or 3 and saves GPU memory."
    )
    num_processes: int = _field(1, "Number of training processes, one per GPU (or 1 on a CPU).", level="basic", ge=1)
    offload_parameters: bool = _field(
        False, "Keep the divided weights in CPU memory between their uses; needs zero_stage 3."
    )
    hostfile: str | None = _field(
        None,
        "Machines to train on, one `host slots=N` per line, as the DeepSpeed launcher reads it; num_processes is then "
        "the sum of the slots. Empty: this machine alone.",
        path="file",
    )


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
