"""YAML that is what it looks like: values written out, of a reasonable size, no tags and no aliases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

LARGEST_BYTES = 2**18  # of a configuration; fifty times what every setting written out takes


class _Loader(yaml.SafeLoader):
    """YAML whose values are written out, without tags and aliases.

    A few lines of aliases can stand for gigabytes, and a tag makes PyYAML take a value for what it is not.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            _refuse(event, f"*{event.anchor} stands for another value: write the value itself")
        if getattr(event, "tag", None) is not None:
            _refuse(event, f"a value has the tag {event.tag}: remove the tag")
        return super().compose_node(parent, index)


def _refuse(event: Any, problem: str) -> None:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def parse(text: str) -> tuple[Any, list[tuple[str, int]]]:
    """The content of a YAML text, and the keys that it has twice, with their lines.

    Raises YAMLError, ValueError (a date or a number that there is not) and RecursionError (nested without an end).
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return (None if node is None else loader.construct_document(node)), list(_repeated_keys(node))
    finally:
        loader.dispose()


def lines(text: str) -> dict[str, int]:
    """The line of every key of a YAML text that `parse` reads, by its full name, as section.field."""
    loader = _Loader(text)
    try:
        return dict(_key_lines(loader.get_single_node()))
    finally:
        loader.dispose()


def _key_lines(node: yaml.Node | None, above: str = "") -> Iterable[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield f"{above}{key.value}", key.start_mark.line + 1
            yield from _key_lines(value, f"{above}{key.value}.")


def _repeated_keys(node: yaml.Node | None, above: str = "") -> Iterable[tuple[str, int]]:
    """Keys that a mapping of the file has twice, with their line; YAML itself would silently take the last."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen = set()
    for key, value in node.value:
        name = f"{above}{key.value}"
        if key.value in seen:
            yield name, key.start_mark.line + 1
        seen.add(key.value)
        yield from _repeated_keys(value, f"{name}.")
