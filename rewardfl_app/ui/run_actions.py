"""What can be done with a run from the Runs page; every answer is a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rewardfl_app.config.problems import ConfigError
from rewardfl_app.runs import about, archive
from rewardfl_app.runs.about import AboutError
from rewardfl_app.runs.checkpoints import list_checkpoints
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.runs.samples import list_samples
from rewardfl_app.supervisor import queue, supervisor, thaw
from rewardfl_app.supervisor.supervisor import state
from rewardfl_app.ui.difference import name_of
from rewardfl_app.ui.media import served_file

Answer = dict[str, Any]


def act(run: RunFolder, what: str) -> Answer:
    """Do one thing with a run: {ok, said}. `what` is a key of ACTIONS; anything else is refused."""
    if what not in ACTIONS:
        return {"ok": False, "said": f"There is nothing called {what!r} to do with a run."}
    name = name_of(run)
    try:
        return {"ok": True, "said": ACTIONS[what](run).replace("NAME", f"“{name}”")}
    except ConfigError as error:
        return {"ok": False, "said": " ".join(str(problem) for problem in error.problems)}
    except (RunError, OSError) as error:
        return {"ok": False, "said": _sentence(str(error))}


def _resume(run: RunFolder) -> str:
    supervisor.resume(run)
    return "NAME goes on from its last checkpoint."


def _archive(run: RunFolder) -> str:
    archive.archive(run)
    return "NAME is archived: “Archived” above the table shows it again."


def _unarchive(run: RunFolder) -> str:
    archive.unarchive(run)
    return "NAME is back in the table."


def _delete(run: RunFolder) -> str:
    supervisor.delete(run)
    return "NAME is deleted."


def _earlier(run: RunFolder) -> str:
    queue.move(run, -1)
    return "NAME starts one place earlier."


def _later(run: RunFolder) -> str:
    queue.move(run, 1)
    return "NAME starts one place later."


def _take_out(run: RunFolder) -> str:
    queue.remove(run)
    return "NAME is taken out of the queue; Resume starts it."


ACTIONS: dict[str, Callable[[RunFolder], str]] = {
    "resume": _resume,
    "archive": _archive,
    "unarchive": _unarchive,
    "delete": _delete,
    "earlier": _earlier,
    "later": _later,
    "take_out": _take_out,
}


def describe(run: RunFolder, values: dict[str, Any]) -> Answer:
    """Change name, notes or tags (those that are given): {ok, said}; the first thing that is refused is told."""
    tags = values.get("tags")
    try:
        about.update(
            run,
            name=str(values["name"]) if "name" in values else None,
            notes=str(values["notes"]) if "notes" in values else None,
            tags=[str(tag) for tag in tags] if isinstance(tags, list) else None,
        )
    except AboutError as error:
        return {"ok": False, "said": _sentence(str(error))}
    return {"ok": True, "said": "Saved."}


def weigh(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """What deleting these runs takes away: {bytes, runs [{id, name, bytes, num_checkpoints, num_videos, refused}]}.

    `refused`: why a run cannot be deleted now, "" when it can.
    """
    rows = []
    for run in runs:
        now = state(run)
        going = not now.is_finished and now.state != "queued"
        rows.append(
            {
                "id": run.id,
                "name": name_of(run),
                "bytes": archive.num_bytes(run),
                "num_checkpoints": len(list_checkpoints(run)),
                "num_videos": sum(len(group) for group in list_samples(run).values()),
                "refused": f"It is {now.state}: stop it first." if going else "",
            }
        )
    return {"runs": rows, "bytes": sum(row["bytes"] for row in rows if not row["refused"])}


def make_passport(run: RunFolder, step: int | None, runs_dir: Path) -> Answer:
    """Write the passport of a run into its folder: {ok, said, file}."""
    from rewardfl_app.inference import passport  # brings PyAV: 0.2 s that the start of the app need not wait for

    try:
        settings = thaw.without_embedded(supervisor.settings(run))
        made = passport.build(run, settings, passport.place(run, step), step)
    except ConfigError as error:
        return {"ok": False, "said": "The settings cannot be read: " + " ".join(str(p) for p in error.problems)}
    except (RunError, OSError) as error:
        return {"ok": False, "said": _sentence(str(error))}
    size = made.stat().st_size / 1e6
    return {"ok": True, "said": f"The passport is written ({size:.1f} MB).", "file": served_file(made, runs_dir)}


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."
