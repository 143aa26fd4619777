"""Whether a configuration can be used: every problem at once, each with its field and one sentence.

Types and ranges are declared in `schema`, the rules between fields in `rules`, those on files in `paths`. A rule is
skipped while a field it reads has a problem of its own, so that one mistake is not reported twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from rewardfl_app.config import paths, rules
from rewardfl_app.config.problems import ConfigError, Problem, from_pydantic, section_fields, unknown_section
from rewardfl_app.config.schema import Config

__all__ = ["ConfigError", "Problem", "build", "problems"]


def build(mapping: Mapping[str, Any], check_files: bool = True) -> Config:
    """The configuration in a nested mapping {section: {field: value}}; what is left out has its default.

    Raises ConfigError with every problem. Without check_files, the files it names need not exist on this machine.
    """
    config, found = examined(mapping, check_files)
    if config is None or found:
        raise ConfigError(found)
    return config


def examined(mapping: Mapping[str, Any], check_files: bool = True) -> tuple[Config | None, list[Problem]]:
    """The configuration in a nested mapping, None where a value is of a wrong type or out of range, and every problem.

    Raises ConfigError where there are no sections.
    """
    config, found, broken = _parse(mapping)
    return None if found else config, found + _rule_problems(config, broken, check_files)


def problems(config: Config, check_files: bool = True) -> list[Problem]:
    """Every problem of a configuration whose types and ranges are right; [] when it can be used."""
    return _rule_problems(config, set(), check_files)


def _parse(mapping: Mapping[str, Any]) -> tuple[Config, list[Problem], set[str]]:
    """The configuration with defaults in place of the wrong fields, the problems, and the names of those fields."""
    if not isinstance(mapping, Mapping):
        raise ConfigError([Problem("", f"Sections with settings are needed, but there is a {type(mapping).__name__}.")])
    sections = section_fields()
    found = [unknown_section(name) for name in mapping if name not in sections]
    broken: set[str] = set()
    parts = {}
    for section in sections:
        values = mapping.get(section)
        if values is not None and not isinstance(values, Mapping):
            found.append(Problem(section, f"{section} must hold settings, but it is {values!r}."))
            broken.update(f"{section}.{field}" for field in sections[section])
            values = None
        parts[section], wrong = _parse_section(section, values or {})
        found += wrong
        broken.update(problem.field for problem in wrong)
    return Config(**parts), found, broken


def _parse_section(section: str, values: Mapping[str, Any]) -> tuple[Any, list[Problem]]:
    kind: Any = Config.model_fields[section].annotation
    named = {str(name): value for name, value in values.items()}
    try:
        return kind.model_validate(named), []
    except ValidationError as error:
        wrong = {problem.field: problem for problem in (from_pydantic(section, found) for found in error.errors())}
    usable = {name: value for name, value in named.items() if f"{section}.{name}" not in wrong}
    return kind.model_validate(usable), list(wrong.values())


def _rule_problems(config: Config, broken: set[str], check_files: bool) -> list[Problem]:
    found: list[Problem] = []
    for fields, rule in [*rules.RULES, *(paths.FILE_RULES if check_files else [])]:
        if broken.isdisjoint(fields):
            found += rule(config)
    return found
