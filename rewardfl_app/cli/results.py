"""`status`, `runs` and `compare`: what became of runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from rewardfl_app.cli import options
from rewardfl_app.cli.progress import evaluation_line
from rewardfl_app.inference.compare import build
from rewardfl_app.runs import alarm, best, registry
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import plain, read_json
from rewardfl_app.runs.metrics import current, is_evaluation, read_all
from rewardfl_app.runs.samples import BASELINE_STEP
from rewardfl_app.supervisor import comparison_sides, reconcile, supervisor


def status(
    run: options.RunName,
    runs_dir: options.RunsDir = options.DEFAULT_RUNS_DIR,
    as_json: options.AsJson = False,
) -> int:
    """Print the state of a run, checked against its process."""
    row = _describe(registry.find(runs_dir, run))
    if as_json:
        typer.echo(json.dumps(plain(row), ensure_ascii=False, indent=1))
        return 0
    typer.echo(f"run {row['id']} ({row['name']}) in {row['path']}")
    typer.echo(
        f"{row['state']}, step {row['step']} of {row['total']}" + (f": {row['message']}" if row["message"] else "")
    )
    if row["exit"] is not None and row["state"] != "completed":
        typer.echo(f"next: {row['exit']['next_step']}")
    if row["evaluation"] is not None:
        typer.echo(evaluation_line(row["evaluation"]))
    if row["alarm"] is not None:
        typer.echo(f"alarm: {row['alarm']['sentence']}")
    if row["best"] is not None:
        typer.echo(f"best: step {row['best']['step']}. {row['best']['why']}")
    return 0


def runs(
    runs_dir: options.RunsDir = options.DEFAULT_RUNS_DIR,
    as_json: options.AsJson = False,
) -> int:
    """List the runs, newest first."""
    reconcile.reconcile(runs_dir.expanduser().absolute())
    rows = [_describe(run) for run in registry.list_runs(runs_dir)]
    if as_json:
        typer.echo(json.dumps(plain(rows), ensure_ascii=False, indent=1))
        return 0
    if not rows:
        typer.echo(f"no runs in {runs_dir.expanduser().absolute()}")
        return 0
    lines = [("RUN", "STATE", "STEP", "REWARD", "JUDGE", "BEST", "ALARM", "STARTED")]
    for row in rows:
        measured = row["evaluation"] or {}
        started = datetime.fromtimestamp(row["created"]).strftime("%Y-%m-%d %H:%M") if row["created"] else ""
        progress = f"{row['step']}/{row['total']}"
        changes = [_change(measured, name) for name in ("reward", "judge")]
        chosen = "-" if row["best"] is None else str(row["best"]["step"])
        raised = "-" if row["alarm"] is None else f"since {row['alarm']['since']}"
        lines.append((row["id"], row["state"], progress, *changes, chosen, raised, started))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0


def compare(
    run: options.RunName,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write into.", show_default=False)],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint", metavar="STEP|latest|best", help="Step to compare [default: the last with samples]."
        ),
    ] = None,
    against: Annotated[str, typer.Option("--against", metavar="base|RUN", help="What to compare with.")] = "base",
    runs_dir: options.RunsDir = options.DEFAULT_RUNS_DIR,
) -> int:
    """Write side_by_side.mp4, report.html and report.json: the evaluation videos before and after training."""
    found = registry.find(runs_dir, run)
    step = None if checkpoint is None else comparison_sides.step(found, checkpoint)
    after = comparison_sides.side(found, step, _rendering)
    if against == "base":
        before = comparison_sides.side(found, BASELINE_STEP, _rendering)
    else:
        before = comparison_sides.side(registry.find(runs_dir, against), None, _rendering)
    made = build(before, after, out.expanduser().absolute())
    typer.echo(made.report["verdict"]["sentence"])
    for path in (made.page, made.video, made.json):
        typer.echo(str(path))
    return 0


def _rendering(name: str) -> None:
    typer.echo(f"rendering the evaluation videos of {name} ...", err=True)


def _describe(run: RunFolder) -> dict[str, Any]:
    """What `status` and `runs` tell about a run."""
    info = read_json(run.run_info) or {}
    evaluations = [record for record in current(read_all(run.metrics)) if is_evaluation(record)]
    raised, chosen = alarm.current(evaluations), best.read(run)
    return {
        "id": run.id,
        "name": info.get("name") or run.id,
        "path": str(run.path),
        "created": info.get("created"),
        **asdict(supervisor.state(run)),
        "evaluation": evaluations[-1] if evaluations else None,
        "alarm": None if raised is None else asdict(raised),
        "best": None if chosen is None else asdict(chosen),
    }


def _change(evaluation: dict[str, Any], name: str) -> str:
    value, before = evaluation.get(f"eval/{name}"), evaluation.get(f"eval/{name}_baseline")
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" ({value - before:+.3f})" if before is not None and evaluation.get("step") else "")
