"""How far another process is, as one line on a terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from rewardfl_app.runs.jsonfile import read_json


class ProgressLine:
    """One line on a terminal that follows a status.json; nothing is printed where the output is no terminal."""

    def __init__(self, status: Path, unit: str) -> None:
        self._status = status
        self._unit = unit
        self._shown = sys.stderr.isatty()

    def __call__(self) -> None:
        """Show how far it is."""
        if self._shown:
            content = read_json(self._status) or {"message": "Starting"}
            total = content.get("total")
            far = f" {content.get('done')} of {total} {self._unit}" if total else " ..."
            typer.echo(f"\r\033[K{content.get('message')}{far}", err=True, nl=False)

    def clear(self) -> None:
        """Take the line away, for what is printed next."""
        if self._shown:
            typer.echo("\r\033[K", err=True, nl=False)
