"""Landmarks, pose, age and sex against insightface's own classes, on small graphs of the released formats."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from face_graphs import age_file, landmark_3d_file, landmark_file, pack_folder
from insightface.app import FaceAnalysis
from insightface.app.common import Face
from onnx import helper
from torch import Tensor

from rewardfl_app.rewards import attributes, onnx_session
from rewardfl_app.rewards.attributes import Attributes, head_pose, upright_crops
from rewardfl_app.rewards.pack import load_pack

# Inside, tiny, larger than the crop (it shrinks), across each edge, wholly outside.
BOXES = [
    (40.3, 30.7, 90.2, 101.5), (60.0, 60.0, 64.5, 63.0), (5.5, 3.2, 235.1, 176.4), (-30.0, 20.0, 35.5, 90.0),
    (200.4, 150.2, 280.0, 230.0), (300.0, 10.0, 340.0, 60.0),
]  # fmt: skip


def _frames(count: int = 3, height: int = 180, width: int = 240) -> np.ndarray:
    small = np.random.default_rng(3).integers(0, 256, (count, 20, 26, 3), dtype=np.uint8)
    return np.stack([cv2.resize(s, (width, height), interpolation=cv2.INTER_CUBIC) for s in small])


def _tensor(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


def _faces() -> tuple[Tensor, Tensor]:
    """Frame [M] and box [M, 5] of every box in every frame."""
    boxes = torch.tensor(BOXES, dtype=torch.float32)
    index = torch.arange(3).repeat_interleave(len(boxes))
    return index, torch.cat([boxes.repeat(3, 1), torch.ones(len(index), 1)], 1)


@pytest.fixture(scope="module")
def full_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = pack_folder(tmp_path_factory.mktemp("full"))
    landmark_file(folder / "2d106det.onnx")
    landmark_3d_file(folder / "1k3d68.onnx")
    age_file(folder / "genderage.onnx")
    return folder


def _attributes(folder: Path) -> Attributes:
    found = load_pack(folder).attributes
    assert found is not None
    return found


def _insightface(app: FaceAnalysis, frame: np.ndarray, box: np.ndarray) -> Any:
    face = Face(bbox=box)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for task, model in app.models.items():
            if task not in ("detection", "recognition"):
                model.get(np.ascontiguousarray(frame[:, :, ::-1]), face)
    return face


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize("kind", ["plain", "normalises", "fixed_batch"])
def test_attributes_equal_insightface(
    full_pack: Path, tmp_path: Path, kind: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_session, "is_enough", lambda module: engine == "onnxruntime")
    folder = full_pack
    if kind != "plain":
        folder = pack_folder(tmp_path / "pack")
        landmark_file(folder / "2d106det.onnx", **{kind: True})
    frames, (index, boxes) = _frames(), _faces()
    measured = _attributes(folder).measure(_tensor(frames), index, boxes)
    assert len(measured) == len(boxes)
    app = FaceAnalysis(name=str(folder), providers=["CPUExecutionProvider"])
    for n, box, ours in zip(index.tolist(), boxes.numpy(), measured, strict=True):
        theirs, size = _insightface(app, frames[n], box[:4]), float((box[2:4] - box[:2]).max())
        assert ours.landmarks_106 is not None and ours.landmarks_106.shape == (106, 2)
        np.testing.assert_allclose(ours.landmarks_106.numpy(), theirs.landmark_2d_106, atol=1e-4 * size)
        if kind != "plain":
            assert (ours.landmarks_68, ours.pose, ours.age, ours.sex) == (None,) * 4
            continue
        assert ours.landmarks_68 is not None and ours.pose is not None and ours.age is not None
        np.testing.assert_allclose(ours.landmarks_68.numpy(), theirs.landmark_3d_68, atol=1e-4 * size)
        np.testing.assert_allclose(ours.pose, theirs.pose, atol=0.01)
        assert abs(ours.age - theirs.age) <= 1 and ours.sex == theirs.sex


def test_the_networks_see_the_faces_and_not_only_themselves(full_pack: Path) -> None:
    """Or the comparison above would hold for any crop."""
    index, boxes = _faces()
    first, second, *_ = _attributes(full_pack).measure(_tensor(_frames()), index, boxes)
    assert first.landmarks_106 is not None and second.landmarks_106 is not None
    in_crop = [
        (face.landmarks_106 - box[:2]) / (box[2:4] - box[:2]).amax()
        for face, box in zip((first, second), boxes, strict=False)
    ]
    assert float((in_crop[0] - in_crop[1]).abs().max()) > 0.02


@pytest.mark.parametrize("size", [96, 192])
def test_crops_are_insightfaces_to_one_level(size: int) -> None:
    from insightface.utils import face_align

    frames, (index, boxes) = _frames(), _faces()
    crops, _, _ = upright_crops(_tensor(frames), index, boxes, size)
    for n, box, crop in zip(index.tolist(), boxes.numpy(), crops, strict=True):
        centre, longest = (box[:2] + box[2:4]) / 2, (box[2:4] - box[:2]).max()
        expected, _ = face_align.transform(frames[n], centre, size, size / (longest * 1.5), 0)
        difference = np.abs(crop.permute(1, 2, 0).numpy() - expected)
        assert difference.max() <= 1 and (difference > 0).mean() < 5e-3


def test_first_file_of_each_kind_counts_and_unknown_kinds_are_not_read(tmp_path: Path) -> None:
    folder = pack_folder(tmp_path)
    landmark_file(folder / "a.onnx", seed=1)
    landmark_file(folder / "b.onnx", seed=2)
    found = _attributes(folder)
    assert {task: path.name for task, path in found.paths.items()} == {"landmark_2d_106": "a.onnx"}


def test_pack_without_further_files_has_no_attributes(small_pack_folder: Path) -> None:
    assert load_pack(small_pack_folder).attributes is None


def test_a_file_that_cannot_be_used_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = pack_folder(tmp_path)
    age_file(folder / "genderage.onnx")
    path = landmark_file(folder / "2d106det.onnx")
    model = onnx.load(str(path))
    model.graph.node.append(helper.make_node("Hardmax", [model.graph.output[0].name], ["odd"], name="odd_0"))
    model.graph.output[0].name = "odd"
    onnx.save(model, str(path))
    with caplog.at_level(logging.WARNING):
        found = _attributes(folder)
    assert list(found.paths) == ["genderage"]
    assert "2d106det.onnx" in caplog.text and "Hardmax" in caplog.text


def test_without_insightfaces_mean_face_there_are_landmarks_but_no_pose(
    full_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import insightface.data

    attributes._mean_face.cache_clear()
    monkeypatch.setattr(insightface.data, "get_object", lambda name: None)
    index, boxes = _faces()
    measured = _attributes(full_pack).measure(_tensor(_frames()), index[:1], boxes[:1])
    attributes._mean_face.cache_clear()
    assert measured[0].landmarks_68 is not None and measured[0].pose is None


def test_pose_of_a_turned_head() -> None:
    """A head turned by known angles, moved and enlarged, gives these angles back."""
    generator = torch.Generator().manual_seed(0)
    mean_face = torch.randn(68, 3, generator=generator, dtype=torch.float64)
    for pitch, yaw, roll in ((0.0, 0.0, 0.0), (10.0, -35.0, 20.0), (-25.0, 60.0, -80.0)):
        a, b, c = (torch.deg2rad(torch.tensor(v, dtype=torch.float64)) for v in (pitch, yaw, roll))
        one, zero = torch.ones_like(a), torch.zeros_like(a)
        about_x = torch.stack([one, zero, zero, zero, a.cos(), -a.sin(), zero, a.sin(), a.cos()]).reshape(3, 3)
        about_y = torch.stack([b.cos(), zero, b.sin(), zero, one, zero, -b.sin(), zero, b.cos()]).reshape(3, 3)
        about_z = torch.stack([c.cos(), -c.sin(), zero, c.sin(), c.cos(), zero, zero, zero, one]).reshape(3, 3)
        seen = 40 * mean_face @ (about_z @ about_y @ about_x).T + torch.tensor([100.0, 50.0, 3.0])
        np.testing.assert_allclose(head_pose(seen[None], mean_face)[0], (pitch, yaw, roll), atol=1e-6)


def test_no_face_and_frames_of_other_types(full_pack: Path) -> None:
    found = _attributes(full_pack)
    index, boxes = _faces()
    frames = _tensor(_frames())
    assert found.measure(frames, index[:0], boxes[:0]) == []
    plain = found.measure(frames, index, boxes)[0]
    half = found.measure(frames.bfloat16(), index, boxes)[0]
    levels = found.measure(torch.from_numpy(_frames()).permute(0, 3, 1, 2), index, boxes)[0]
    assert plain.landmarks_106 is not None and half.landmarks_106 is not None
    assert float((plain.landmarks_106 - half.landmarks_106).abs().max()) < 2
    assert levels.landmarks_106 is not None and torch.equal(plain.landmarks_106, levels.landmarks_106)


def test_many_faces_are_measured_in_parts(full_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, frames, (index, boxes) = _attributes(full_pack), _tensor(_frames()), _faces()
    whole = found.measure(frames, index, boxes)
    monkeypatch.setattr(attributes, "_FACES_AT_ONCE", 4)
    for one, other in zip(whole, found.measure(frames, index, boxes), strict=True):
        assert one.landmarks_106 is not None and other.landmarks_106 is not None
        torch.testing.assert_close(one.landmarks_106, other.landmarks_106, rtol=1e-4, atol=1e-3)
        assert (one.age, one.sex) == (other.age, other.sex)
