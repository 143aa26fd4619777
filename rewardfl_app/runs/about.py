"""What people say of a run: its name, notes, tags and whether it is put away, kept in run.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewardfl_app.runs import file_lock
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic

NAME_LIMIT = 120
NOTES_LIMIT = 10_000
TAG_LIMIT = 40
TAGS_LIMIT = 20


class AboutError(RunError):
    """A name, note or tag that cannot be kept; the message is one sentence."""


def update(
    run: RunFolder, *, name: str | None = None, notes: str | None = None, tags: Sequence[str] | None = None
) -> dict[str, Any]:
    """Change what is given and return the new run.json; None leaves a thing as it is.

    Raises AboutError.
    """
    values: dict[str, Any] = {}
    if name is not None:
        values["name"] = checked_name(name)
    if notes is not None:
        values["notes"] = _checked_notes(notes)
    if tags is not None:
        values["tags"] = checked_tags(tags)
    return put(run, **values)


def put(run: RunFolder, **values: Any) -> dict[str, Any]:
    """Put these keys into run.json, whatever else changes there at the same time; returns the whole.

    Raises AboutError.
    """
    try:
        with file_lock.held(run.path / ".about.lock"):  # one writer at a time
            info = read_json(run.run_info)
            if info is None:
                raise AboutError(f"Run {run.id} has no readable {run.run_info.name}: it was deleted or damaged.")
            info.update(values)
            write_json_atomic(run.run_info, info)
            return info
    except OSError as error:
        raise AboutError(f"{run.run_info} cannot be written ({error.strerror or error}).") from error


def checked_name(name: str) -> str:
    """The name in one line. Raises AboutError."""
    text = " ".join(_printable(name).split())
    if not text:
        raise AboutError("The name is empty: give the run a name.")
    if len(text) > NAME_LIMIT:
        raise AboutError(f"The name has {len(text)} characters: keep it within {NAME_LIMIT}.")
    return text


def checked_tags(tags: Sequence[str]) -> list[str]:
    """The tags, each in one line and once. Raises AboutError."""
    found = list(dict.fromkeys(text for tag in tags if (text := " ".join(_printable(tag).split()))))
    if len(found) > TAGS_LIMIT:
        raise AboutError(f"There are {len(found)} tags: keep to {TAGS_LIMIT}.")
    for tag in found:
        if len(tag) > TAG_LIMIT:
            raise AboutError(f"The tag {tag[:TAG_LIMIT]}... has {len(tag)} characters: keep it within {TAG_LIMIT}.")
        if "," in tag:
            raise AboutError(f"The tag {tag} has a comma, which separates tags: leave it out.")
    return found


def _checked_notes(notes: str) -> str:
    text = "\n".join(_printable(line).rstrip() for line in notes.replace("\r\n", "\n").split("\n")).strip()
    if len(text) > NOTES_LIMIT:
        raise AboutError(f"The notes have {len(text)} characters: keep them within {NOTES_LIMIT}.")
    return text


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
