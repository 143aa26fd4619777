"""`import-roll`: a configuration of ROLL's Reward FL becomes one of this project."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from rewardfl_app.cli import options, output
from rewardfl_app.config import files, roll
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.config.roll import Imported, Remark


def import_roll(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="ROLL's configuration.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="CONFIG.yaml", help="File to write.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace the file to write if it is there.")] = False,
    as_json: options.AsJson = False,
) -> int:
    """Make a configuration of a ROLL file (Reward FL) and tell what was translated, what had no effect in ROLL and what
    is different here. Exit code 2 when something in it is wrong."""
    try:
        target = _target(file, out, force)
        imported = roll.load(file)
    except ConfigError as error:
        if not as_json:
            raise
        rows = [asdict(problem) for problem in error.problems]
        typer.echo(json.dumps({"problems": rows}, ensure_ascii=False, indent=1))
        return 2
    files.dump(imported.config, target)
    if as_json:
        typer.echo(json.dumps({"config": str(target), **_lists(imported)}, ensure_ascii=False, indent=1))
        return 0
    for line in _report(imported):
        typer.echo(line)
    typer.echo(f"\nwrote {target}; next: python -m rewardfl_app check {target}")
    return 0


def _target(file: Path, out: Path, force: bool) -> Path:
    """Where to write. Raises ConfigError when something is there that must stay."""
    target = output.writable("--out", out, ".yaml")
    if target.exists():
        if file.exists() and target.samefile(file):
            raise ConfigError([Problem("--out", f"{target} is the file to import: name another.")])
        if not force:
            raise ConfigError([Problem("--out", f"{target} is there already: name another file, or add --force.")])
    return target


def _lists(imported: Imported) -> dict[str, list[dict[str, Any]]]:
    return {
        "translated": [asdict(entry) for entry in imported.translated],
        "no_effect": [asdict(remark) for remark in imported.no_effect],
        "different": [asdict(remark) for remark in imported.different],
    }


def _report(imported: Imported) -> Iterator[str]:
    constants = [entry for entry in imported.translated if entry.theirs == roll.CONSTANT]
    yield "TRANSLATED"
    for entry in imported.translated:
        if entry not in constants:
            note = f" ({entry.note})" if entry.note else ""
            yield f"  {entry.theirs} -> {entry.ours} = {_written(entry.value)}{note}"
    yield "\nCONSTANTS OF ROLL'S CODE, SET AS THEY WERE"
    for entry in constants:
        yield f"  {entry.ours} = {_written(entry.value)}"
    yield from _remarks("WITHOUT EFFECT ON ROLL'S TRAINING, OR WITHOUT NEED HERE", imported.no_effect)
    yield from _remarks("DIFFERENT HERE", imported.different)


def _remarks(title: str, remarks: Sequence[Remark]) -> Iterator[str]:
    if remarks:
        yield f"\n{title}"
    for remark in remarks:
        yield f"  {remark.key}: {remark.sentence}"


def _written(value: object) -> str:
    """The value as it stands in the file."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
