"""What can be wrong with a configuration: one sentence per field, and pydantic's findings told as such sentences."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

from rewardfl_app.config.schema import Config

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "tuple": "names separated by commas",
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `field` is its full name, as train.learning_rate; empty when it is the whole file."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


Rule = Callable[[Config], Iterator[Problem]]


class ConfigError(Exception):
    """A configuration that cannot be used.

    `problems` has everything that is wrong with it, the message one line each.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def section_fields() -> dict[str, list[str]]:
    """The field names of each section, in the order of their declaration."""
    fields: dict[str, list[str]] = {}
    for name, info in Config.model_fields.items():
        section: Any = info.annotation
        fields[name] = list(section.model_fields)
    return fields


def unknown_section(name: object) -> Problem:
    """A key at the top level that is no section."""
    text = str(name)
    sections = section_fields()
    if home := [section for section, fields in sections.items() if text in fields]:
        return Problem(text, f"{text} is a setting of {' or '.join(home)}: write it there, as {home[0]}.{text}.")
    return Problem(text, f"There is no section {text}{suggestion(text, list(sections))}")


def unknown_field(section: str, name: str) -> Problem:
    """A key of a section that is none of its fields."""
    sections = section_fields()
    home = [other for other, fields in sections.items() if name in fields]
    if home:
        message = f"{name} is a setting of {home[0]}, not of {section}: write {home[0]}.{name}."
    else:
        message = f"There is no setting {name} in {section}{suggestion(name, sections[section])}"
    return Problem(f"{section}.{name}", message)


def suggestion(word: str, known: Sequence[str]) -> str:
    """The end of a sentence on an unknown word: the known word that is nearest to it, or all of them."""
    if close := difflib.get_close_matches(word, known, n=1, cutoff=0.6):
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(known)}."


def from_pydantic(section: str, error: ErrorDetails) -> Problem:
    """A finding of pydantic on a field of a section, as a sentence that says what is there and what may be."""
    name = str(error["loc"][0])
    kind, limits = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_field(section, name)
    if kind == "literal_error":
        needs = f"must be one of {', '.join(_choices(section, name))}"
    elif kind in ("greater_than_equal", "less_than_equal", "greater_than", "less_than", "multiple_of"):
        word, key = {
            "greater_than_equal": ("at least", "ge"),
            "less_than_equal": ("at most", "le"),
            "greater_than": ("above", "gt"),
            "less_than": ("below", "lt"),
            "multiple_of": ("a multiple of", "multiple_of"),
        }[kind]
        needs = f"must be {word} {limits[key]:g}"
    elif kind == "value_error":
        needs = str(limits["error"])
    else:
        needs = f"must be {_KINDS.get(kind.split('_')[0], 'of another kind (' + error['msg'].lower() + ')')}"
    return Problem(f"{section}.{name}", f"{name} {needs}, but it is {error['input']!r}.")


def _choices(section: str, name: str) -> list[str]:
    annotation: Any = Config.model_fields[section].annotation
    return [str(choice) for choice in annotation.model_fields[name].annotation.__args__]


def listed(names: Sequence[str]) -> str:
    """Names as a person writes them into a setting."""
    return ",".join(names) or "empty"
