"""Configurations as YAML: read, written, and changed by `section.field=value`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from rewardfl_app.config import plain_yaml, validation
from rewardfl_app.config.plain_file import read_plain
from rewardfl_app.config.problems import ConfigError, Problem, section_fields
from rewardfl_app.config.schema import Config


def load(path: Path | str, check_files: bool = True) -> Config:
    """The configuration in a YAML file.

    Raises ConfigError with every problem. Without check_files, the files it names need not exist on this machine.
    """
    return validation.build(read(path), check_files)


def read(path: Path | str) -> dict[str, Any]:
    """The sections in a YAML file, unchecked. Raises ConfigError when it cannot be read or names a key twice."""
    return read_with_text(path)[0]


def read_with_text(path: Path | str) -> tuple[dict[str, Any], str]:
    """The same, and the text of the file."""
    path = Path(path).expanduser()
    try:
        text = read_plain(path, plain_yaml.LARGEST_BYTES).decode("utf-8-sig")
        content, twice = plain_yaml.parse(text)
    except FileNotFoundError as error:
        raise ConfigError([Problem("", f"{path} does not exist: give the path of a YAML file.")]) from error
    except OSError as error:
        raise ConfigError([Problem("", f"{path} cannot be read ({error.strerror}).")]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([Problem("", f"{path} is not YAML: {' '.join(str(error).split())}.")]) from error
    if twice:
        raise ConfigError(
            [Problem(key, f"{path}, line {line}: {key} is written twice; remove one of them.") for key, line in twice]
        )
    if content is None:
        return {}, text
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ConfigError([Problem("", f"{path} must hold sections with settings, but it holds a {kind}.")])
    return content, text


def to_mapping(config: Config) -> dict[str, Any]:
    """The configuration as nested plain values; lists of names are comma-separated text."""
    return config.model_dump(mode="json")


def to_yaml(config: Config) -> str:
    """The configuration as YAML text, every field written out."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False, allow_unicode=True, width=10_000)


def dump(config: Config, path: Path | str) -> None:
    """Write the configuration as YAML; the file is replaced as a whole. Raises OSError."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(unfinished, "w", encoding="utf-8") as file:
            file.write(to_yaml(config))
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def override(mapping: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """A copy of the mapping with each `section.field=value` put in; the value is read as YAML.

    Raises ConfigError for those that are not of that form. Unknown names and wrong values are left for
    `validation.build` to tell.
    """
    changed: dict[str, Any] = {
        section: dict(values) if isinstance(values, Mapping) else values for section, values in mapping.items()
    }
    found = []
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        section, dot, field = name.strip().partition(".")
        if not (equals and dot and section and field):
            message = f"{assignment!r} is not of the form section.field=value{_home(name.strip())}"
            found.append(Problem(name.strip(), message))
            continue
        try:
            value, _ = plain_yaml.parse(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            found.append(Problem(name, f"The value of {name} cannot be read ({reason}): put quotes around it."))
            continue
        values = changed.get(section)
        changed[section] = {**values, field: value} if isinstance(values, dict) else {field: value}
    if found:
        raise ConfigError(found)
    return changed


def _home(name: str) -> str:
    """The end of a sentence: where a field without its section belongs."""
    homes = [f"{section}.{name}" for section, fields in section_fields().items() if name in fields]
    return f"; did you mean {' or '.join(homes)}?" if homes else ", for example train.seed=1."
