"""Trains the embedded models and writes their weights: `python -m rewardfl_app.pocket.build [--work DIR] [PART ...]`.

Parts, in order: faces (detector and recogniser), judge, vae, dit (both experts, and the pipeline folder). Each keeps
its state in the work folder: an interrupted build goes on where it was, and a finished part is not trained again.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

from rewardfl_app.pocket import (
    detector_training,
    dit_training,
    face_pool,
    paths,
    pool,
    recogniser_training,
    vae_training,
)

log = logging.getLogger(__name__)

PARTS = ("faces", "judge", "vae", "dit")
_NUM_CLIPS, _NUM_FAMILIES = 3500, 2500


def build_faces(work: Path, weights: Path) -> None:
    """Detector and recogniser as the pack `FaceAnalysis` loads."""
    faces = face_pool.ensure(work / "faces", _NUM_FAMILIES, seed=5)
    pack = weights / "faces" / "models" / "pocket"
    detector_training.export(detector_training.train(faces, work / "detector.pt"), pack / "detector.onnx")
    recogniser = recogniser_training.train(
        recogniser_training.RecogniserNet(), faces, work / "recogniser.pt", 180, seed=0
    )
    _report("recogniser", recogniser, work)
    recogniser_training.export(recogniser, pack / "recogniser.onnx")


def build_judge(work: Path, weights: Path) -> None:
    """The held-out recogniser: another architecture, another seed."""
    faces = face_pool.ensure(work / "faces", _NUM_FAMILIES, seed=5)
    judge = recogniser_training.train(recogniser_training.JudgeNet(), faces, work / "judge.pt", 200, seed=7)
    _report("judge", judge, work)
    recogniser_training.export(judge, weights / "judge" / "judge.onnx")


def build_vae(work: Path, weights: Path) -> None:
    """The VAE, kept in float32 in the work folder and in float16 with the weights."""
    vae = vae_training.train(pool.ensure(work / "pool", _NUM_CLIPS), work)
    vae.save_pretrained(work / "vae")


def build_dit(work: Path, weights: Path) -> None:
    """Both experts and the text encoder, then the whole pipeline folder in float16."""
    vae = AutoencoderKLWan.from_pretrained(work / "vae")
    high, low, text_encoder, tokenizer = dit_training.train(vae, pool.ensure(work / "pool", _NUM_CLIPS), work)
    pipeline = WanImageToVideoPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=vae,
        transformer=high,
        transformer_2=low,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=dit_training.SHIFT),
        boundary_ratio=dit_training.BOUNDARY,
    )
    folder = weights / "wan"
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.to("cpu", torch.float16).save_pretrained(folder)
    for file in folder.glob("*/config.json"):  # which folder the VAE came from is nobody's business
        settings = json.loads(file.read_text())
        settings.pop("_name_or_path", None)
        file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def _report(name: str, net: torch.nn.Module, work: Path) -> None:
    unseen = face_pool.ensure(work / "faces_test", 200, seed=6)
    log.info("%s on people never trained on: %s", name, recogniser_training.verification(net, unseen))


def main(arguments: list[str] | None = None) -> None:
    """Command line of the build."""
    parser = argparse.ArgumentParser(prog="python -m rewardfl_app.pocket.build", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"one or more of {', '.join(PARTS)}; all when none is named"
    )
    parser.add_argument(
        "--work", type=Path, default=Path(".pocket_build"), help="where pools, states and the log are kept"
    )
    parser.add_argument("--weights", type=Path, default=paths.WEIGHTS, help="where the weights are written")
    options = parser.parse_args(arguments)
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; the parts are {', '.join(PARTS)}")
    options.work.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [logging.StreamHandler(), logging.FileHandler(options.work / "build.log")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    steps = {"faces": build_faces, "judge": build_judge, "vae": build_vae, "dit": build_dit}
    for part in options.parts or PARTS:
        log.info("building %s", part)
        steps[part](options.work, options.weights)


if __name__ == "__main__":
    main()
