"""`score`: how much the faces of one video are those of a reference."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from rewardfl_app.cli import options, output, score_text
from rewardfl_app.cli.progress_line import ProgressLine
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.runs.jsonfile import plain, read_json, write_json_atomic
from rewardfl_app.supervisor import inference_child, score_settings

_STDOUT = Path("-")


def score(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="Video to score.", show_default=False)],
    face_pack: options.FacePack,
    judge: Annotated[
        str | None,
        typer.Option("--judge-model-path", metavar="FILE", help="A second recogniser, to check the first."),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference", metavar="IMAGE_OR_VIDEO", help="Who should be seen [default: the video's own first frame]."
        ),
    ] = None,
    overrides: options.Overrides = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE|-", help="Write every number as JSON; - prints it.")
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option("--overlay", metavar="FILE.mp4", help="Write the video with its faces marked.")
    ] = None,
    heat_map: Annotated[
        Path | None,
        typer.Option("--heat-map", metavar="FILE.mp4", help="Write the video with the pixels the reward looks at."),
    ] = None,
    check_insightface: Annotated[
        bool, typer.Option("--check-insightface", help="Compare every face with insightface's own analysis.")
    ] = False,
) -> int:
    """Score the faces of a video: who is in it, frame by frame, and how much they stay the reference's person."""
    reward = score_settings.reward(face_pack, judge, overrides or [])
    films = {"overlay": ("--overlay", overlay), "heat_over_video": ("--heat-map", heat_map)}
    targets = {
        name: output.writable(option, path, ".mp4") for name, (option, path) in films.items() if path is not None
    }
    if json_file is not None and json_file != _STDOUT:
        json_file = output.writable("--json", json_file)
    _refuse_same(video, reference, [*targets.values(), *([json_file] if json_file else [])])
    with tempfile.TemporaryDirectory(prefix="rewardfl-") as folder:
        out = Path(folder)
        request = {
            "video": video.expanduser().absolute(),
            "reference": None if reference is None else reference.expanduser().absolute(),
            "reward": reward.model_dump(mode="json"),
            "out": out,
            "write": ["faces", *targets],
            "check_insightface": check_insightface,
        }
        write_json_atomic(out / "request.json", request)
        line = ProgressLine(out / "status.json", "frames")
        try:
            inference_child.run("score", "--request", str(out / "request.json"), while_running=line)
        finally:
            line.clear()
        report = read_json(out / "faces.json") or {}
        for name, target in targets.items():
            shutil.move(out / f"{name}.mp4", target)
    _tell(report, json_file, list(targets.values()))
    return 0


def _refuse_same(video: Path, reference: Path | None, targets: list[Path]) -> None:
    """Raise ConfigError when a file would be written over an input, or two into one."""
    taken = {path.expanduser().resolve() for path in (video, reference) if path is not None}
    for target in targets:
        if target.resolve() in taken:
            raise ConfigError([Problem("", f"{target} is named twice: give what is written a name of its own.")])
        taken.add(target.resolve())


def _tell(report: dict[str, Any], json_file: Path | None, films: list[Path]) -> None:
    if json_file == _STDOUT:
        typer.echo(json.dumps(plain(report), ensure_ascii=False, indent=1))
        return
    for line in score_text.lines(report):
        typer.echo(line)
    written = list(films)
    if json_file is not None:
        write_json_atomic(json_file, report)
        written.insert(0, json_file)
    for path in written:
        typer.echo(str(path))
