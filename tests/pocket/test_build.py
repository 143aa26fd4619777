"""The build of the embedded models: every part trains, stops in the middle and goes on to the same weights."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from rewardfl_app.pocket import (
    build,
    detector_training,
    dit_training,
    face_pool,
    pool,
    recogniser_training,
    vae_training,
)
from rewardfl_app.pocket.optimizer import MuonAdamW
from rewardfl_app.pocket.progress import Progress


def _fit(path, num_steps, stop_after=None):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8, 6))
    optimizer = MuonAdamW(net, 1e-2, 1e-2)
    progress = Progress(path, num_steps, {"net": net, "optimizer": optimizer}, save_seconds=0)
    for step in progress:
        if step == stop_after:
            break
        x = torch.from_numpy(np.random.default_rng(step).standard_normal((4, 4, 3, 3), np.float32))
        (net(x) ** 2).mean().backward()
        optimizer.scale_rates(progress.warm_then_decay(step))
        optimizer.step()
    return net


def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(tmp_path):
    straight = _fit(tmp_path / "a.pt", 6)
    _fit(tmp_path / "b.pt", 6, stop_after=3)
    resumed = _fit(tmp_path / "b.pt", 6)
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="module")
def faces(work):
    return face_pool.ensure(work / "faces", 8, seed=1)


@pytest.fixture(scope="module")
def clips(work):
    return pool.ensure(work / "pool", 8)


def test_pools_are_rendered_once(work, clips):
    again = pool.ensure(work / "pool", 8)
    assert again.prompts == clips.prompts and np.array_equal(again.frames, clips.frames)
    assert clips.frames.shape == (8, 17, 64, 64, 3)


def test_face_models_train_and_export_what_insightface_loads(work, faces, tmp_path):
    from insightface.app import FaceAnalysis

    pack = tmp_path / "models" / "tiny"
    detector_training.export(detector_training.train(faces, work / "detector.pt", 2, 2), pack / "detector.onnx")
    net = recogniser_training.train(recogniser_training.RecogniserNet(), faces, work / "rec.pt", 2, num_families=3)
    recogniser_training.export(net, pack / "recogniser.onnx")
    analysis = FaceAnalysis(name="tiny", root=str(tmp_path), providers=["CPUExecutionProvider"])
    assert set(analysis.models) == {"detection", "recognition"}
    assert recogniser_training.verification(net, faces, num_families=8)["same"] <= 1


def test_the_video_model_trains_from_frames_to_experts(work, clips, caplog):
    caplog.set_level(logging.INFO)
    vae = vae_training.train(clips, work, num_image_steps=2, num_clip_steps=1)
    assert len(vae.config.latents_mean) == 16 and min(vae.config.latents_std) > 0
    assert "face PSNR" in caplog.text
    high, low, text_encoder, tokenizer = dit_training.train(
        vae, clips, work, num_shared_steps=2, num_expert_steps=(1, 1), batch=2, num_clips=8
    )
    assert not torch.equal(high.proj_out.weight, low.proj_out.weight)
    assert text_encoder.config.vocab_size == len(tokenizer)
    assert tokenizer.unk_token_id not in tokenizer("a zebra nods").input_ids


def test_noise_levels_stay_in_their_expert():
    rng = np.random.default_rng(0)
    for low, high in ((0.0, 0.9), (0.9, 1.0), (0.0, 1.0)):
        sigmas = dit_training.sample_sigmas(rng, 64, low, high)
        assert low <= sigmas.min() and sigmas.max() <= high
        assert sigmas.max() - sigmas.min() > 0.7 * (high - low)


def test_an_unknown_part_is_refused_by_name(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        build.main(["vea", "--work", str(tmp_path)])
    assert exit_.value.code == 2 and "vea" in capsys.readouterr().err
