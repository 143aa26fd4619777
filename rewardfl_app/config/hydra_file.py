"""A YAML file as Hydra reads it: the files under `defaults:` are merged in, and `${...}` stands for other values.

Such a file may come from anybody. Files are read only in its own folder and in the folder `config` beside that one,
which is where ROLL keeps what its examples share; links that lead elsewhere are not followed.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardfl_app.config import files, plain_yaml
from rewardfl_app.config.hydra_references import References, Unresolved
from rewardfl_app.config.problems import ConfigError, Problem

__all__ = ["HydraFile", "Unresolved", "read"]

_MOST_FILES = 50
_LONGEST_ENTRY = 300  # characters
_DEEPEST_PACKAGE = 20
_SHARED_FOLDER = "config"


@dataclass(frozen=True)
class HydraFile:
    """What a file holds when everything is merged in and every reference followed.

    `content`: nested values; an Unresolved stands where a reference leads nowhere. `supplied`: names of well-known
    configurations that were taken because their files are not there.
    """

    path: Path
    content: dict[str, Any]
    supplied: frozenset[str]
    _places: dict[str, tuple[Path, int]] = field(repr=False)

    def place(self, name: str) -> str:
        """File and line where a value of this full name is written; where it is missing, of what it belongs to."""
        while name and name not in self._places:
            name = name.rpartition(".")[0]
        path, line = self._places.get(name, (self.path, 0))
        return f"{path.name}, line {line}" if line else path.name


def read(path: Path | str, known: Mapping[str, Mapping[str, Any]] | None = None) -> HydraFile:
    """The file with its defaults and references in place.

    `known`: well-known configurations by name, for where their files are not beside this one. Raises ConfigError.
    """
    path = Path(os.path.abspath(Path(path).expanduser()))
    composition = _Composition(path, known or {})
    content = composition.composed(path, (), ())
    references = References(content, known)
    resolved = references.resolved()
    return HydraFile(path, resolved, frozenset(composition.supplied | references.supplied), composition.places)


class _Composition:
    """Merges a file with those it names, and remembers where every key was written."""

    def __init__(self, path: Path, known: Mapping[str, Mapping[str, Any]]) -> None:
        self._folders = [path.parent, path.parent.parent / _SHARED_FOLDER]
        self._known = known
        self._num_files = 0
        self.supplied: set[str] = set()
        self.places: dict[str, tuple[Path, int]] = {}

    def composed(self, path: Path, package: tuple[str, ...], within: tuple[Path, ...]) -> dict[str, Any]:
        """The content of a file, put under `package`; `within`: the files that led to it."""
        self._num_files += 1
        if path in within:
            circle = " -> ".join(step.name for step in (*within[within.index(path) :], path))
            raise ConfigError([Problem("defaults", f"The files name each other in a circle ({circle}): remove one.")])
        if self._num_files > _MOST_FILES:
            raise ConfigError([Problem("defaults", f"More than {_MOST_FILES} files are merged in: name fewer.")])
        content, text = files.read_with_text(path)
        own = _with_text_keys(content)
        merged: dict[str, Any] = {}
        entries = own.pop("defaults", None) or []
        if not isinstance(entries, list):
            raise _wrong(path, "defaults must be a list of files")
        # Hydra puts the file's own values last unless `_self_` says where.
        for entry in entries if "_self_" in entries else [*entries, "_self_"]:
            if entry == "_self_":
                _merge(merged, _under(package, own))
                lines = plain_yaml.lines(text).items()
                self.places.update({".".join((*package, name)): (path, line) for name, line in lines})
            else:
                for name, target, optional in _parsed(entry, package, path):
                    _merge(merged, self._included(name, target, optional, path, (*within, path)))
        return merged

    def _included(
        self, name: str, package: tuple[str, ...], optional: bool, path: Path, within: tuple[Path, ...]
    ) -> dict[str, Any]:
        """The file that an entry in `path` names, or its well-known content."""
        wanted = Path(os.path.normpath(path.parent / (name if name.endswith(".yaml") else f"{name}.yaml")))
        inside = any(wanted.is_relative_to(folder) for folder in self._folders)
        if inside and os.path.lexists(wanted):
            if not any(wanted.resolve().is_relative_to(_real(folder)) for folder in self._folders):
                raise _wrong(path, f"{name} is a link that leads out of this folder: put the file itself there")
            return self.composed(wanted, package, within)
        if wanted.stem in self._known:
            self.supplied.add(wanted.stem)
            return _under(package, {wanted.stem: copy.deepcopy(dict(self._known[wanted.stem]))})
        if optional:
            return {}
        if not inside:
            raise _wrong(path, f"{name} leads to {wanted}, and only files in {_listed(self._folders)} are read")
        raise _wrong(path, f"{name} is not there: put {wanted.name} into {wanted.parent}")


def _parsed(entry: object, package: tuple[str, ...], path: Path) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """(file, package, whether it may be missing) of an entry of a defaults list in `path`: `file`, `file@package` or
    `group: option`."""
    group, options = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else ("", entry)
    first = str(group or options).removeprefix("override ").partition("@")[0]
    if first == "hydra" or first.startswith("hydra/") or options is None:
        return  # Hydra's own settings, and groups that are switched off
    for option in options if group and isinstance(options, list) else [options]:
        words = (str(group) or str(option)).split()
        optional = words[:1] == ["optional"]
        written, _, target = "".join(words[optional:]).partition("@")
        name = f"{written}/{option}" if group else written
        plain = isinstance(option, str) and len(words) == 1 + optional and written and len(name) <= _LONGEST_ENTRY
        if not plain or len(target) > _LONGEST_ENTRY or "$" in name + target or "\0" in name:
            raise _wrong(path, f"{str(entry)[:_LONGEST_ENTRY]!r} is not of the form file@package: write it so")
        if name.startswith(("/", "~")):
            raise _wrong(path, f"{name} is an absolute path: name the file as seen from this one")
        inner = _package(target or "_group_", name, package)
        if len(inner) > _DEEPEST_PACKAGE:
            raise _wrong(path, f"{name} is put more than {_DEEPEST_PACKAGE} sections deep: name a shorter package")
        yield name, inner, optional


def _package(target: str, name: str, package: tuple[str, ...]) -> tuple[str, ...]:
    parts = tuple(target.split("."))
    if parts[0] == "_global_":
        return parts[1:]
    if parts[0] == "_here_":
        return (*package, *parts[1:])
    if parts[0] == "_group_":  # Hydra's way without @: the folders of the name
        return (*package, *(part for part in name.split("/")[:-1] if part not in ("", ".", "..")), *parts[1:])
    return (*package, *parts)


def _under(package: tuple[str, ...], content: dict[str, Any]) -> dict[str, Any]:
    for part in reversed(package):
        content = {part: content}
    return content


def _merge(into: dict[str, Any], content: dict[str, Any]) -> None:
    for key, value in content.items():
        known = into.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        else:
            into[key] = value


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _with_text_keys(inner) for key, inner in value.items()}
    return [_with_text_keys(inner) for inner in value] if isinstance(value, list) else value


def _real(folder: Path) -> Path:
    """The folder as it is on disk; a folder `config` that is itself a link stays where it was named."""
    return folder.parent.resolve() / folder.name if folder.name == _SHARED_FOLDER else folder.resolve()


def _listed(folders: list[Path]) -> str:
    return " and ".join(str(folder) for folder in folders)


def _wrong(path: Path, what: str) -> ConfigError:
    return ConfigError([Problem("defaults", f"In {path.name}, {what}.")])
