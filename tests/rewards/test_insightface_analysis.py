"""insightface's analysis of any folder, and the report of how far ours agrees with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from face_graphs import detector_file, pack_folder, recogniser_file
from torch import Tensor

from rewardfl_app.rewards import alignment, insightface_analysis
from rewardfl_app.rewards.detector import Faces, fit
from rewardfl_app.rewards.insightface_analysis import InsightfaceCheck, ParityReport, analysis, compare
from rewardfl_app.rewards.pack import FacePack, PackError, load_pack

SIZE = 128


@dataclass
class Seen:
    detections: Faces
    embeddings: Tensor


def _frames(count: int = 4, height: int = 140, width: int = 180) -> np.ndarray:
    small = np.random.default_rng(7).integers(0, 256, (count, 12, 14, 3), dtype=np.uint8)
    return np.stack([cv2.resize(s, (width, height), interpolation=cv2.INTER_CUBIC) for s in small])


def _tensor(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


def _threshold(pack: FacePack, frames: np.ndarray) -> float:
    """A threshold, between two scores, that a few anchors of random weights pass."""
    scores = torch.cat([o.flatten() for o in pack.detector._maps_in_torch(fit(_tensor(frames), (SIZE, SIZE))[0])[:3]])
    return float(scores.sort(descending=True)[0][39:41].mean())


def _seen(pack: FacePack, frames: np.ndarray, threshold: float) -> list[Seen]:
    seen = []
    for frame in _tensor(frames).split(1):
        (faces,) = pack.detector.detect(frame, SIZE, threshold)
        transforms = alignment.similarity_transforms(faces.landmarks)
        crops = alignment.crop(frame, torch.zeros(len(faces), dtype=torch.long), transforms, eight_bit=True)
        seen.append(Seen(faces, F.normalize(pack.recogniser(crops), dim=1)))
    return seen


def _files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def _quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing of insightface's may reach the screen."""
    yield
    captured = capfd.readouterr()
    assert captured.out == "" and "Applied providers" not in captured.err


def test_our_faces_agree_chunk_by_chunk(small_pack: FacePack, small_pack_folder: Path) -> None:
    before, frames = _files(small_pack_folder), _frames()
    threshold = _threshold(small_pack, frames)
    check = InsightfaceCheck(small_pack_folder, SIZE, threshold)
    seen = _seen(small_pack, frames, threshold)
    check.add(frames[:3], seen[:3])
    check.add(frames[3:], seen[3:])
    report = check.result()
    assert report.frames == 4 and report.faces == sum(len(s.detections) for s in seen) > 3
    assert report.agrees and report.count_differences == ()
    assert report.lowest_iou is not None and report.lowest_iou >= 0.98
    assert report.lowest_cosine is not None and report.lowest_cosine >= 0.9999
    assert report.insightface_seconds > 0 and report.provider.endswith("ExecutionProvider")
    assert _files(small_pack_folder) == before


def test_suppression_threshold_reaches_insightface(small_pack: FacePack, small_pack_folder: Path) -> None:
    frames = _frames()
    threshold = _threshold(small_pack, frames)
    few, many = (
        compare(analysis(small_pack_folder, SIZE, threshold, nms), frames, [_nobody()] * 4).faces for nms in (0.05, 0.9)
    )
    assert few < many


def _nobody() -> Seen:
    return Seen(Faces(torch.zeros(0, 5), torch.zeros(0, 5, 2)), torch.zeros(0, 32))


def test_differences_are_found(small_pack: FacePack, small_pack_folder: Path) -> None:
    frames = _frames()
    threshold = _threshold(small_pack, frames)
    app, seen = analysis(small_pack_folder, SIZE, threshold), _seen(small_pack, frames, threshold)
    full = max(range(4), key=lambda n: len(seen[n].detections))
    lost = list(seen)
    lost[full] = _nobody()
    report = compare(app, frames, lost)
    assert report.count_differences == (full,) and not report.agrees
    moved = list(seen)
    boxes = seen[full].detections.boxes.clone()
    boxes[:, :4] += 0.1 * (boxes[:, 2:3] - boxes[:, :1])
    moved[full] = Seen(Faces(boxes, seen[full].detections.landmarks), seen[full].embeddings)
    report = compare(app, frames, moved)
    assert report.lowest_iou is not None and report.lowest_iou < 0.9 and not report.agrees
    someone = list(seen)
    someone[full] = Seen(seen[full].detections, -seen[full].embeddings)
    report = compare(app, frames, someone)
    assert report.lowest_cosine == pytest.approx(-1, abs=1e-3) and not report.agrees


