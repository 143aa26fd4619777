"""Changing a configuration that is in use: which fields may be changed when, and what comes out.

A field's hint `applies` says when: `live` while the run goes on, `resume` when it is continued from a checkpoint (live
fields can be changed then, too), `new` in a new run alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from rewardfl_app.config import files, validation
from rewardfl_app.config.problems import ConfigError, Problem, section_fields, unknown_field, unknown_section
from rewardfl_app.config.schema import Config
from rewardfl_app.config.section import Applies

_REFUSED = {
    "new": "applies in a new run alone: fork this one to change it.",
    "resume": "applies when a run is resumed: stop it and resume with the change.",
}


def applies(field: str) -> Applies:
    """When a change of `section.field` takes effect. Raises ConfigError when there is no such field."""
    section, _, name = field.partition(".")
    sections = section_fields()
    if section not in sections:
        raise ConfigError([unknown_section(field)])
    if name not in sections[section]:
        raise ConfigError([unknown_field(section, name)])
    extra = _declared(field).json_schema_extra
    hint: Applies = extra.get("applies", "new") if isinstance(extra, dict) else "new"
    return hint


def live_fields() -> list[str]:
    """Every field that acts on a running job, in the order of declaration."""
    names = [f"{section}.{name}" for section, fields in section_fields().items() for name in fields]
    return [name for name in names if applies(name) == "live"]


def value(config: Config, field: str) -> Any:
    """The value of `section.field` as JSON knows it."""
    section, _, name = field.partition(".")
    return getattr(config, section).model_dump(mode="json", include={name})[name]


def put(config: Config, values: Mapping[str, Any]) -> Config:
    """The configuration with these fields (`section.field`) in place; types are checked, the rules between them not."""
    mapping = files.to_mapping(config)
    for field, new in values.items():
        section, _, name = field.partition(".")
        mapping[section][name] = new
    return Config.model_validate(mapping)


def changed(
    config: Config, values: Mapping[str, object], at: Literal["live", "resume"], check_files: bool = False
) -> Config:
    """The configuration with these fields (`section.field`) changed while a run goes on, or when it is resumed.

    Raises ConfigError with every problem: a field there is none of, one that does not apply then, a value or a
    combination that is refused.
    """
    found: list[Problem] = []
    mapping = files.to_mapping(config)
    for field, new in values.items():
        try:
            when = applies(field)
        except ConfigError as error:
            found += error.problems
            continue
        section, _, name = field.partition(".")
        if when == "new" or (when == "resume" and at == "live"):
            found.append(Problem(field, f"{name} {_REFUSED[when]}"))
        elif _is_empty(new) and not _may_be_empty(field):
            found.append(Problem(field, f"{name} is empty: give a value."))
        else:
            mapping[section][name] = None if _is_empty(new) and _is_optional(field) else new
    try:
        built = validation.build(mapping, check_files)
    except ConfigError as error:
        found += error.problems
    if found:
        raise ConfigError(found)
    return built


def _declared(field: str) -> Any:
    section, _, name = field.partition(".")
    kind: Any = Config.model_fields[section].annotation
    return kind.model_fields[name]


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _is_optional(field: str) -> bool:
    return type(None) in get_args(_declared(field).annotation)


def _may_be_empty(field: str) -> bool:
    """Whether empty is a value of its own: an optional field, or text that may be empty."""
    return _is_optional(field) or _declared(field).default == ""
