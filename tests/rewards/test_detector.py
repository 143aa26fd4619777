"""The detector against insightface's own decoder, on small graphs of the released formats."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from face_graphs import detector_file
from insightface.model_zoo.scrfd import SCRFD

from rewardfl_app.rewards.detector import FaceDetector, fit, fitted, non_maximum
from rewardfl_app.rewards.onnx_graph import OnnxGraph, PackError

FORMATS = {
    "rows of one frame, 3 levels, 2 anchors": {"levels": 3, "anchors": 2},
    "batched, 3 levels, 2 anchors": {"levels": 3, "anchors": 2, "batched": True},
    "rows of one frame, 5 levels, 1 anchor": {"levels": 5, "anchors": 1},
}


def _frames(count: int, height: int, width: int) -> np.ndarray:
    small = np.random.default_rng(1).integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)
    return np.stack([cv2.resize(s, (width, height), interpolation=cv2.INTER_CUBIC) for s in small])


def _tensor(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


def _threshold(detector: FaceDetector, frames: np.ndarray, size: tuple[int, int]) -> float:
    """A threshold, between two scores, that a few anchors of random weights pass."""
    levels = len(detector.strides)
    scores = torch.cat([o.flatten() for o in detector._maps_in_torch(fit(_tensor(frames), size)[0])[:levels]])
    return float(scores.sort(descending=True)[0][39:41].mean())


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("shape", [(90, 160), (200, 120), (128, 128)])
def test_boxes_and_landmarks_equal_insightface(tmp_path: Path, kind: str, shape: tuple[int, int]) -> None:
    path = detector_file(tmp_path / "d.onnx", **FORMATS[kind])  # type: ignore[arg-type]
    detector, frames, size = FaceDetector(OnnxGraph(path)), _frames(3, *shape), (128, 128)
    threshold = _threshold(detector, frames, size)
    other = SCRFD(str(path))
    other.prepare(-1, input_size=size, det_thresh=threshold)
    found = detector.detect(_tensor(frames), size, threshold)
    assert sum(len(faces) for faces in found) > 3
    for frame, faces in zip(frames, found, strict=True):
        boxes, landmarks = other.detect(np.ascontiguousarray(frame[:, :, ::-1]))
        assert len(faces) == len(boxes)
        np.testing.assert_allclose(faces.boxes.numpy(), boxes, atol=2e-2)
        np.testing.assert_allclose(faces.landmarks.numpy(), landmarks, atol=2e-2)


def test_frames_do_not_see_each_other(tmp_path: Path) -> None:
    detector = FaceDetector(OnnxGraph(detector_file(tmp_path / "d.onnx")))
    frames = _frames(4, 96, 96)
    threshold = _threshold(detector, frames, (96, 96))
    together = detector.detect(_tensor(frames), 96, threshold)
    for alone, faces in zip(_tensor(frames), together, strict=True):
        torch.testing.assert_close(
            detector.detect(alone[None], 96, threshold)[0].boxes, faces.boxes, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("target", [(128, 96), (640, 640), (64, 64), (53, 97)])
def test_resize_is_opencvs_to_one_level(target: tuple[int, int]) -> None:
    frame = _frames(1, 90, 150)[0]
    canvas, scale = fit(_tensor(frame[None]), target)
    height, width = fitted(90, 150, target)
    expected = np.zeros((target[1], target[0], 3), np.uint8)
    expected[:height, :width] = cv2.resize(frame, (width, height))
    got = (canvas[0].permute(1, 2, 0) * 128 + 127.5).round().numpy()
    difference = np.abs(got - expected)
    assert scale == pytest.approx(height / 90)
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3


def test_values_out_of_range_are_clamped_for_detection(tmp_path: Path) -> None:
    canvas, _ = fit(torch.tensor([-3.0, 0.0, 2.0]).reshape(1, 3, 1, 1).expand(1, 3, 32, 32), (32, 32))
    assert canvas[0, :, 0, 0].tolist() == pytest.approx([-127.5 / 128, 0.5 / 128, 127.5 / 128])


def test_detection_size_must_fit_the_strides(tmp_path: Path) -> None:
    detector = FaceDetector(OnnxGraph(detector_file(tmp_path / "d.onnx")))
    with pytest.raises(ValueError, match="not a multiple of 32"):
        detector.detect(torch.zeros(1, 3, 50, 50), 100)


def test_detector_without_landmarks_is_refused(tmp_path: Path) -> None:
    path = detector_file(tmp_path / "d.onnx")
    graph = OnnxGraph(path)
    graph.output_names = graph.output_names[:6]
    with pytest.raises(PackError, match="without landmarks"):
        FaceDetector(graph)


def test_no_face_gives_empty_faces(tmp_path: Path) -> None:
    detector = FaceDetector(OnnxGraph(detector_file(tmp_path / "d.onnx")))
    (faces,) = detector.detect(torch.zeros(1, 3, 64, 64), 64, threshold=1.1)
    assert len(faces) == 0 and faces.landmarks.shape == (0, 5, 2)


def test_suppression_keeps_the_best_of_overlapping_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 30, 30]], float)
    assert non_maximum(boxes, 0.4) == [0, 2, 3]
    assert non_maximum(boxes[:0], 0.4) == []
