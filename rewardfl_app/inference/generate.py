"""One video from an image and a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rewardfl_app.config import family
from rewardfl_app.data import image, video
from rewardfl_app.data.dataset import to_pixels, to_tensor
from rewardfl_app.models import conditioning
from rewardfl_app.rendering.clips import Batch, EncodedClip
from rewardfl_app.rendering.videos import evaluation_noise, render

if TYPE_CHECKING:
    from rewardfl_app.inference.session import Session


def generate(session: Session, image_path: Path, prompt: str, seed: int, out: Path) -> None:
    """Writes the video that begins with the image. The same seed gives the same noise with every checkpoint.

    The size is the configuration's, or follows the image within data.max_pixels. Raises ImageError, VideoError.
    """
    data = session.config.data
    pixels = image.read(image_path)
    if data.height is not None and data.width is not None:
        height, width = data.height, data.width
    else:
        multiple = family.of(session.config.model).size_multiple
        height, width = video.fit_size(pixels.shape[0], pixels.shape[1], data.max_pixels, multiple)
    first = to_tensor(image.cover(pixels, height, width)[None])[:, 0]
    model = session.model
    condition = conditioning.encode_condition(model.vae, first[None].to(model.device), data.num_frames)[0]
    text = conditioning.encode_prompts(model, [prompt])[0]
    model.release("text_encoder", "vae_encoder")  # room for the experts
    size = (data.num_frames, height, width)
    clip = EncodedClip(1, image_path.stem, prompt, text, condition, clean=None, reference=None, size=size)
    noise = evaluation_noise(seed, 0, clip.latent_shape)
    frames = render(model, session.grid, Batch.of([clip]), torch.stack([noise]))[0]
    video.write(out, to_pixels(frames), data.fps)
