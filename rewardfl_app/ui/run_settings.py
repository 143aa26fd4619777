"""The settings of a run that can still be changed: live ones while it goes on, more when it is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rewardfl_app.config.problems import ConfigError
from rewardfl_app.config.schema import Config
from rewardfl_app.runs import control
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.supervisor import supervisor
from rewardfl_app.ui.config_form import FormField, mapping_of, sections, values_of


def payload(run: RunFolder) -> dict[str, Any]:
    """What the panel offers.

    `mode`: "live" (it goes on), "resume" (it ended) or "none" (it waits in the queue). `fields`: the form fields that
    can be changed now, each with its `value` as text, `section` and, while a change of it is under way, `pending`.
    `error`: why nothing can be offered, "" otherwise.
    """
    now = supervisor.state(run)
    mode = "none" if now.state == "queued" else "resume" if now.is_finished else "live"
    try:
        values = values_of(supervisor.settings(run))
    except (ConfigError, OSError) as error:
        return {"run": run.id, "mode": mode, "fields": [], "error": f"Its settings cannot be read: {error}"}
    asked = _asked(run) if mode == "live" else {}
    fields = [
        {**asdict(field), "section": title, "value": values[field.key], "pending": asked.get(field.key)}
        for title, field in _changeable(mode)
    ]
    return {"run": run.id, "mode": mode, "state": now.state, "fields": fields, "error": ""}


def set_live(run: RunFolder, field: str, text: object) -> dict[str, Any]:
    """Ask the trainer to go on with another value; returns {message} or {errors: {field: sentence}}."""
    try:
        supervisor.set_live(run, field, _parsed({field: text})[field])
    except ConfigError as error:
        return {"errors": _beside(error, field)}
    except (RunError, OSError) as error:
        return {"errors": {field: _sentence(error)}}
    return {"message": "Asked: it holds from the next step on, and the receipt says which."}


def resume(run: RunFolder, texts: Mapping[str, object]) -> dict[str, Any]:
    """Go on from the last checkpoint with these fields changed.

    Returns {message} or {errors: {field: sentence}}, "" for what belongs to no field.
    """
    try:
        supervisor.resume(run, _parsed(texts) or None)
    except ConfigError as error:
        return {"errors": _beside(error, "")}
    except (RunError, ValueError, OSError) as error:
        return {"errors": {"": _sentence(error)}}
    changed = f" with {len(texts)} changed setting{'s' if len(texts) > 1 else ''}" if texts else ""
    return {"message": f"The run goes on from its last checkpoint{changed}."}


def _changeable(mode: str) -> list[tuple[str, FormField]]:
    """Those that people change most come first."""
    allowed = {"live": {"live"}, "resume": {"live", "resume"}}.get(mode, set())
    found = [(section.title, field) for section in sections() for field in section.fields if field.applies in allowed]
    return sorted(found, key=lambda place: place[1].level != "basic")


def _asked(run: RunFolder) -> dict[str, Any]:
    """The values that were asked for and have no receipt yet."""
    requests = [request for request in control.pending(run) if request.kind == "set_field"]
    return {str(request.payload.get("field")): request.payload.get("value") for request in requests}


def _parsed(texts: Mapping[str, object]) -> dict[str, object]:
    """Values as the schema takes them, by full name; what is no field stays as it is, to be refused by name."""
    known = {f"{section}.{name}" for section, info in Config.model_fields.items() for name in _names(info)}
    nested = mapping_of({key: _text(value) for key, value in texts.items() if key in known})
    parsed = {f"{section}.{name}": value for section, fields in nested.items() for name, value in fields.items()}
    return {key: parsed.get(key, value) for key, value in texts.items()}


def _names(info: Any) -> list[str]:
    return list(info.annotation.model_fields)


def _text(value: object) -> str | bool:
    return value if isinstance(value, bool | str) else str(value)


def _beside(error: ConfigError, field: str) -> dict[str, str]:
    """Each problem beside its field, the first where there are several; one that names none beside `field`."""
    found: dict[str, str] = {}
    for problem in error.problems:
        found.setdefault(problem.field or field, problem.message)
    return found


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
