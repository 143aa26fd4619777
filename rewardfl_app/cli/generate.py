"""`generate`: one video from an image and a prompt."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from rewardfl_app.cli import options, output
from rewardfl_app.config import files, presets
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.data import image as still
from rewardfl_app.runs import checkpoints, registry
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor import freeze, inference_child, preflight

_MODEL_SECTIONS = ("model", "sampling")


def generate(
    image: Annotated[Path, typer.Option("--image", help="First frame of the video.", show_default=False)],
    prompt: Annotated[str, typer.Option("--prompt", help="What happens in the video.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.mp4", help="Video to write.", show_default=False)],
    run: Annotated[str | None, typer.Option("--run", help="Run whose model is used: an id or a folder.")] = None,
    checkpoint: Annotated[
        str,
        typer.Option("--checkpoint", metavar="STEP|latest|best|base", help="Checkpoint of the run, or its base model."),
    ] = "latest",
    preset: Annotated[
        str | None, typer.Option("--preset", help="Untrained model of a preset, instead of a run.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the noise.")] = 0,
    runs_dir: options.RunsDir = options.DEFAULT_RUNS_DIR,
) -> int:
    """Generate a video from a first frame and a prompt, with a trained or an untrained model."""
    if (run is None) == (preset is None):
        raise ConfigError([Problem("", "Give either --run or --preset: they name the model.")])
    target = output.writable("--out", out, ".mp4")
    still.read(image)
    request = ["--image", str(image.absolute()), "--prompt", prompt, "--seed", str(seed), "--out", str(target)]
    if run is not None:
        found = registry.find(runs_dir, run)
        if checkpoint != "base":
            checkpoint = str(checkpoints.find(found, checkpoint).step)
        inference_child.run("generate", "--run", str(found.path), "--checkpoint", checkpoint, *request)
    else:
        with tempfile.TemporaryDirectory(prefix="rewardfl-") as folder:
            _freeze_preset(str(preset), RunFolder(Path(folder)))
            inference_child.run("generate", "--run", folder, "--checkpoint", "base", *request)
    typer.echo(str(target))
    return 0


def _freeze_preset(name: str, folder: RunFolder) -> None:
    """Write the configuration of a preset as a run has it.

    Raises ConfigError when it does not name its model's files.
    """
    config = freeze.with_embedded_scorers(freeze.absolute_paths(presets.preset(name)))
    problems = [p for p in preflight.problems(config) if p.field.partition(".")[0] in _MODEL_SECTIONS]
    if problems:
        raise ConfigError(problems)
    files.dump(freeze.with_embedded_models(config, folder), folder.config)
