"""What is trained and how: the sections `lora`, `train`, `evaluation` and `deepspeed`."""

from __future__ import annotations

from typing import Literal

from rewardfl_app.config.section import Names, Section, Weights
from rewardfl_app.config.section import field as _field


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
        2.5e-6, "Learning rate of AdamW after the warm-up, above 0.", level="basic", applies="live", gt=0.0
    )
    lr_scheduler_type: Literal[
        "constant",
        "constant_with_warmup",
        "linear",
        "cosine",
        "cosine_with_restarts",
        "polynomial",
        "inverse_sqrt",
        "cosine_with_min_lr",
        "cosine_warmup_with_min_lr",
        "warmup_stable_decay",
    ] = _field(
        "constant",
        "Course of the learning rate, by Hugging Face's names. `constant` has no warm-up; all others rise over "
        "warmup_steps first. reduce_lr_on_plateau and greedy are not there: they follow a measured value, not the "
        "number of updates, and the reward must not steer its own learning rate.",
        applies="resume",
    )
    lr_scheduler_kwargs: Weights = _field(
        "",
        "Numbers of the learning rate's course, as `name=value` with commas between, by Hugging Face's names: "
        "num_cycles, power, lr_end, timescale, min_lr or min_lr_rate, warmup_lr_rate, num_decay_steps, "
        "num_stable_steps, min_lr_ratio. cosine_with_min_lr needs `min_lr_rate=0.1` or a min_lr, warmup_stable_decay "
        "needs num_decay_steps.",
        applies="resume",
    )
    per_device_train_batch_size: int = _field(
        1, "Videos per device that are sampled and scored together.", applies="resume", ge=1
    )
    gradient_accumulation_steps: int = _field(
        1,
        "Batches whose gradients are added up before one update: more videos per update without more memory.",
        applies="resume",
        ge=1,
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
        applies="live",
        ge=0,
    )
    weight_decay: float = _field(0.0, "Weight decay of AdamW on the trained weights.", applies="live", ge=0.0)
    num_train_epochs: int = _field(
        1,
        "Optimisation rounds per batch of samples: how many updates are made for the same prompts and noise.",
        applies="live",
        ge=1,
    )
    max_steps: int = _field(100, "Updates in the whole run.", level="basic", applies="live", ge=1)
    max_grad_norm: float = _field(
        1.0, "The gradient is scaled down when its norm is larger than this.", applies="live", gt=0.0
    )
    ema_decay: float = _field(
        0.0,
        "Decay of a running mean of the trained weights, which is then what is evaluated and exported; 0.99 is a mean "
        "over about the last 100 updates. 0 turns it off.",
        ge=0.0,
        lt=1.0,
    )
    save_steps: int = _field(
        25, "A checkpoint is saved every this many updates, and at the end.", level="basic", applies="live", ge=1
    )
    save_total_limit: int | None = _field(
        None,
        "How many checkpoints are kept: the newest, and the best step's beside them; older ones are removed after each "
        "save. Empty: all.",
        applies="live",
        ge=1,
    )
    min_free_gb: float = _field(
        0.2,
        "Free space, in GB, that must be left on the disk of the runs folder after a sample or a checkpoint is "
        "written. Where it would not be, the run pauses until there is room.",
        applies="resume",
        ge=0.0,
    )
    disk_wait_minutes: float = _field(
        60.0,
        "How long, in minutes, a run pauses for want of disk space before it ends; it can be resumed then.",
        applies="resume",
        ge=0.0,
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
        applies="live",
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
        "weights of the networks that train. A checkpoint can be continued with another stage.",
        applies="resume",
        ge=0,
        le=3,
    )
    offload_optimizer: bool = _field(
        True,
        "Keep the optimizer state in CPU memory; needs zero_stage 1, 2 or 3 and saves GPU memory.",
        applies="resume",
    )
    num_processes: int = _field(
        1,
        "Number of training processes, one per GPU; on a CPU they share its cores. A checkpoint can be continued by "
        "another number of them, as long as train_batch_size stays the same.",
        level="basic",
        applies="resume",
        ge=1,
    )
    context_parallel: int = _field(
        1,
        "How many processes share a video, each with a part of its tokens: what a step keeps of a long or large video "
        "is divided by it. Each such group counts as one of the processes that train_batch_size is dealt to. Divides "
        "num_processes, the attention heads (Wan2.2-I2V-A14B has 40, TI2V-5B 24) and the tokens of a video; best "
        "within one machine. attention_backend `native` then computes attention once more on the way back, "
        "`native_flash` does not.",
        applies="resume",
        ge=1,
    )
    offload_parameters: bool = _field(
        False,
        "Keep the divided weights in CPU memory between their uses; needs zero_stage 3.",
        applies="resume",
    )
    devices: Names = _field(
        "",
        "GPUs to train on, by the numbers or names that CUDA_VISIBLE_DEVICES takes, comma-separated: as many as "
        "num_processes. Empty: the first that are visible.",
        applies="resume",
    )
    share_devices: bool = _field(
        False,
        "Start even while another run trains on the same devices. Off: a second start is refused, so that two runs "
        "never get into each other's way by accident. A queued run always waits for its devices.",
        applies="resume",
    )
    timeout_minutes: float = _field(
        30.0,
        "How long, in minutes, the processes wait for one that gives no sign of life before the run is ended, above 0.",
        applies="resume",
        gt=0.0,
    )
    hostfile: str | None = _field(
        None,
        "Machines to train on, one `host slots=N` per line, as the DeepSpeed launcher reads it; num_processes is then "
        "the sum of the slots. Empty: this machine alone.",
        applies="resume",
        path="file",
    )
