"""`data-check`: whether the clips of a metadata.csv can be trained on."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from rewardfl_app.cli import options
from rewardfl_app.cli.progress_line import ProgressLine
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.data.errors import DataError
from rewardfl_app.data.inspection import inspect
from rewardfl_app.runs.jsonfile import plain, read_json, write_json_atomic
from rewardfl_app.supervisor import inference_child, score_settings


def data_check(
    metadata: Annotated[Path, typer.Argument(metavar="METADATA.csv", help="Table of clips.", show_default=False)],
    face_pack: Annotated[
        str | None,
        typer.Option(
            "--reward-model-path", metavar="DIR|pocket", help="Face pack: also look for the face in each first frame."
        ),
    ] = None,
    overrides: options.Overrides = None,
    as_json: options.AsJson = False,
) -> int:
    """Check every row of a metadata.csv: files, sizes, lengths, and with a face pack the faces. Exit code 2 if any
    row has a problem."""
    if overrides and face_pack is None:
        raise ConfigError([Problem("--set", "Settings of the reward matter only with --reward-model-path.")])
    path = metadata.expanduser().absolute()
    try:
        report = _files(path) if face_pack is None else _with_faces(path, face_pack, overrides)
    except DataError as error:
        if not as_json:
            raise
        problem = {"row": None, "field": "", "message": str(error)}
        report = {"metadata": str(path), "faces": False, "rows": [], "problems": [problem]}
    if as_json:
        typer.echo(json.dumps(plain(report), ensure_ascii=False, indent=1))
    else:
        for line in _table(report):
            typer.echo(line)
        for problem in report["problems"]:
            column = f", {problem['field']}" if problem["field"] else ""
            typer.echo(f"error: row {problem['row']}{column}: {problem['message']}", err=True)
        typer.echo(_summary(report))
    return 2 if report["problems"] else 0


def _files(path: Path) -> dict[str, Any]:
    return inspect(path).content()


def _with_faces(path: Path, face_pack: str, overrides: list[str] | None) -> dict[str, Any]:
    reward = score_settings.reward(face_pack, None, overrides or [])
    with tempfile.TemporaryDirectory(prefix="rewardfl-") as folder:
        out = Path(folder)
        request = {"metadata": path, "reward": reward.model_dump(mode="json"), "out": out}
        write_json_atomic(out / "request.json", request)
        line = ProgressLine(out / "status.json", "rows")
        try:
            inference_child.run("data-check", "--request", str(out / "request.json"), while_running=line)
        finally:
            line.clear()
        return read_json(out / "data_check.json") or {}


def _table(report: dict[str, Any]) -> Iterator[str]:
    header = ["ROW", "VIDEO", "FRAMES", "SIZE", "FPS"] + (
        ["FACE", "SCORE", "PEOPLE", "RATE"] if report["faces"] else []
    )
    cells = [header, *(_cells(row, report["faces"]) for row in report["rows"])]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _cells(row: dict[str, Any], faces: bool) -> list[str]:
    size = "-" if row["width"] is None else f"{row['width']}x{row['height']}"
    cells = [str(row["row"]), Path(row["video"]).name, _shown(row["num_frames"]), size, _shown(row["fps"], ".4g")]
    if faces:
        found = "-" if row["face_size"] is None else f"{row['face_size']:.0f} px"
        rate = "-" if row["face_rate"] is None else f"{row['face_rate']:.0%}"
        cells += [found, _shown(row["det_score"], ".2f"), _shown(row["people"]), rate]
    return cells


def _shown(value: float | None, form: str = "d") -> str:
    return "-" if value is None else f"{value:{form}}"


def _summary(report: dict[str, Any]) -> str:
    count = len({problem["row"] for problem in report["problems"]})
    rows = {row["row"] for row in report["rows"]} | {problem["row"] for problem in report["problems"]}
    many = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
    found = f"Problems in {count} of {many}." if count else f"{many}, no problem found."
    return found if report["faces"] else f"{found} Faces were not looked for: give --reward-model-path."
