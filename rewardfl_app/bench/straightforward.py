"""One update as the equations are written down: the reference of exactness, and what every ratio is measured against.

Prompt and first frame are encoded anew, all steps that carry the gradient stay in one autograd graph, the VAE decodes
the whole clip with diffusers' own loop, LoRA layers are PEFT's, and the faces are found and embedded one frame at a
time. It shares with the engine only what is not its subject: the networks, the detector, the crop and the rule that
makes a reward of faces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewardfl_app.config import schedule
from rewardfl_app.config.schema import Config
from rewardfl_app.models import conditioning, lora_linear
from rewardfl_app.models.sampling import predict_velocity
from rewardfl_app.rewards.identity import IdentityReward, RewardResult
from rewardfl_app.rewards.observation import Observer

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    from rewardfl_app.data.dataset import Clip
    from rewardfl_app.models.wan import WanModel
    from rewardfl_app.rendering.scoring import ClipReference

# frames [B, 3, T, H, W] and what they are compared with -> rewards [B], and which of them count [B] (bool)
Score = Callable[[Tensor, Sequence["ClipReference"]], tuple[Tensor, Tensor]]


class Straightforward:
    """The loss of a batch in one graph."""

    def __init__(
        self,
        model: WanModel,
        config: Config,
        score: Score,
        untrained: Callable[[], AbstractContextManager[object]],
    ) -> None:
        """`untrained()`: inside, the model's experts compute what they would without what is trained."""
        self._model = model
        self._config = config
        self._score = score
        self._untrained = untrained
        sampling = config.sampling
        sigmas = schedule.sigmas(sampling.num_inference_steps, sampling.shift)
        self._sigmas = [*sigmas[: sampling.final_timestep + 1], 0.0]
        self._experts = schedule.step_experts(config)

    def loss(
        self,
        clips: Sequence[Clip],
        references: Sequence[ClipReference],
        noise: Tensor,
        steps: Sequence[int] | None = None,
    ) -> Tensor:
        """The mean loss of the samples, a scalar whose graph reaches back through all `steps`.

        Args:
            noise: x_0 [B, 16, T', h, w]. steps: those that carry the gradient, by default all from mid_timestep.
        """
        steps = schedule.gradient_steps(self._config) if steps is None else steps
        text, condition = self.encode(clips)
        final, penalties = self._sample(text, condition, noise.to(self._model.device), steps)
        rewards, counted = self._score(decode(self._model.vae, final), references)
        reward = self._config.reward
        losses = -reward.reward_weight * (rewards - reward.reward_mean) / reward.reward_std
        losses = torch.where(counted, losses, rewards * 0)
        if penalties:
            losses = losses + reward.kl_weight * torch.stack(penalties).mean(0).to(losses)
        return losses.mean()

    def pull_back(self, clip: Clip, reference: ClipReference, noise: Tensor, count: int) -> None:
        """Adds the gradient of one sample's loss / `count` to that of the trained parameters; noise [16, T', h, w]."""
        with lora_linear.apart():
            (self.loss([clip], [reference], noise[None]) / count).backward()

    @torch.no_grad()
    def encode(self, clips: Sequence[Clip]) -> tuple[Tensor, Tensor]:
        """Text [B, L, D] and condition [B, 20, T', h, w] of the clips."""
        text = conditioning.encode_prompts(self._model, [clip.row.prompt for clip in clips])
        return text, torch.cat([self._condition(clip) for clip in clips])

    def _condition(self, clip: Clip) -> Tensor:
        vae = self._model.vae
        video = torch.zeros_like(clip.video)
        video[:, 0] = clip.first_frame
        if clip.last_frame is not None:
            video[:, -1] = clip.last_frame
        mode = vae.encode(video[None].to(self._model.device, vae.dtype)).latent_dist.mode().float()
        mean, std = _statistics(vae, mode)
        latents = (mode - mean) / std
        mask = torch.zeros_like(latents[:, :4])
        mask[:, :, 0] = 1
        if clip.last_frame is not None:
            mask[:, 3, -1] = 1
        return torch.cat([mask, latents], dim=1)

    def _sample(self, text: Tensor, condition: Tensor, x: Tensor, steps: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """x_N and the divergence [B] of each step that measures it."""
        reward = self._config.reward
        kl_steps = schedule.kl_steps(self._config) if reward.kl_weight > 0 else []
        penalties = []
        for step in range(len(self._sigmas) - 1):
            with torch.set_grad_enabled(step in steps):
                v = self._velocity(step, _scaled(x, self._config.sampling.gradient_decay), text, condition)
                following = x + (self._sigmas[step + 1] - self._sigmas[step]) * v
            if step in kl_steps:
                entering = x.detach()
                own = v if step in steps and reward.kl_through_x else self._velocity(step, entering, text, condition)
                with torch.no_grad(), self._untrained():
                    base = self._velocity(step, entering, text, condition)
                penalties.append(((own - base) ** 2 / (2 * self._sigmas[step] ** 2)).flatten(1).mean(1))
            x = following
        return x, penalties

    def _velocity(self, step: int, x: Tensor, text: Tensor, condition: Tensor) -> Tensor:
        return predict_velocity(self._model.experts[self._experts[step]], x, self._sigmas[step], text, condition)


def decode(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """`AutoencoderKLWan._decode` on normalised latents, without its clamp: frames [B, 3, T, H, W] in one graph."""
    mean, std = _statistics(vae, latents)
    vae.clear_cache()
    hidden = vae.post_quant_conv((latents * std + mean).to(vae.dtype))
    frames = []
    for index in range(hidden.shape[2]):
        vae._conv_idx = [0]
        first = {"first_chunk": True} if index == 0 else {}
        frames.append(
            vae.decoder(hidden[:, :, index : index + 1], feat_cache=vae._feat_map, feat_idx=vae._conv_idx, **first)
        )
    vae.clear_cache()
    video = torch.cat(frames, 2)
    patch = vae.config["patch_size"]
    if patch is not None:
        from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

        video = unpatchify(video, patch_size=patch)
    return video.float()


def frame_by_frame(identity: IdentityReward) -> Score:
    """The face similarity, every frame detected, cut out and embedded by itself."""
    observer = Observer(identity.pack, identity.settings)

    def score(video: Tensor, references: Sequence[ClipReference]) -> tuple[Tensor, Tensor]:
        results: list[RewardResult] = []
        for clip, reference in zip(video.transpose(1, 2), references, strict=True):
            seen = [observer.see(frame[None])[0] for frame in clip]
            results.append(identity.result_of(seen, reference.reward, clip[:0].sum()))
        counted = torch.tensor([result.has_face for result in results], device=video.device)
        return torch.stack([result.reward for result in results]), counted

    return score


def _statistics(vae: AutoencoderKLWan, like: Tensor) -> tuple[Tensor, Tensor]:
    shape = (1, -1, 1, 1, 1)
    return like.new_tensor(vae.config["latents_mean"]).view(shape), like.new_tensor(vae.config["latents_std"]).view(
        shape
    )


def _scaled(x: Tensor, alpha: float) -> Tensor:
    """x itself, whose gradient is multiplied by alpha."""
    return x if alpha == 1 else x.detach() + alpha * (x - x.detach())
