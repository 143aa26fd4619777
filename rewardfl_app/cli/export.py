"""`export`: what a run trained, for other tools."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from rewardfl_app.cli import options
from rewardfl_app.cli.progress_line import ProgressLine
from rewardfl_app.inference import passport_facts
from rewardfl_app.inference.export_target import Format, Target
from rewardfl_app.runs import checkpoints
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.runs.registry import find
from rewardfl_app.supervisor import inference_child, supervisor, thaw


def export(
    run: options.RunName,
    kind: Annotated[
        Format,
        typer.Option(
            "--format",
            help="A LoRA for diffusers or ComfyUI; or the whole weights with it merged in, under diffusers' names or "
            "Wan's own (merged-original).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="PATH",
            help="A folder, or for one trained expert a file that ends with .safetensors.",
            show_default=False,
        ),
    ],
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", metavar="STEP|latest|best", help="Checkpoint of the run.")
    ] = "latest",
    force: Annotated[bool, typer.Option("--force", help="Replace what an earlier export has left there.")] = False,
    runs_dir: options.RunsDir = options.DEFAULT_RUNS_DIR,
) -> int:
    """Write what a run trained, as a LoRA or merged into the weights, with what it was made of and on whose terms."""
    found = find(runs_dir, run)
    settings = supervisor.settings(found)
    step = checkpoints.find(found, checkpoint).step
    target = Target(out.expanduser().absolute(), force)
    target.check(settings, kind)
    with tempfile.TemporaryDirectory(prefix="rewardfl-") as folder:
        status = Path(folder) / "status.json"
        request = {
            "run": str(found.path.absolute()),
            "checkpoint": str(step),
            "format": kind.value,
            "out": str(target.path),
            "force": force,
            "licences": passport_facts.licences(thaw.without_embedded(settings)),
            "status": str(status),
        }
        write_json_atomic(Path(folder) / "request.json", request)
        line = ProgressLine(status, "tensors")
        try:
            inference_child.run("export", "--request", str(Path(folder) / "request.json"), while_running=line)
        finally:
            line.clear()
    typer.echo(str(target.path))
    return 0
