"""Memory against the number of gradient steps and against the length of the video."""

from __future__ import annotations

from rewardfl_app.bench import case
from rewardfl_app.bench.report import Cell, Mark, Progress, Report
from rewardfl_app.bench.workload import changed
from rewardfl_app.config.schema import Config

STEPS = (1, 2, 4, 8)
FRAMES = (17, 49, 81)
_FLAT_IN_STEPS, _FLAT_IN_FRAMES = 1.15, 1.3
_COLUMNS = (
    "x smallest", "plain: x smallest", "what", "added MB", "plain: added MB", "peak MB", "plain: peak MB", "seconds",
    "plain: seconds",
)  # fmt: skip


def measure(config: Config, progress: Progress) -> Report:
    """Both tables in one; every row is two fresh processes. Raises CaseFailed, ConfigError."""
    chunk = config.sampling.decode_chunk or 4
    total = 2 * (len(STEPS) + len(FRAMES))
    report = Report("memory", _COLUMNS)
    by_steps = [(f"update, {k} gradient steps", with_steps(config, k, chunk), "update", 0) for k in STEPS]
    whole = changed(config, sampling={"decode_chunk": chunk})
    by_frames = [(f"decode, score, pull back: {n} frames", whole, "reward", (n - 1) // 4 + 1) for n in FRAMES]
    done = 0
    for name, limit, group in (
        ("gradient steps, largest over smallest", _FLAT_IN_STEPS, by_steps),
        ("frames, largest over smallest", _FLAT_IN_FRAMES, by_frames),
    ):
        pairs = []
        for what, settings, kind, latent_frames in group:
            pair = []
            for implementation in (case.ENGINE, case.PLAIN):
                progress(f"{what} ({implementation})", done, total)
                pair.append(case.measure(settings, kind, implementation, latent_frames))
                done += 1
            pairs.append(pair)
        (own, plain) = (pairs[0][0].added, pairs[0][1].added)
        for (what, *_), (mine, theirs) in zip(group, pairs, strict=True):
            row: list[Cell] = [mine.added / own, theirs.added / plain, what, mine.added, theirs.added]
            report.rows.append([*row, mine.peak, theirs.peak, mine.seconds, theirs.seconds])
        grown = max(mine.peak for mine, _ in pairs) / min(mine.peak for mine, _ in pairs)
        grown_plain = max(theirs.peak for _, theirs in pairs) / min(theirs.peak for _, theirs in pairs)
        report.marks.append(Mark(f"peak of the process: {name}", grown, limit))
        added = max(mine.added for mine, _ in pairs) / min(mine.added for mine, _ in pairs)
        report.marks.append(Mark(f"added above what is loaded: {name}", added, limit))
        report.notes.append(f"The plain implementation's peak grows {grown_plain:.2f} times ({name}).")
    report.notes.append(
        "added: the peak above what was resident when everything was loaded (on a GPU: of its own memory). plain: one "
        "graph over all gradient steps, the whole clip decoded, faces one frame at a time (bench/straightforward.py)."
    )
    report.parameters = {"decode_chunk": chunk, "steps": list(STEPS), "frames": list(FRAMES)}
    return report


def with_steps(config: Config, k: int, chunk: int) -> Config:
    """The configuration where the last k (1 to 8) of eight steps carry the gradient and the divergence, of one video,
    decoded `chunk` latent frames at a time, no step's graph kept. Raises ConfigError."""
    both = {"trainable_models": "dit,dit2"} if k > _low_noise_steps(config) else {"trainable_models": "dit2"}
    return changed(
        config,
        model=both,
        lora={"lora_base_model": both["trainable_models"]},
        sampling={
            "num_inference_steps": 8,
            "mid_timestep": 8 - k,
            "final_timestep": 7,
            "gradient_mode": "last_k",
            "decode_chunk": chunk,
            "keep_graphs": 0,
        },
        reward={"kl_weight": config.reward.kl_weight or 1.0, "kl_steps": "gradient", "kl_through_x": True},
        train={"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1, "train_batch_size": 1},
        deepspeed={"num_processes": 1, "context_parallel": 1},
    )


def _low_noise_steps(config: Config) -> int:
    from rewardfl_app.config import schedule

    experts = schedule.experts(8, config.sampling.shift, config.model.min_timestep_boundary)
    return sum(expert == "low_noise" for expert in experts)
