"""References in a Hydra configuration: `${name}`, `${section.field}`, `${.sibling}`, `${oc.env:VARIABLE,default}`.

Nothing is evaluated: a reference is a name that is looked up. What it stands for may have references itself, so depth,
length and number of what comes out are limited; a few lines could stand for gigabytes otherwise.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.config.secrets import names_secret

_MOST_VALUES = 20_000
_DEEPEST = 100  # values within values, through references too
_LONGEST = 4096  # characters of a text with references in it
_ENVIRONMENT = ("oc.env", "env")
_BRACKET = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Unresolved:
    """Stands in the place of a value whose reference leads nowhere."""

    reason: str


class _Failed(Exception):
    """A reference that leads nowhere; the message is the reason."""


class References:
    """Resolves the references of one configuration."""

    def __init__(
        self,
        root: Mapping[str, Any],
        fallback: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`fallback`: top-level values that are taken where the configuration has none of that name."""
        self._root = root
        self._fallback = fallback or {}
        self._environment = os.environ if environment is None else environment
        self._values = self._depth = 0
        self.supplied: set[str] = set()
        """Names that the fallback gave."""

    def resolved(self) -> dict[str, Any]:
        """The configuration without references; where one leads nowhere stands an Unresolved.

        Raises ConfigError when it grows beyond any use.
        """
        return {key: self._value(value, (key,), ()) for key, value in self._root.items()}

    def _value(self, node: Any, place: tuple[str, ...], following: tuple[tuple[str, ...], ...]) -> Any:
        """What stands for the node at `place`; `following`: the references that led here, outermost first."""
        try:
            return self._expanded(node, place, following)
        except _Failed as failure:
            return Unresolved(str(failure))

    def _expanded(self, node: Any, place: tuple[str, ...], following: tuple[tuple[str, ...], ...]) -> Any:
        """The same, but raises _Failed where the node itself is a reference that leads nowhere."""
        if self._depth >= _DEEPEST:
            raise _Failed(f"values are nested more than {_DEEPEST} deep")
        self._depth += 1
        try:
            return self._counted(node, place, following)
        finally:
            self._depth -= 1

    def _counted(self, node: Any, place: tuple[str, ...], following: tuple[tuple[str, ...], ...]) -> Any:
        self._values += 1
        if self._values > _MOST_VALUES:
            message = f"The references stand for more than {_MOST_VALUES} values: write the values themselves."
            raise ConfigError([Problem(".".join(place), message)])
        if isinstance(node, Mapping):
            return {key: self._value(value, (*place, key), following) for key, value in node.items()}
        if isinstance(node, list):
            return [self._value(value, (*place, str(n)), following) for n, value in enumerate(node)]
        return self._text(node, place, following) if isinstance(node, str) and "${" in node else node

    def _text(self, text: str, place: tuple[str, ...], following: tuple[tuple[str, ...], ...]) -> Any:
        """A text with references in it; one that is a single reference has the value it stands for, of any kind."""
        if len(text) > _LONGEST:
            raise _Failed(f"a text with references is longer than {_LONGEST} characters")
        parts: list[Any] = []
        end = 0
        while (start := text.find("${", end)) >= 0:
            if start > 0 and text[start - 1] == "\\":  # written as text
                parts.append(text[end : start - 1] + "${")
                end = start + 2
                continue
            parts.append(text[end:start])
            end = _closing(text, start + 2) + 1
            parts.append(self._reference(text[start + 2 : end - 1], place, following))
        parts.append(text[end:])
        given = [part for part in parts if part != ""]
        if len(given) == 1:
            return given[0]
        for part in given:
            if isinstance(part, dict | list):
                raise _Failed("a reference within a text stands for several values")
        joined = "".join("null" if part is None else str(part) for part in given)
        if len(joined) > _LONGEST:
            raise _Failed(f"a text with references becomes longer than {_LONGEST} characters")
        return joined

    def _reference(self, name: str, place: tuple[str, ...], following: tuple[tuple[str, ...], ...]) -> Any:
        if "${" in name:
            name = str(self._expanded(name, place, following))
        name = name.strip()
        function, colon, argument = name.partition(":")
        if colon:
            return self._from_environment(function.strip(), argument)
        target = _absolute(name, place)
        if target in following:
            circle = " -> ".join(".".join(step) for step in (*following[following.index(target) :], target))
            raise _Failed(f"{circle} goes round in a circle")
        found = self._expanded(self._looked_up(target, (*following, target)), target, (*following, target))
        if isinstance(found, Unresolved):
            raise _Failed(found.reason)
        return found

    def _looked_up(self, target: tuple[str, ...], following: tuple[tuple[str, ...], ...]) -> Any:
        """The node of this full name, which may pass through references."""
        if target[0] not in self._root and target[0] in self._fallback:
            self.supplied.add(target[0])
        node: Any = {**self._fallback, **self._root}
        for depth, part in enumerate(target):
            if isinstance(node, str) and "${" in node:
                node = self._expanded(node, target[:depth], following)
            if isinstance(node, Unresolved):
                raise _Failed(node.reason)
            if isinstance(node, list) and part.isdecimal() and len(part) < 6 and int(part) < len(node):
                node = node[int(part)]
            elif isinstance(node, Mapping) and part in node:
                node = node[part]
            else:
                close = difflib.get_close_matches(part, list(node), 1) if isinstance(node, Mapping) else []
                meant = f" (did you mean {'.'.join((*target[:depth], close[0]))}?)" if close else ""
                raise _Failed(f"there is no {'.'.join(target)}{meant}")
        return node

    def _from_environment(self, function: str, argument: str) -> Any:
        if function not in _ENVIRONMENT:
            raise _Failed(f"{function}: is a function, and only {' and '.join(_ENVIRONMENT)} are known")
        variable, comma, default = (part.strip() for part in argument.partition(","))
        if names_secret(variable):
            raise _Failed(f"the environment variable {variable} is a secret, which must not stand in settings")
        if variable in self._environment:
            return self._environment[variable]
        if not comma:
            raise _Failed(f"the environment variable {variable} is not set")
        return None if default == "null" else default.strip("'\"")


def _closing(text: str, start: int) -> int:
    """The place of the brace that ends a reference whose name begins at `start`."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise _Failed("${ is not closed with }")


def _absolute(name: str, place: tuple[str, ...]) -> tuple[str, ...]:
    """The full name of what a reference at `place` names: dots in front count from the section it stands in."""
    bare = name.lstrip(".")
    dots = len(name) - len(bare)
    if dots > len(place):
        raise _Failed(f"{name} leads out of the file")
    above = place[: len(place) - dots] if dots else ()
    parts = tuple(_BRACKET.sub(r".\1", bare).split("."))
    if not all(parts):
        raise _Failed(f"{name or 'nothing'} is no name")
    return (*above, *parts)
