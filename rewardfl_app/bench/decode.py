"""The decode of a clip and its backward, beside diffusers' own loop over the latent frames in one graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor

from rewardfl_app.bench import case, straightforward, timing
from rewardfl_app.bench.report import Mark, Progress, Report
from rewardfl_app.bench.timing import Work
from rewardfl_app.bench.workload import Workload, changed
from rewardfl_app.config.schema import Config
from rewardfl_app.models.vae_stream import ChunkedDecode, Decode, GraphDecode

FRAMES = (17, 81)
REPEATS = 3
CHUNK = 4  # latent frames
_EXACT, _FLAT_IN_FRAMES = 1e-5, 1.3
_COLUMNS = (
    "x plain", "memory: share of plain", "what", "seconds", "plain: seconds", "added MB", "plain: added MB",
    "pixels off by", "gradient: relative error",
)  # fmt: skip


@dataclass(frozen=True)
class Decoded:
    """A clip's frames [B, 3, T, H, W] and the gradient [B, 16, T', h, w] at its latents."""

    video: Tensor
    gradient: Tensor


def measure(config: Config, progress: Progress) -> Report:
    """A clip in chunks and at once, in seconds (medians in one process) and memory (a process each). Raises
    CaseFailed, ConfigError."""
    report = Report("decode", _COLUMNS)
    progress("loading", 0, 1)
    workload = Workload(config)
    chunk = config.sampling.decode_chunk or CHUNK
    for frames in FRAMES:
        latent_frames = (frames - 1) // 4 + 1
        latents, _ = workload.latents(latent_frames)
        ways = {f"{frames} frames, {chunk} latent frames at a time": chunk, f"{frames} frames, at once": None}
        plain: Work = partial(plainly, workload, latents)
        works: dict[str, Work] = {name: partial(by_engine, workload, latents, size) for name, size in ways.items()}
        exact = plainly(workload, latents)
        errors = {name: differences(by_engine(workload, latents, size), exact) for name, size in ways.items()}
        times = timing.alternate({**works, "diffusers": plain}, REPEATS, progress)
        theirs = case.measure(config, "decode", case.PLAIN, latent_frames)
        for name, size in ways.items():
            progress(f"memory: {name}", 0, 1)
            mine = case.measure(changed(config, sampling={"decode_chunk": size}), "decode", case.ENGINE, latent_frames)
            own, other = median(times[name]), median(times["diffusers"])
            report.rows.append(
                [other / own, mine.added / theirs.added, name, own, other, mine.added, theirs.added, *errors[name]]
            )
            report.marks.append(Mark(f"{name}: largest difference of the pixels", errors[name][0], _EXACT))
            report.marks.append(Mark(f"{name}: relative error of the gradient", errors[name][1], _EXACT))
        report.parameters[f"{frames} frames"] = times
    in_chunks = [float(row[5] or 0) for row in report.rows[:: len(ways)]]
    report.marks.append(Mark("added in chunks: most frames over fewest", in_chunks[-1] / in_chunks[0], _FLAT_IN_FRAMES))
    height, width = (8 * side for side in latents.shape[3:])
    report.notes = [
        f"One clip of {width} x {height}, float32, and the gradient at its latents from a fixed one at its pixels "
        f"(nominally in [-1, 1]). plain: diffusers' own loop over the latent frames, the whole clip in one graph "
        f"(bench/straightforward.py). Medians of {REPEATS} that alternate in one process; added: the peak above what "
        "was loaded, each in a process of its own."
    ]
    return report


def work(workload: Workload, latent_frames: int, plain: bool) -> Work:
    """What a process of its own does to have its memory measured: one decode and its backward."""
    latents, _ = workload.latents(latent_frames)
    if plain:
        return partial(plainly, workload, latents)
    return partial(by_engine, workload, latents, workload.config.sampling.decode_chunk)


def by_engine(workload: Workload, latents: Tensor, chunk: int | None) -> Decoded:
    """Normalised latents [B, 16, T', h, w] decoded `chunk` latent frames at a time (None: at once), and pulled back."""
    vae = workload.model.vae
    decode: Decode = GraphDecode(vae, latents) if chunk is None else ChunkedDecode(vae, latents, chunk)
    video = torch.cat([frames for _, frames in decode.frames()], dim=2)
    return Decoded(video, decode.pull_back(lambda place, frames: _cotangent(frames, place), lambda place: True))


def plainly(workload: Workload, latents: Tensor) -> Decoded:
    """The same in one graph, by diffusers' loop."""
    leaf = latents.detach().clone().requires_grad_(True)
    video = straightforward.decode(workload.model.vae, leaf)
    (gradient,) = torch.autograd.grad(video, leaf, _cotangent(video, range(video.shape[2])))
    return Decoded(video.detach(), gradient)


def differences(found: Decoded, exact: Decoded) -> tuple[float, float]:
    """Largest difference of a pixel, and the relative error of the gradient."""
    pixels = float((found.video - exact.video).abs().max())
    return pixels, float((found.gradient - exact.gradient).norm() / exact.gradient.norm())


def _cotangent(frames: Tensor, place: range) -> Tensor:
    """d loss / d frames [B, 3, n, H, W] of a loss that weighs every pixel otherwise: of either sign, by its place."""
    parts = []
    for number in place:
        generator = torch.Generator().manual_seed(number)
        parts.append(torch.randn(frames[:, :, 0].shape, generator=generator))
    return torch.stack(parts, dim=2).to(frames)
