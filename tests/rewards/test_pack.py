"""Loading packs and recognisers: which file is which, and one clear line for what cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from face_graphs import detector_file, recogniser_file
from insightface.model_zoo.arcface_onnx import ArcFaceONNX

from rewardfl_app.rewards.onnx_graph import PackError
from rewardfl_app.rewards.pack import FacePack, load_pack, load_recogniser


def test_pack_tells_detector_and_recogniser_apart(small_pack: FacePack) -> None:
    assert small_pack.detector.path.name == "det.onnx"
    assert small_pack.recogniser.path.name == "rec.onnx"
    assert small_pack.recogniser.embedding_size == 32
    assert not list(small_pack.recogniser.parameters())


def test_recogniser_is_loaded_from_a_file_or_a_folder(small_pack_folder: Path) -> None:
    assert load_recogniser(small_pack_folder).path == load_recogniser(small_pack_folder / "rec.onnx").path


@pytest.mark.parametrize("fixed_batch", [False, True])
def test_iresnet_equals_onnxruntime(tmp_path: Path, fixed_batch: bool) -> None:
    path = recogniser_file(tmp_path / "r.onnx", fixed_batch=fixed_batch)
    crops = torch.rand(3, 3, 112, 112) * 2 - 1
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = np.concatenate([session.run(None, {"input.1": crop[None].numpy()})[0] for crop in crops])
    recogniser = load_recogniser(path)
    np.testing.assert_allclose(recogniser(crops).numpy(), expected, rtol=1e-4, atol=1e-4)
    assert recogniser(crops[:0]).shape == (0, 32)


@pytest.mark.parametrize("normalises", [False, True])
def test_normalisation_inside_or_outside_the_graph_is_handled_as_insightface_does(
    tmp_path: Path, normalises: bool
) -> None:
    path = recogniser_file(tmp_path / "r.onnx", normalises=normalises)
    pixels = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    expected = ArcFaceONNX(str(path)).get_feat(np.ascontiguousarray(pixels[:, :, ::-1]))[0]
    crop = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    recogniser = load_recogniser(path)
    assert (recogniser.mean, recogniser.std) == ((0.0, 1.0) if normalises else (127.5, 127.5))
    np.testing.assert_allclose(recogniser(crop)[0].numpy(), expected, rtol=1e-4, atol=1e-4)


def test_gradient_of_a_mapped_graph_equals_that_of_a_batched_one(tmp_path: Path) -> None:
    one = load_recogniser(recogniser_file(tmp_path / "one.onnx", fixed_batch=True))
    many = load_recogniser(recogniser_file(tmp_path / "many.onnx"))
    gradients = []
    for recogniser in (one, many):
        crops = torch.linspace(-1, 1, 2 * 3 * 112 * 112).reshape(2, 3, 112, 112).requires_grad_()
        recogniser(crops).square().sum().backward()
        gradients.append(crops.grad)
    assert gradients[0] is not None and gradients[1] is not None
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 1e-5


def test_unusable_folders_say_why(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="no such folder"):
        load_pack(tmp_path / "absent")
    with pytest.raises(PackError, match=r"holds no \.onnx file"):
        load_pack(tmp_path)
    recogniser_file(tmp_path / "inner" / "r.onnx")
    with pytest.raises(PackError, match="did you mean .*inner"):
        load_pack(tmp_path)
    with pytest.raises(PackError, match=r"no detector among its ONNX files \(r\.onnx: a recogniser\)"):
        load_pack(tmp_path / "inner")
    with pytest.raises(PackError, match="the folder with the face pack's ONNX files is needed"):
        load_pack(tmp_path / "inner" / "r.onnx")


def test_pack_without_recogniser_and_corrupt_pack_are_named(tmp_path: Path) -> None:
    detector_file(tmp_path / "d.onnx")
    with pytest.raises(PackError, match="no recogniser"):
        load_pack(tmp_path)
    whole = recogniser_file(tmp_path / "r.onnx").read_bytes()
    (tmp_path / "r.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PackError, match=r"r\.onnx.*truncated"):
        load_pack(tmp_path)
    (tmp_path / "r.onnx").write_bytes((tmp_path / "d.onnx").read_bytes())
    with pytest.raises(PackError, match="no recogniser"):
        load_recogniser(tmp_path)
    with pytest.raises(PackError, match="recogniser"):
        load_recogniser(tmp_path / "d.onnx")
