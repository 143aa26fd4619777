"""The reward's gradient in stages and in chunks against one plain graph: decode, score, loss, autograd.grad."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import tiny_wan
import torch
from brightness_trainer import BrightnessScorer
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor, nn

from rewardfl_app.config.schema import Config, RewardConfig, SamplingConfig
from rewardfl_app.models import vae_sequence
from rewardfl_app.rendering import face_windows
from rewardfl_app.rendering.face_gradients import FaceGradients
from rewardfl_app.rendering.reward_gradient import Pulled, RewardGradient
from rewardfl_app.rendering.scoring import ClipReference, Scorer
from rewardfl_app.rewards.alignment import TEMPLATE
from rewardfl_app.rewards.detector import Faces
from rewardfl_app.rewards.identity import IdentityReward
from rewardfl_app.rewards.mixture import ClipReward
from rewardfl_app.rewards.pack import FacePack
from rewardfl_app.rewards.protocol import RewardedClip

OWN = (("face_similarity", 1.0), ("own_rewards:Brightness", 0.5), ("own_rewards:NearFirstFrame", 0.0))
SIDE = 16
LATENTS = (16, 4, 4, 6)  # 13 frames of 32 x 48


class ContentDetector:
    """A face in the left and one in the right half of a frame, each where that half is brightest; none where the halves
    differ much in colour."""

    def __init__(self, people: int) -> None:
        self.people = people

    @torch.no_grad()
    def detect(self, frames: Tensor, det_size: int = 640, threshold: float = 0.5, nms: float = 0.4) -> list[Faces]:
        return [self._find(frame.float()) for frame in frames]

    def _find(self, frame: Tensor) -> Faces:
        boxes, landmarks = [], []
        half = frame.shape[2] // 2
        third = frame.shape[2] * 3 // 8
        apart = (frame[:, :, :third].mean((1, 2)) - frame[:, :, -third:].mean((1, 2))).abs().sum()
        for left in (0, half)[: self.people if apart < 0.33 else 0]:
            bright = torch.nn.functional.avg_pool2d(frame[None, :, :, left : left + half].mean(1), SIDE, 4)[0]
            top, column = divmod(int(bright.argmax()), bright.shape[1])
            x, y = left + 4.0 * column, 4.0 * top
            boxes.append([x, y, x + SIDE, y + SIDE, 0.9])
            landmarks.append(torch.tensor(TEMPLATE) / 112 * SIDE + torch.tensor([x, y]))
        return Faces(torch.tensor(boxes).reshape(-1, 5), torch.stack(landmarks) if landmarks else torch.zeros(0, 5, 2))


class SmallRecogniser(nn.Module):
    """Random convolutions."""

    size = 112

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 6, 7, 5), nn.Tanh(), nn.Conv2d(6, 8, 5, 4), nn.Tanh(), nn.Flatten())
        self.last = nn.Linear(200, 12)
        self.requires_grad_(False)
        self.register_buffer("dtype", torch.zeros(1))

    def forward(self, crops: Tensor) -> Tensor:
        return self.last(self.layers(crops))


def pack(people: int = 1) -> FacePack:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        detector, recogniser = cast(Any, ContentDetector(people)), cast(Any, SmallRecogniser())
    return FacePack(Path("content"), detector, recogniser, torch.device("cpu"))


class Setting:
    """A VAE, a scorer, and references that clips of other latents gave."""

    def __init__(self, people: int = 1, rewards: tuple[tuple[str, float], ...] = OWN[:1], double: bool = False) -> None:
        torch.manual_seed(0)
        self.vae: AutoencoderKLWan = tiny_wan.vae().eval().requires_grad_(False)
        with torch.no_grad():  # so that the frames depend on the latents enough to be told apart
            self.vae.decoder.conv_in.weight.mul_(6)
            self.vae.post_quant_conv.weight.mul_(2)
        made = pack(people)
        self.dtype = torch.float64 if double else torch.float32
        if double:
            self.vae.double()
            cast(nn.Module, made.recogniser).double()
        self.reward = RewardConfig(rewards=rewards, missing_face_penalty=0.1)
        self.scorer = Scorer(IdentityReward(made, self.reward), None, torch.device("cpu"))

    def latents(self, *seeds: int | None) -> Tensor:
        """Of clips with faces, and, for None, of a clip without any."""
        halves = torch.tensor([-8.0, 8.0]).repeat_interleave(LATENTS[3] // 2)
        halves = (torch.tensor([1.0, -1.0] * 8)[:, None, None, None] * halves).expand(LATENTS)
        clips = [halves if seed is None else self._random(seed) for seed in seeds]
        return torch.stack(clips).to(self.dtype)

    def references(self, count: int) -> list[ClipReference]:
        found = []
        for place in range(count):
            video = vae_sequence.decode(self.vae, self.latents(100 + place))[0]
            known = self.scorer.reference_of(self.scorer.foresee(video.transpose(0, 1)), is_clip=True)
            clip = RewardedClip("at night" if place == 1 else "day", video[:, 0].float(), Path("clip.mp4"))
            found.append(ClipReference(known.reward, None, clip if self.reward.rewards != OWN[:1] else None))
        return found

    def gradient(self, chunk: int | None, stride: int = 1, **sampling: Any) -> RewardGradient:
        reward = self.reward.model_copy(update={"gradient_frame_stride": stride})
        config = Config(sampling=SamplingConfig(decode_chunk=chunk, **sampling), reward=reward)
        return RewardGradient(self.vae, self.scorer, config)

    @staticmethod
    def _random(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        still = torch.randn(16, 1, *LATENTS[2:], generator=generator)
        return still + still.flip(3) + 0.4 * torch.randn(LATENTS, generator=generator)


def loss(results: Sequence[ClipReward]) -> Tensor:
    """Not linear, so that the values matter."""
    weights = torch.tensor([float(result.counted) for result in results])
    totals = torch.stack([result.total for result in results])
    return weights.to(totals) * (1 - totals).square() * 0.3


def plain(setting: Setting, latents: Tensor, references: Sequence[ClipReference]) -> Pulled:
    final = latents.clone().requires_grad_(True)
    raw = vae_sequence.denormalise(setting.vae, final)
    results = setting.scorer.rewards(vae_sequence.decode_raw(setting.vae, raw), references)
    losses = loss(results)
    (adjoint,) = torch.autograd.grad(losses.sum(), final)
    return Pulled(adjoint, losses.detach(), results)


def error(got: Tensor, want: Tensor) -> float:
    return float((got - want).norm() / want.norm())


def test_the_clips_of_these_tests_are_worth_testing() -> None:
    setting = Setting(people=2)
    references = setting.references(2)
    assert all(len(known.reward.people) == 2 for known in references)
    *found, empty = plain(setting, setting.latents(1, 2, 3, 4, None), [references[0]] * 5).results
    assert all(result.faces.face_rate > 0.5 and len(result.faces.tracks) >= 2 for result in found)
    assert not empty.counted and not any(empty.faces.faces)


@pytest.mark.parametrize(("rewards", "people"), [(OWN[:1], 2), (OWN, 1)], ids=["two people", "own rewards"])
@pytest.mark.parametrize("chunk", [None, 1, 3, 4])
def test_every_way_of_decoding_gives_the_gradient_of_one_graph(
    chunk: int | None, rewards: tuple[tuple[str, float], ...], people: int
) -> None:
    setting = Setting(people, rewards)
    latents, references = setting.latents(1, 2), setting.references(2)
    want, got = plain(setting, latents, references), setting.gradient(chunk).of(latents, references, loss, (0,))
    assert error(got.adjoint, want.adjoint) < 1e-5
    torch.testing.assert_close(got.losses, want.losses)
    for mine, theirs in zip(got.results, want.results, strict=True):
        assert not mine.total.requires_grad and not mine.faces.reward.requires_grad
        assert mine.terms == pytest.approx(theirs.terms, abs=1e-6) and mine.faces.face_rate == theirs.faces.face_rate
        assert float(mine.total) == pytest.approx(float(theirs.total.detach()), abs=1e-6)


@pytest.mark.parametrize(("batch", "double"), [(1, True), (4, False)])
def test_chunks_agree_with_one_graph(batch: int, double: bool) -> None:
    setting = Setting(people=2, double=double)
    latents, references = setting.latents(*range(1, batch + 1)), setting.references(batch)
    want = plain(setting, latents, references)
    got = setting.gradient(2).of(latents, references, loss, (0,))
    # diffusers' upsampling goes through float32 whatever the VAE is
    assert error(got.adjoint, want.adjoint) < (1e-7 if double else 1e-5)


@pytest.mark.parametrize(("chunk", "stride"), [(None, 1), (2, 1), (None, 3), (2, 3)])
def test_a_clip_without_a_face_gets_nothing_and_changes_nothing(chunk: int | None, stride: int) -> None:
    setting = Setting()
    references = setting.references(4)
    gradient = setting.gradient(chunk, stride)
    full = gradient.of(setting.latents(1, 2, 3, 4), references, loss, (5,))
    less = gradient.of(setting.latents(1, None, 3, 4), references, loss, (5,))
    assert float(less.adjoint[1].abs().max()) == 0 and not less.results[1].counted
    others = [0, 2, 3]
    if (chunk, stride) == (None, 1):  # one graph over the whole batch
        assert error(less.adjoint[others], full.adjoint[others]) < 1e-6
    else:
        assert torch.equal(less.adjoint[others], full.adjoint[others])
        assert torch.equal(less.losses[others], full.losses[others])


def test_nothing_to_score_at_all_gives_zero() -> None:
    setting = Setting()
    latents, references = setting.latents(None, None), setting.references(2)
    for chunk in (None, 2):
        pulled = setting.gradient(chunk).of(latents, references, loss, (0,))
        assert float(pulled.adjoint.abs().max()) == 0 and pulled.losses.tolist() == [0.0, 0.0]
        constant = setting.gradient(chunk).of(latents, references, lambda results: torch.ones(2), (0,))
        assert float(constant.adjoint.abs().max()) == 0


@pytest.mark.parametrize("chunk", [None, 2])
def test_a_stride_is_right_on_average_and_scores_every_frame(chunk: int | None) -> None:
    setting = Setting(people=2)
    latents, references = setting.latents(1), setting.references(1)
    want = plain(setting, latents, references)
    gradient = setting.gradient(chunk, stride=3)
    drawn: dict[float, Tensor] = {}
    for key in range(20):
        pulled = gradient.of(latents, references, loss, (7, key))
        assert float(pulled.results[0].total) == pytest.approx(float(want.results[0].total.detach()), abs=1e-6)
        drawn[float(pulled.adjoint.norm())] = pulled.adjoint
        if len(drawn) == 3:
            break
    assert len(drawn) == 3, "every offset is drawn some time"
    assert error(torch.stack(list(drawn.values())).mean(0), want.adjoint) < 1e-5
    assert torch.equal(gradient.of(latents, references, loss, (7, key)).adjoint, pulled.adjoint)


def test_a_stride_does_not_thin_what_looks_at_whole_videos() -> None:
    setting = Setting(1, (("own_rewards:Brightness", 1.0),))
    latents, references = setting.latents(1), setting.references(1)
    want = plain(setting, latents, references)
    for chunk in (None, 2):
        got = setting.gradient(chunk, stride=4).of(latents, references, loss, (0,))
        assert error(got.adjoint, want.adjoint) < 1e-5


def test_a_scorer_that_looks_at_pixels_alone_works_in_chunks_too() -> None:
    setting, scorer = Setting(), cast(Any, BrightnessScorer(faceless=[1]))
    latents, references = setting.latents(1, 2), setting.references(2)
    whole, chunks = (
        RewardGradient(setting.vae, scorer, Config(sampling=SamplingConfig(decode_chunk=chunk))) for chunk in (None, 1)
    )
    want, got = (gradient.of(latents, references, loss, (0,)) for gradient in (whole, chunks))
    assert error(got.adjoint, want.adjoint) < 1e-5 and float(got.adjoint[1].abs().max()) == 0


@pytest.mark.parametrize("chunk", [None, 2])
def test_a_region_that_holds_everything_gives_the_whole_gradient(chunk: int | None) -> None:
    setting = Setting(people=2)
    latents, references = setting.latents(1, None), setting.references(2)
    want = plain(setting, latents, references)
    got = setting.gradient(chunk, decode_region=True, decode_margin=50.0).of(latents, references, loss, (0,))
    assert float(got.adjoint[1].abs().max()) == 0
    assert error(got.adjoint, want.adjoint) < 1e-5
    assert float(got.results[0].total) == pytest.approx(float(want.results[0].total.detach()), abs=1e-6)


def test_a_region_leaves_the_rest_of_the_picture_alone() -> None:
    setting = Setting()
    latents, references = setting.latents(1), setting.references(1)
    want = plain(setting, latents, references)
    got = setting.gradient(None, decode_region=True, decode_margin=0.0).of(latents, references, loss, (0,))
    (window,) = face_windows.around(_faces(setting, latents, references), 0.0, (4, 6), 8)
    outside = got.adjoint.clone()
    outside[..., window.rows, window.columns] = 0
    assert float(outside.abs().max()) == 0 and float(got.adjoint.abs().max()) > 0
    assert torch.nn.functional.cosine_similarity(got.adjoint.flatten(), want.adjoint.flatten(), dim=0) > 0.5
    assert float(got.losses) == pytest.approx(float(want.losses), abs=1e-6)


def _faces(setting: Setting, latents: Tensor, references: Sequence[ClipReference]) -> FaceGradients:
    """Of one clip, those after frame 0, all with a gradient of one."""
    video = vae_sequence.decode(setting.vae, latents)[0].transpose(0, 1)
    seen = setting.scorer.foresee(video)
    (result,) = setting.scorer.combine([seen], None, references[:1])
    count = sum(len(faces) for faces in seen)
    return FaceGradients.of(seen, torch.ones(count, 12), result.faces.faces).within(range(1, len(seen)))