def test_order_of_the_faces_does_not_matter(small_pack: FacePack, small_pack_folder: Path) -> None:
    frames = _frames()
    threshold = _threshold(small_pack, frames)
    turned = [
        Seen(Faces(s.detections.boxes.flip(0), s.detections.landmarks.flip(0)), s.embeddings.flip(0))
        for s in _seen(small_pack, frames, threshold)
    ]
    assert compare(analysis(small_pack_folder, SIZE, threshold), frames, turned).agrees


def test_large_faces_are_counted_apart(small_pack: FacePack, small_pack_folder: Path) -> None:
    """Our crop averages where insightface's skips pixels: their cosine must not be taken for a fault."""
    frames = _frames(2, 1100, 1400)
    threshold = _threshold(small_pack, frames)
    report = compare(analysis(small_pack_folder, SIZE, threshold), frames, _seen(small_pack, frames, threshold))
    assert report.antialiased > 0 and report.lowest_antialiased_cosine is not None
    assert report.antialiased <= report.faces and report.agrees


def test_reports_of_chunks_add_up() -> None:
    first = ParityReport(3, 2, (1,), 0.99, None, 0, None, 1.0, "a", ("x",))
    second = ParityReport(2, 4, (0,), 0.995, 0.9, 1, 0.8, 0.5, "b", ("x", "y"))
    assert first + second == ParityReport(5, 6, (1, 3), 0.99, 0.9, 1, 0.8, 1.5, "b", ("x", "y"))
    assert ParityReport().agrees and not replace(ParityReport(), lowest_iou=0.9).agrees


def test_a_folder_with_brackets_in_its_name(tmp_path: Path) -> None:
    folder = pack_folder(tmp_path / "pack [v2]")
    before = _files(folder)
    app = analysis(folder, SIZE)
    assert sorted(app.models) == ["detection", "recognition"]
    assert compare(app, _frames(1), [_nobody()]).frames == 1
    assert _files(folder) == before


def test_packs_that_insightface_cannot_load_are_named(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="no such folder"):
        analysis(tmp_path / "absent")
    recogniser_file(tmp_path / "half" / "r.onnx")
    with pytest.raises(PackError, match=r"half: insightface cannot load.*r\.onnx.*no detector"):
        analysis(tmp_path / "half")
    detector_file(tmp_path / "other" / "d.onnx")
    with pytest.raises(PackError, match="no recogniser"):
        analysis(tmp_path / "other")
    shutil.copytree(tmp_path / "half", tmp_path / "broken")
    (tmp_path / "broken" / "d.onnx").write_bytes(b"\x08\x07nothing")
    with pytest.raises(PackError, match="broken") as raised:
        analysis(tmp_path / "broken")
    assert "\n" not in str(raised.value)


def test_a_cuda_provider_that_does_not_start_is_said(
    small_pack_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = analysis(small_pack_folder, SIZE)
    monkeypatch.setattr(
        insightface_analysis, "best_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    lines = insightface_analysis.provider_warnings(app)
    assert sum("could not start CUDAExecutionProvider" in line for line in lines) == 1


def test_load_pack_and_insightface_take_the_same_files(tmp_path: Path) -> None:
    folder = pack_folder(tmp_path)
    recogniser_file(folder / "another.onnx", seed=5)
    pack, app = load_pack(folder), analysis(folder, SIZE)
    assert str(pack.recogniser.path.resolve()) == app.models["recognition"].model_file
    assert str(pack.detector.path.resolve()) == app.models["detection"].model_file
