"""Loading packs and recognisers: which file is which, and one clear line for what cannot be used."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from face_graphs import detector_file, recogniser_file
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from onnx import numpy_helper
from released_graphs import embedder_file, scrfd_10g_file

from rewardfl_app.rewards.onnx_graph import PackError, UnsupportedOperator
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
    (tmp_path / "antelopev2.zip").write_bytes(b"PK")
    with pytest.raises(PackError, match=r"holds no \.onnx file; unzip antelopev2\.zip first"):
        load_pack(tmp_path)
    with pytest.raises(PackError, match=r"antelopev2\.zip: a file, where the folder.* is needed; unzip it"):
        load_pack(tmp_path / "antelopev2.zip")
    recogniser_file(tmp_path / "inner" / "r.onnx")
    with pytest.raises(PackError, match="did you mean .*inner"):
        load_pack(tmp_path)
    with pytest.raises(PackError, match=r"no detector among its ONNX files \(r\.onnx: a recogniser\)"):
        load_pack(tmp_path / "inner")
    with pytest.raises(PackError, match="the folder with the face pack's ONNX files is needed"):
        load_pack(tmp_path / "inner" / "r.onnx")


def test_pack_without_recogniser_and_corrupt_pack_are_named(tmp_path: Path) -> None:
    detector_file(tmp_path / "d.onnx")
    with pytest.raises(PackError, match=r"no recogniser among its ONNX files \(d\.onnx: a detector\)"):
        load_pack(tmp_path)
    with pytest.raises(PackError, match="no recogniser"):
        load_recogniser(tmp_path)
    with pytest.raises(PackError, match=r"d\.onnx: not a recogniser but a detector"):
        load_recogniser(tmp_path / "d.onnx")
    whole = recogniser_file(tmp_path / "r.onnx").read_bytes()
    (tmp_path / "r.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PackError, match=r"r\.onnx.*truncated"):
        load_pack(tmp_path)


@pytest.mark.parametrize("size", [128, 224])
def test_recogniser_of_another_size_that_insightface_knows(small_pack_folder: Path, tmp_path: Path, size: int) -> None:
    """`test_insightface_parity` compares the one of 128 pixels with insightface."""
    shutil.copy(small_pack_folder / "det.onnx", tmp_path)
    embedder_file(tmp_path / "rec.onnx", size=size)
    pack = load_pack(tmp_path)
    assert pack.recogniser.size == size and pack.recogniser(torch.zeros(2, 3, size, size)).shape == (2, 64)


@pytest.mark.parametrize(
    ("size", "said"), [(64, "input of 64 x 64 pixels"), (96, "landmarks or age"), (144, "144, 144")]
)
def test_recogniser_of_a_size_that_nobody_aligns_to(
    small_pack_folder: Path, tmp_path: Path, size: int, said: str
) -> None:
    shutil.copy(small_pack_folder / "det.onnx", tmp_path)
    path = embedder_file(tmp_path / "rec.onnx", size=size)
    for load, where in ((load_pack, tmp_path), (load_recogniser, path)):
        with pytest.raises(PackError, match=rf"rec\.onnx.*{said}") as raised:
            load(where)
        assert "112" in str(raised.value) and "128" in str(raised.value)


def test_recogniser_for_several_faces_at_a_time_is_refused(small_pack_folder: Path, tmp_path: Path) -> None:
    shutil.copy(small_pack_folder / "det.onnx", tmp_path)
    embedder_file(tmp_path / "rec.onnx", batch=4)
    with pytest.raises(PackError, match=r"rec\.onnx: the recogniser takes exactly 4 faces at a time; export it with 1"):
        load_pack(tmp_path)


def test_detector_without_landmarks_names_the_file_to_take(small_pack_folder: Path, tmp_path: Path) -> None:
    shutil.copy(small_pack_folder / "rec.onnx", tmp_path)
    scrfd_10g_file(tmp_path / "det.onnx", landmarks=False)
    with pytest.raises(PackError, match=r"det\.onnx: a detector without landmarks.*scrfd_10g_bnkps\.onnx"):
        load_pack(tmp_path)
    scrfd_10g_file(tmp_path / "scrfd_10g_bnkps.onnx")
    assert load_pack(tmp_path).detector.path.name == "scrfd_10g_bnkps.onnx"


def test_unknown_operator_of_a_pack_is_named(small_pack_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(small_pack_folder, tmp_path / "pack")
    model = onnx.load(str(tmp_path / "pack" / "rec.onnx"))
    model.graph.node[3].op_type = "Hardmax"
    onnx.save(model, str(tmp_path / "pack" / "rec.onnx"))
    with pytest.raises(UnsupportedOperator, match=r"rec\.onnx: operator Hardmax"):
        load_pack(tmp_path / "pack")


def test_half_precision_weights_are_cast(small_pack_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(small_pack_folder, tmp_path / "pack")
    model = onnx.load(str(tmp_path / "pack" / "rec.onnx"))
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            half = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(model, str(tmp_path / "pack" / "rec.onnx"))
    crops = torch.rand(3, 3, 112, 112) * 2 - 1
    half, whole = load_pack(tmp_path / "pack").recogniser, load_pack(small_pack_folder).recogniser
    for mode in (torch.no_grad, torch.enable_grad):
        with mode():
            assert float(torch.cosine_similarity(half(crops), whole(crops)).detach().min()) > 0.999


def test_weights_in_files_of_their_own(small_pack_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(small_pack_folder, tmp_path / "pack")
    path = tmp_path / "pack" / "rec.onnx"
    crops = torch.rand(2, 3, 112, 112)
    expected = load_pack(tmp_path / "pack").recogniser(crops)
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="rec.bin", size_threshold=16)
    torch.testing.assert_close(load_pack(tmp_path / "pack").recogniser(crops), expected)
    (tmp_path / "pack" / "rec.bin").unlink()
    with pytest.raises(PackError, match=r"rec\.onnx: its weights lie in another file"):
        load_pack(tmp_path / "pack")
