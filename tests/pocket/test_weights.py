"""The embedded models load with the real libraries and do their work on people they were never trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rewardfl_app.pocket import paths
from rewardfl_app.pocket.clips import sample_clip

UNSEEN = 7_000_003  # a seed no pool and no data set uses


@pytest.fixture(scope="module")
def clips():
    return [sample_clip(np.random.default_rng((UNSEEN, index))) for index in range(8)]


def test_weights_stay_below_thirty_megabytes():
    assert sum(file.stat().st_size for file in paths.WEIGHTS.rglob("*") if file.is_file()) < 30e6


@pytest.fixture(scope="module")
def analysis():
    from insightface.app import FaceAnalysis

    analysis = FaceAnalysis(name="pocket", root=str(paths.FACES), providers=["CPUExecutionProvider"])
    analysis.prepare(ctx_id=-1, det_size=(96, 96))
    return analysis


def test_face_analysis_finds_every_face_where_it_was_drawn(analysis, clips):
    errors = []  # pixels of a 64-pixel frame
    for clip in clips:
        for frame in (0, 8, 16):
            faces = analysis.get(clip.drawing.images[frame][..., ::-1])
            assert len(faces) == 1
            errors.append(np.linalg.norm(faces[0].kps - clip.drawing.landmarks[frame], axis=-1).mean())
            box, drawn = faces[0].bbox, clip.drawing.boxes[frame]
            inner = np.clip(np.minimum(box[2:], drawn[2:]) - np.maximum(box[:2], drawn[:2]), 0, None).prod()
            union = (box[2:] - box[:2]).prod() + (drawn[2:] - drawn[:2]).prod() - inner
            assert inner / union > 0.7
    assert np.mean(errors) < 1.3 and np.max(errors) < 2.5


def test_recogniser_and_judge_tell_people_apart(clips):
    from rewardfl_app.pocket.recogniser_training import aligned
    from rewardfl_app.rewards.pack import load_pack, load_recogniser

    images = torch.from_numpy(np.concatenate([clip.drawing.images[[0, 16]] for clip in clips]))
    points = torch.from_numpy(np.concatenate([clip.drawing.landmarks[[0, 16]] for clip in clips]))
    crops = aligned(images.permute(0, 3, 1, 2).float() / 127.5 - 1, points)
    for recogniser in (load_pack(paths.FACE_PACK).recogniser, load_recogniser(paths.JUDGE)):
        embeddings = torch.nn.functional.normalize(recogniser(crops), dim=-1)
        similarity = embeddings @ embeddings.T
        same = torch.stack([similarity[2 * i, 2 * i + 1] for i in range(len(clips))])
        people = torch.arange(len(crops)) // 2
        different = similarity[people[:, None] != people[None]]
        assert same.mean() > 0.75 and different.mean() < 0.3
        assert same.min() > torch.quantile(different, 0.9)


def test_the_recogniser_and_the_judge_are_different_networks():
    import onnx

    kinds = [
        {node.op_type for node in onnx.load(path).graph.node}
        for path in (paths.FACE_PACK / "recogniser.onnx", paths.JUDGE)
    ]
    assert "PRelu" in kinds[0] and "PRelu" not in kinds[1] and "LeakyRelu" in kinds[1]


def test_the_pipeline_reloads_and_keeps_the_first_frame(clips):
    from diffusers import WanImageToVideoPipeline
    from PIL import Image

    pipeline = WanImageToVideoPipeline.from_pretrained(paths.WAN, torch_dtype=torch.float32)
    assert pipeline.config.boundary_ratio == 0.9
    image = Image.fromarray(clips[0].drawing.images[0])
    frames = pipeline(
        image=image,
        prompt=clips[0].prompt,
        height=64,
        width=64,
        num_frames=17,
        num_inference_steps=8,
        guidance_scale=1.0,
        max_sequence_length=pipeline.tokenizer.model_max_length,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).frames[0]
    assert frames.shape == (17, 64, 64, 3)
    drawn = clips[0].drawing.images.astype(np.float32) / 255
    assert np.abs(frames[0] - drawn[0]).mean() < 0.06  # the VAE's own error on one frame
    assert np.abs(frames[-1] - frames[0]).mean() > 0.005  # something moves
