"""The whole way from 8-bit frames to embeddings against `FaceAnalysis.get`, on packs with the layout of released ones.

Every box IoU >= .98, the same count, every embedding cosine >= .9999. `test_detector`, `test_pack` and
`test_attributes` compare the parts; `test_real_faces` does this on real footage.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from face_graphs import age_file, landmark_3d_file, landmark_file
from released_graphs import embedder_file, scrfd_10g_file
from torch import Tensor

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.pocket import paths
from rewardfl_app.pocket.clips import sample_clip
from rewardfl_app.rewards import onnx_session
from rewardfl_app.rewards.insightface_analysis import InsightfaceCheck, ParityReport
from rewardfl_app.rewards.observation import FrameFaces, Observer
from rewardfl_app.rewards.pack import FacePack, load_pack

FACES_WANTED = 24  # over all frames, before overlapping ones are suppressed


def _antelope(folder: Path) -> None:
    scrfd_10g_file(folder / "scrfd_10g_bnkps.onnx")
    embedder_file(folder / "glintr100.onnx")


def _antelope_batched(folder: Path) -> None:
    scrfd_10g_file(folder / "scrfd_10g_bnkps.onnx", seed=1, batched=True)
    embedder_file(folder / "glintr100.onnx", seed=1, normalises=True)


def _buffalo_l(folder: Path) -> None:
    scrfd_10g_file(folder / "det_10g.onnx", seed=2)
    embedder_file(folder / "w600k_r50.onnx", seed=2)
    landmark_file(folder / "2d106det.onnx")
    landmark_3d_file(folder / "1k3d68.onnx")
    age_file(folder / "genderage.onnx")


def _buffalo_sc(folder: Path) -> None:
    scrfd_10g_file(folder / "det_500m.onnx", seed=3)
    embedder_file(folder / "w600k_mbf.onnx", "mobilefacenet", seed=3)


def _group_norm_and_one_face_at_a_time(folder: Path) -> None:
    scrfd_10g_file(folder / "detector.onnx", seed=4, groups=True)
    embedder_file(folder / "recogniser.onnx", seed=4, batch=1)


def _normalises_mobile_batched_groups(folder: Path) -> None:
    scrfd_10g_file(folder / "detector.onnx", seed=5, groups=True, batched=True)
    embedder_file(folder / "recogniser.onnx", "mobilefacenet", seed=5, normalises=True)


def _crops_of_128(folder: Path) -> None:
    scrfd_10g_file(folder / "detector.onnx", seed=6)
    embedder_file(folder / "recogniser.onnx", seed=6, size=128)


def _canvas_of_its_own(folder: Path) -> None:
    scrfd_10g_file(folder / "detector.onnx", seed=7, canvas=224)
    embedder_file(folder / "recogniser.onnx", "mobilefacenet", seed=7)


PACKS: dict[str, Callable[[Path], None]] = {
    "antelopev2": _antelope,
    "antelopev2, batched outputs, normalisation inside": _antelope_batched,
    "buffalo_l": _buffalo_l,
    "buffalo_sc": _buffalo_sc,
    "group normalisation, one face at a time": _group_norm_and_one_face_at_a_time,
    "mobile, batched outputs, normalisation inside": _normalises_mobile_batched_groups,
    "crops of 128 pixels": _crops_of_128,
    "a canvas of its own": _canvas_of_its_own,
}


def _frames(count: int, height: int, width: int) -> np.ndarray:
    small = np.random.default_rng(2).integers(0, 256, (count, 14, 18, 3), dtype=np.uint8)
    return np.stack([cv2.resize(s, (width, height), interpolation=cv2.INTER_CUBIC) for s in small])


def _tensor(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


def _threshold(pack: FacePack, frames: Tensor, size: int) -> float:
    """Halfway between two scores, so that no rounding decides who is a face."""
    found = pack.detector.detect(frames, size, threshold=0.0, nms=1.0)
    scores = torch.cat([faces.boxes[:, 4] for faces in found]).sort(descending=True)[0]
    gaps = scores[FACES_WANTED : 2 * FACES_WANTED - 1] - scores[FACES_WANTED + 1 : 2 * FACES_WANTED]
    place = FACES_WANTED + int(gaps.argmax())
    return float(scores[place : place + 2].mean())


def _parity(folder: Path, frames: np.ndarray, size: int) -> tuple[ParityReport, list[FrameFaces]]:
    pack, clip = load_pack(folder), _tensor(frames)
    threshold = _threshold(pack, clip, size)
    settings = RewardConfig(det_size=size, det_threshold=threshold)
    seen, check = Observer(pack, settings).observe(clip), InsightfaceCheck(folder, size, threshold)
    check.add(frames, seen)
    return check.result(), seen


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root, made = tmp_path_factory.mktemp("packs"), set()

    def folder(name: str) -> Path:
        path = root / str(list(PACKS).index(name))
        if name not in made:
            made.add(name)
            PACKS[name](path)
        return path

    return folder


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize("name", PACKS)
def test_boxes_and_embeddings_equal_insightface(
    packs: Callable[[str], Path], name: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By our own graphs, as on a GPU and wherever gradients are kept, and by ONNX Runtime, as on a CPU without them."""
    monkeypatch.setattr(onnx_session, "is_enough", lambda module: engine == "onnxruntime")
    report, seen = _parity(packs(name), _frames(3, 200, 208), 192)
    assert report.frames == 3 and report.faces >= 6 and max(len(s.detections) for s in seen) >= 2
    assert report.count_differences == ()
    assert report.lowest_iou is not None and report.lowest_iou >= 0.98
    assert report.lowest_cosine is not None and report.lowest_cosine >= 0.9999
    # The figures above mean something only where faces differ.
    cosines = torch.cat([s.embeddings for s in seen]) @ torch.cat([s.embeddings for s in seen]).T
    assert float(cosines.min()) < 0.95


