"""`download`: weights and face packs, after their licence was shown."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.downloads import DownloadError, catalog, readable
from rewardfl_app.downloads.obtain import obtain

_OFTEN, _SELDOM = 0.2, 60.0  # seconds between two states of progress, on a terminal and in a log
_WINDOW = 15.0  # seconds over which the rate is taken


def download(
    name: Annotated[catalog.Name, typer.Argument(help="What to download.", show_default=False)],
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="Folder to put it in; made if needed.", show_default=False)
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Accept the licence without being asked.")] = False,
) -> int:
    """Download Wan2.2, its Lightning LoRAs or the face pack; goes on where it was cut off, and verifies each file."""
    offer = catalog.OFFERS[name]
    folder = to.expanduser()
    if folder.exists() and not folder.is_dir():
        raise ConfigError([Problem("--to", f"{folder} is a file: name a folder.")])
    typer.echo(f"{offer.title}\nLicence: {offer.licence}\nSee {offer.terms}")
    _accept(yes)
    line = _Line()
    try:
        try:
            obtain(offer, folder, line)
        finally:
            line.clear()
    except DownloadError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        return 1
    except KeyboardInterrupt:
        typer.echo("error: interrupted; what has come is kept, and the same command goes on from there", err=True)
        return 130
    typer.echo(f"\n{name.value} is in {folder}. The settings to use:")
    for setting in offer.settings:
        typer.echo(f"  {setting.format(folder=folder)}")
    return 0


def _accept(yes: bool) -> None:
    """Raises ConfigError unless the licence is accepted."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError([Problem("--yes", "Nobody can be asked here: add --yes to accept the licence above.")])
    if not typer.confirm("Do you accept it?", err=True):
        raise ConfigError([Problem("", "The licence was not accepted, so nothing was downloaded.")])


class _Line:
    """How far it is, on standard error: one line that changes on a terminal, one a minute elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown_at = time.monotonic() if not self._terminal else 0.0
        self._what = ""
        self._seen: deque[tuple[float, int]] = deque()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show it, if the last time was long enough ago."""
        now = time.monotonic()
        if what != self._what or (self._seen and done < self._seen[-1][1]):
            self._seen.clear()  # what was there before this file, or before it began again, has not come just now
        self._what = what
        self._seen.append((now, done))
        while now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        if now - self._shown_at < (_OFTEN if self._terminal else _SELDOM):
            return
        self._shown_at = now
        text = f"{_far(done, total)}{self._speed(total)}  {what}" if total else what
        if self._terminal:  # a line that wraps could not be taken back
            text = f"\r\033[K{text[: shutil.get_terminal_size().columns - 1]}"
        typer.echo(text, err=True, nl=not self._terminal)

    def clear(self) -> None:
        """Take the line away, for what is printed next."""
        if self._terminal:
            typer.echo("\r\033[K", err=True, nl=False)

    def _speed(self, total: int) -> str:
        (began, first), (now, last) = self._seen[0], self._seen[-1]
        if now - began < 1 or last <= first:
            return ""
        rate = (last - first) / (now - began)
        return f", {readable(rate)}/s, {_duration((total - last) / rate)} left"


def _far(done: int, total: int) -> str:
    return f"{readable(done)} of {readable(total)} ({100 * done // total}%)"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
