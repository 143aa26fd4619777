"""Alignment against insightface's norm_crop, and its gradient."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from insightface.utils import face_align

from rewardfl_app.rewards import alignment
from rewardfl_app.rewards.pack import FacePack

PLAIN = np.array(alignment.TEMPLATE, np.float32)


def _landmarks(scale: float, angle: float, x: float, y: float, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """The template's face, `scale` times as large, turned by `angle` radians around its middle, which lies at x, y."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (PLAIN - PLAIN.mean(0)) @ turn.T * scale + (x, y)
    return (points + np.random.default_rng(seed).normal(0, noise, (5, 2))).astype(np.float32)


def _image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1


CASES = [
    (1.0, 0.0, 80, 90),
    (0.5, 0.4, 60, 70),
    (1.6, -0.7, 100, 90),
    (1.9, 3.0, 90, 90),
    (0.9, 0.2, 5, 150),
    (0.3, 0.1, 195, 3),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [112, 128])
def test_transform_is_insightfaces(case: tuple[float, float, float, float], size: int) -> None:
    landmarks = _landmarks(*case, noise=3.0)
    expected = face_align.estimate_norm(landmarks, size)
    got = alignment.similarity_transforms(torch.from_numpy(landmarks)[None], size)[0]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_crop_is_insightfaces_while_no_pixel_is_skipped(case: tuple[float, float, float, float]) -> None:
    image, landmarks = _image(170, 200), _landmarks(*case, noise=1.0)
    expected = face_align.norm_crop(image, landmarks)
    transforms = alignment.similarity_transforms(torch.from_numpy(landmarks)[None])
    for eight_bit in (False, True):
        crop = alignment.crop(_tensor(image), torch.zeros(1, dtype=torch.long), transforms, eight_bit=eight_bit)
        difference = np.abs((crop[0].permute(1, 2, 0).numpy() + 1) * 127.5 - expected)
        assert difference.max() < (1.01 if eight_bit else 0.51)
        assert not eight_bit or (difference > 0.5).mean() < 2e-3


def test_faces_of_several_sizes_and_frames_are_cropped_together() -> None:
    frames = torch.cat([_tensor(_image(300, 320)), -_tensor(_image(300, 320))])
    landmarks = np.stack([_landmarks(0.4, 0, 50, 50), _landmarks(2.5, 0.3, 160, 150), _landmarks(1.2, 1, 100, 100)])
    transforms = alignment.similarity_transforms(torch.from_numpy(landmarks))
    index = torch.tensor([1, 0, 1])
    together = alignment.crop(frames, index, transforms)
    for m in range(3):
        alone = alignment.crop(frames, index[m : m + 1], transforms[m : m + 1])[0]
        torch.testing.assert_close(together[m], alone, rtol=0, atol=1e-4)


def test_shrinking_averages_what_plain_sampling_would_skip() -> None:
    rows, columns = np.mgrid[:900, :900]
    board = np.repeat((((rows + columns) % 2) * 255).astype(np.uint8)[:, :, None], 3, 2)
    transforms = alignment.similarity_transforms(torch.from_numpy(_landmarks(4.0, 0.0, 450, 450))[None])
    frames = _tensor(board).requires_grad_()
    crop = alignment.crop(frames, torch.zeros(1, dtype=torch.long), transforms)
    assert float(crop.detach().abs().max()) < 0.05
    crop.sum().backward()
    assert frames.grad is not None
    inside = frames.grad[0, 0, 200:580, 260:640]
    assert (inside > 0).all()  # every pixel of the face counts
    frames.grad = None
    alignment.crop(frames, torch.zeros(1, dtype=torch.long), transforms, antialias=False).sum().backward()
    assert (frames.grad[0, 0, 200:580, 260:640] == 0).float().mean() > 0.5


