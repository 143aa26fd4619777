"""`roll_compatible` against a plain, frame-by-frame computation of the reference formula with onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from skimage.transform import SimilarityTransform
from torch import Tensor

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.rewards.detector import fit
from rewardfl_app.rewards.identity import IdentityReward
from rewardfl_app.rewards.pack import FacePack, load_pack

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def _largest_landmarks(
    session: onnxruntime.InferenceSession, frame: Tensor, size: int, threshold: float
) -> np.ndarray | None:
    """[5, 2] of the largest face that survives, None without one."""
    height, width = frame.shape[1:]
    ratio = height / width
    new = (size, int(size / ratio)) if ratio > 1 else (int(size * ratio), size)
    canvas = torch.zeros(1, 3, size, size)
    resized = F.interpolate(frame[None], new, mode="bilinear", align_corners=False, antialias=True)
    canvas[:, :, : new[0], : new[1]] = resized
    outputs = session.run(None, {session.get_inputs()[0].name: canvas.numpy()})
    found = []
    for level, stride in enumerate((8, 16, 32)):
        cells = size // stride
        for row, score in enumerate(outputs[level].reshape(-1)):
            if score < threshold:
                continue
            centre = np.array([(row // 2) % cells, (row // 2) // cells]) * stride
            left, top, right, bottom = outputs[level + 3].reshape(-1, 4)[row] * stride
            points = outputs[level + 6].reshape(-1, 5, 2)[row] * stride + centre
            box = np.array([centre[0] - left, centre[1] - top, centre[0] + right, centre[1] + bottom])
            found.append((score, box / (new[0] / height), points / (new[0] / height)))
    found.sort(key=lambda item: -item[0])
    kept: list[tuple[float, np.ndarray, np.ndarray]] = []
    for item in found:
        if all(_iou(item[1], other[1]) <= 0.4 for other in kept):
            kept.append(item)
    if not kept:
        return None
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for _, box, _ in kept]
    return kept[int(np.argmax(areas))][2]


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.prod(np.maximum(high - low, 0))
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def _embedding(session: onnxruntime.InferenceSession, frame: Tensor, landmarks: np.ndarray) -> np.ndarray:
    transform = SimilarityTransform()
    with pytest.warns(FutureWarning):
        transform.estimate(landmarks, TEMPLATE)
    height, width = frame.shape[1:]
    scale = torch.tensor([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1]], dtype=torch.float64)
    theta = torch.inverse(scale @ torch.from_numpy(transform.params) @ torch.inverse(scale))[:2]
    grid = F.affine_grid(theta[None], [1, 3, height, width], align_corners=True).float()
    warped = F.grid_sample(frame[None], grid, align_corners=True)[:, :, :112, :112]
    if warped.shape[-2:] != (112, 112):
        warped = F.interpolate(warped, (112, 112), mode="bilinear", align_corners=False, antialias=True)
    return session.run(None, {session.get_inputs()[0].name: warped[:, [2, 1, 0]].numpy()})[0][0]


def _plain(pack: FacePack, generated: Tensor, real: Tensor, size: int, threshold: float) -> float:
    sessions = [
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for path in (pack.detector.path, pack.recogniser.path)
    ]

    def embeddings(frames: Tensor) -> list[np.ndarray | None]:
        landmarks = [_largest_landmarks(sessions[0], frame, size, threshold) for frame in frames]
        return [None if p is None else _embedding(sessions[1], f, p) for f, p in zip(frames, landmarks, strict=True)]

    pool = [g for g in embeddings(real)[1:] if g is not None]
    seen = [e for e in embeddings(generated) if e is not None]
    cosines = [[float(e @ g / np.linalg.norm(e) / np.linalg.norm(g)) for g in pool] for e in seen]
    return float(np.mean([np.mean(row) for row in cosines]))


def _clips(height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(6, 3, 10, 10, generator=generator)
    smooth = F.interpolate(noise, (height, width), mode="bicubic").reshape(2, 3, 3, height, width)
    return smooth[0], smooth[1]


def _threshold(pack: FacePack, frames: Tensor) -> float:
    """A threshold, between two scores, that some twenty anchors per frame of a detector with random weights pass."""
    scores = torch.cat([o.flatten() for o in pack.detector._maps_in_torch(fit(frames, (128, 128))[0])[:3]])
    return float(scores.sort(descending=True)[0][20 * len(frames) : 20 * len(frames) + 2].mean())


@pytest.mark.parametrize("shape", [(140, 180), (200, 128), (64, 64)])
def test_reward_equals_the_plain_formula(small_pack: FacePack, shape: tuple[int, int]) -> None:
    generated, real = _clips(*shape)
    threshold = _threshold(small_pack, generated)
    settings = RewardConfig(det_size=128, det_threshold=threshold, roll_compatible=True)
    reward = IdentityReward(small_pack, settings)
    result = reward.score(generated, reward.reference(real, real[0]))
    assert result.has_face and all(len(faces) <= 1 for faces in result.faces)
    assert abs(float(result.reward)) < 0.9  # the embeddings differ, so the formula is put to a test
    assert float(result.reward) == pytest.approx(_plain(small_pack, generated, real, 128, threshold), abs=1e-5)


def test_reward_equals_the_plain_formula_on_a_real_clip(real_faces: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(real_faces / "video1.mp4")) as video:
        every = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    clip = torch.from_numpy(np.stack(every[::40])).permute(0, 3, 1, 2).float() / 127.5 - 1
    pack = load_pack(real_faces / "models" / "antelope_mini")
    reward = IdentityReward(pack, RewardConfig(det_size=320, roll_compatible=True))
    result = reward.score(clip, reward.reference(clip, clip[0]))
    assert float(result.reward) == pytest.approx(_plain(pack, clip, clip, 320, 0.5), abs=1e-5)


def test_gradient_flows(small_pack: FacePack) -> None:
    generated, real = _clips(140, 180)
    settings = RewardConfig(det_size=128, det_threshold=_threshold(small_pack, generated), roll_compatible=True)
    reward = IdentityReward(small_pack, settings)
    frames = generated.clone().requires_grad_()
    result = reward.score(frames, reward.reference(real, real[0]))
    result.reward.backward()
    assert frames.grad is not None and float(frames.grad.abs().max()) > 0