@pytest.mark.parametrize(
    ("height", "width", "size"), [(64, 64, 64), (300, 90, 160), (90, 300, 160), (97, 131, 320), (640, 480, 256)]
)
def test_any_size_of_frame_and_canvas(packs: Callable[[str], Path], height: int, width: int, size: int) -> None:
    report, _ = _parity(packs("antelopev2"), _frames(2, height, width), size)
    assert report.agrees and report.faces >= 2


def test_black_beside_a_wide_frame_counts_where_a_detector_looks_at_the_whole_map(
    packs: Callable[[str], Path],
) -> None:
    report, _ = _parity(packs("group normalisation, one face at a time"), _frames(2, 90, 360), 320)
    assert report.agrees and report.faces >= 4


def test_faces_across_the_edge_of_the_frame(packs: Callable[[str], Path]) -> None:
    frames = _frames(3, 130, 130)
    report, seen = _parity(packs("buffalo_l"), frames, 128)
    boxes = torch.cat([s.detections.boxes for s in seen])
    assert bool(((boxes[:, :2] < 0).any(1) | (boxes[:, 2:4] > 130).any(1)).any())
    assert report.agrees


def test_grey_black_and_white_frames(packs: Callable[[str], Path]) -> None:
    grey = np.repeat(_frames(1, 128, 160)[..., :1], 3, axis=-1)
    flat = [np.full_like(grey, level) for level in (0, 255)]
    report, _ = _parity(packs("antelopev2"), np.concatenate([grey, *flat]), 128)
    assert report.agrees


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_the_embedded_pack_on_drawn_people(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained weights, several people side by side in one frame."""
    monkeypatch.setattr(onnx_session, "is_enough", lambda module: engine == "onnxruntime")
    rng = np.random.default_rng(11)
    people = [sample_clip(rng, num_frames=3).drawing.images for _ in range(4)]
    frames = np.concatenate([np.concatenate(people[:2], 2), np.concatenate(people[2:], 2)], 1)  # [3, 128, 128, 3]
    check = InsightfaceCheck(paths.FACE_PACK, 192)
    seen = Observer(load_pack(paths.FACE_PACK), RewardConfig(det_size=192)).observe(_tensor(frames))
    check.add(frames, seen)
    report = check.result()
    assert report.agrees and report.faces == 3 * 4 == sum(len(found) for found in seen)


def test_the_files_have_the_layout_of_the_released_ones(packs: Callable[[str], Path]) -> None:
    recogniser = onnx.load(str(packs("antelopev2") / "glintr100.onnx")).graph
    kinds = [node.op_type for node in recogniser.node]
    assert set(kinds) == {"Conv", "PRelu", "BatchNormalization", "Add", "Flatten", "Gemm"}
    assert kinds[-4:] == ["BatchNormalization", "Flatten", "Gemm", "BatchNormalization"]
    detector = onnx.load(str(packs("antelopev2") / "scrfd_10g_bnkps.onnx")).graph
    assert len(detector.output) == 9 and {"Resize", "AveragePool", "MaxPool", "Sigmoid"} <= {
        node.op_type for node in detector.node
    }