def test_gradient_equals_finite_differences_and_is_zero_elsewhere(small_pack: FacePack) -> None:
    recogniser = small_pack.recogniser
    target = torch.randn(recogniser.embedding_size, dtype=torch.float64)
    landmarks = np.stack([_landmarks(0.5, 0.3, 60, 55), _landmarks(2.3, -0.2, 150, 140)])
    transforms, index = alignment.similarity_transforms(torch.from_numpy(landmarks)), torch.tensor([0, 0])
    smooth = torch.nn.functional.avg_pool2d(_tensor(_image(420, 280)).double(), 5, 1, 2)

    def reward(frames: torch.Tensor) -> torch.Tensor:
        embeddings = recogniser(alignment.crop(frames, index, transforms))
        return torch.nn.functional.cosine_similarity(embeddings, target[None]).mean()

    recogniser.double()
    try:
        frames = smooth.clone().requires_grad_()
        reward(frames).backward()
        assert frames.grad is not None
        gradient = frames.grad
        direction = torch.randn(gradient.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        step = 1e-7
        slope = (reward(smooth + step * direction) - reward(smooth - step * direction)) / (2 * step)
        assert float(slope) == pytest.approx(float((gradient * direction).sum()), rel=1e-5)
        for y, x in [(55, 60), (140, 150), (100, 120)]:
            one = torch.zeros_like(smooth)
            one[0, 1, y, x] = 1e-5  # one pixel moves little, so the step must stand out of the rounding
            slope = (reward(smooth + one) - reward(smooth - one)) / 2e-5
            assert float(slope) == pytest.approx(float(gradient[0, 1, y, x]), rel=1e-4, abs=1e-9)
        assert float(gradient[:, :, 380:].abs().max()) == 0.0
        assert float(reward(smooth + 1e-2 * gradient / gradient.abs().max())) > float(reward(smooth))
    finally:
        recogniser.float()


def test_saturated_pixels_keep_their_gradient() -> None:
    frames = torch.full((1, 3, 120, 120), 1.4, requires_grad=True)
    transforms = alignment.similarity_transforms(torch.from_numpy(PLAIN)[None])
    for eight_bit in (False, True):
        frames.grad = None
        alignment.crop(frames, torch.zeros(1, dtype=torch.long), transforms, eight_bit=eight_bit).sum().backward()
        assert frames.grad is not None and float(frames.grad[0, :, 50, 50].min()) == pytest.approx(1.0, rel=1e-4)


def test_outside_the_frame_is_black_and_degenerate_landmarks_stay_finite() -> None:
    frames = torch.ones(1, 3, 60, 60, requires_grad=True)
    far = torch.from_numpy(_landmarks(1.0, 0.0, 500, 500))
    point = torch.full((5, 2), 30.0)
    transforms = alignment.similarity_transforms(torch.stack([far, point]))
    crops = alignment.crop(frames, torch.zeros(2, dtype=torch.long), transforms)
    assert torch.equal(crops[0].detach(), torch.full((3, 112, 112), -1.0))
    crops.sum().backward()
    assert torch.isfinite(crops).all() and frames.grad is not None and torch.isfinite(frames.grad).all()


def test_no_faces_give_no_crops() -> None:
    empty = alignment.crop(
        torch.zeros(1, 3, 8, 8), torch.zeros(0, dtype=torch.long), torch.zeros(0, 2, 3, dtype=torch.float64)
    )
    assert empty.shape == (0, 3, 112, 112)


def test_norm_crop_of_opencv_is_bilinear_with_black_border() -> None:
    """Pins the fact the crop relies on: OpenCV's warp is the exact bilinear one, within rounding."""
    image = _image(40, 40)
    moved = cv2.warpAffine(image, np.array([[1.0, 0, 0.25], [0, 1, 0]]), (40, 40), borderValue=0.0)
    expected = np.round(0.75 * image[:, 1:].astype(float) + 0.25 * image[:, :-1])
    assert np.abs(moved[:, 1:] - expected).max() <= 1
