"""`bench`: memory, gradients and time of the engine beside the straightforward implementation."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from rewardfl_app.bench import NAMES as MEASURED
from rewardfl_app.bench import modes
from rewardfl_app.cli import options, output
from rewardfl_app.cli.progress_line import ProgressLine
from rewardfl_app.config import files, presets, validation
from rewardfl_app.config.problems import ConfigError, Problem, suggestion
from rewardfl_app.config.schema import Config
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import plain, read_json, write_json_atomic
from rewardfl_app.supervisor import freeze, inference_child, preflight, provenance
from rewardfl_app.supervisor.command import PACKAGE_ROOT, bench_command

NAMES = (*MEASURED, "modes")
_AS_GIVEN = ("wan22", "startup", "tick")  # what freezes the configuration itself, or needs no files of it
_WAN22_PRESET = "wan22_i2v_a14b"
_STDOUT = Path("-")


def bench(
    name: Annotated[str, typer.Argument(metavar="|".join(NAMES), help="What is measured.", show_default=False)],
    config: options.ConfigFile = None,
    preset: options.Preset = None,
    overrides: options.Overrides = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE|-", help="Write every number as JSON; - prints it.")
    ] = None,
    runs_dir: Annotated[
        Path, typer.Option(help="modes: where its runs are kept; those that are complete are not made again.")
    ] = Path("runs/modes"),
    seeds: Annotated[str, typer.Option(help="modes: seeds of each variant, comma-separated.")] = "42,43,44",
    jobs: Annotated[int, typer.Option(min=1, help="modes: runs at the same time.")] = 1,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="wan22: the released sizes with random weights, no file is needed.")
    ] = False,
    layers: Annotated[
        int | None,
        typer.Option(
            min=1, help="wan22: layers of the transformer [default: all on a GPU, 2 on a CPU].", show_default=False
        ),
    ] = None,
) -> int:
    """Measure the engine: memory against gradient steps and frames, how exact each gradient is, the speed of a step;
    plan: the memory plan beside what each phase takes; faces: the face stack beside insightface's loop; decode: the
    decode and its backward beside diffusers' loop; data: a table of 10,000 rows; startup: the wait for the page, for
    the first point and for the end of a run; tick: what an open page costs; growth: how cost grows with each size;
    modes: what each gradient mode, pool and penalty is worth, over seeds; wan22: an update at Wan2.2's sizes."""
    if name not in NAMES:
        raise ConfigError([Problem("", f"There is no bench {name}{suggestion(name, NAMES)}")])
    if json_file is not None and json_file != _STDOUT:
        json_file = output.writable("--json", json_file)
    if name == "modes":
        return _modes(overrides or [], runs_dir, seeds, jobs, json_file)
    extra: list[str] = []
    if name == "wan22":
        if not random_weights:
            raise ConfigError([Problem("", "bench wan22 measures random weights alone: say so with --random-weights.")])
        built = _without_files(config, preset, overrides)
        extra = [] if layers is None else ["--layers", str(layers)]
    else:
        built = options.build_config(config, preset, overrides)
    with tempfile.TemporaryDirectory(prefix="rewardfl-bench-") as folder:
        run = RunFolder(Path(folder)) if name in _AS_GIVEN else _frozen(built, Path(folder))
        if name in _AS_GIVEN:
            files.dump(built, run.config)
        line = ProgressLine(run.path / "status.json", "measured")
        try:
            inference_child.run(name, "--folder", str(run.path), *extra, while_running=line, command=bench_command)
        finally:
            line.clear()
        report = read_json(run.path / "report.json") or {}
    report["versions"] = provenance.versions()
    report["git"] = provenance.git_revision(PACKAGE_ROOT)
    report["config"] = files.to_mapping(built)
    if json_file == _STDOUT:
        typer.echo(json.dumps(plain(report), ensure_ascii=False, indent=1))
        return 0
    for text in _lines(report):
        typer.echo(text)
    if json_file is not None:
        write_json_atomic(json_file, report)
        typer.echo(str(json_file))
    return 0


def _modes(overrides: list[str], runs_dir: Path, seeds: str, jobs: int, json_file: Path | None) -> int:
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise ConfigError([Problem("", f"--seeds {seeds}: give whole numbers with commas between.")]) from None
    outcomes = modes.measure(runs_dir, list(modes.VARIANTS), numbers, overrides, jobs)
    report = {**modes.as_json(outcomes), "versions": provenance.versions()}
    if json_file == _STDOUT:
        typer.echo(json.dumps(plain(report), ensure_ascii=False, indent=1))
        return 0
    typer.echo(modes.table(modes.summary(outcomes)))
    if json_file is not None:
        write_json_atomic(json_file, report)
        typer.echo(str(json_file))
    return 0


def _without_files(config: Path | None, preset: str | None, overrides: list[str] | None) -> Config:
    """A configuration whose files are not looked at. Raises ConfigError."""
    preset = preset or _WAN22_PRESET
    mapping = files.read(config) if config is not None else files.to_mapping(presets.preset(preset))
    nowhere = ("model.model_paths=none", "reward.reward_model_path=none", "data.metadata_path=none")
    return validation.build(files.override(mapping, [*nowhere, *(overrides or [])]), check_files=False)


def _frozen(built: Any, folder: Path) -> RunFolder:
    """The configuration as a run has it, in a folder. Raises ConfigError with every problem."""
    config = freeze.with_embedded_scorers(freeze.absolute_paths(built))
    problems = preflight.problems(config)
    if problems:
        raise ConfigError(problems)
    run = RunFolder(folder / "run")
    os.makedirs(run.path)
    config = freeze.with_embedded_data(config, folder)
    files.dump(freeze.with_embedded_models(config, run), run.config)
    return run


def _lines(report: dict[str, Any]) -> list[str]:
    """The table, the marks and the notes as text."""
    cells = [list(report["columns"]), *([_shown(cell) for cell in row] for row in report["rows"])]
    widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))]
    text_columns = {k for k in range(len(widths)) if report["rows"] and isinstance(report["rows"][0][k], str)}
    lines = [
        "  ".join(
            cell.ljust(w) if k in text_columns else cell.rjust(w)
            for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    lines.append("")
    for mark in report["marks"]:
        relation = "at most" if mark["at_most"] else "at least"
        verdict = "reached" if mark["met"] else "MISSED"
        lines.append(f"{verdict}: {mark['what']}: {_shown(mark['value'])} ({relation} {_shown(mark['limit'])})")
    versions, machine = report["versions"], report["machine"]
    lines += report["notes"]
    lines.append(
        f"torch {versions.get('torch')}, {machine['torch_threads']} threads, {machine['gpu'] or 'no GPU'}, "
        f"{machine['system']}, load {machine['load']:.1f} on {machine['processors']} processors; "
        f"peak memory of the measuring process {report['peak_rss_mb']:.0f} MB."
    )
    return lines


def _shown(cell: float | int | str | None) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str | int):
        return str(cell)
    if cell != 0 and abs(cell) < 1e-3:
        return f"{cell:.1e}"
    return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:.4g}"
