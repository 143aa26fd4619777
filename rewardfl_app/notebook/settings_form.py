"""Settings as rows of a form: name, input and help, all from where the setting is declared."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

import ipywidgets as widgets

from rewardfl_app.config import changes
from rewardfl_app.config.problems import ConfigError, section_fields
from rewardfl_app.config.schema import Config
from rewardfl_app.notebook import style
from rewardfl_app.runs.changes import spoken

# Sections whose basic settings stand in the form; the others are what the preset or the file is chosen for.
_SECTIONS = ("train", "reward", "lora", "evaluation")


def basic_fields() -> list[str]:
    """The settings of a new run that people change first, as section.field."""
    names = [(section, name) for section in _SECTIONS for name in section_fields()[section]]
    return [
        f"{section}.{name}"
        for section, name in names
        if _hints(section, name).get("level") == "basic" and not _hints(section, name).get("path")
    ]


def help_of(field: str) -> str:
    """What the setting does, its unit and its range."""
    section, _, name = field.partition(".")
    return (_declared(section, name).description or "").replace("`", "")


def editor(field: str, value: object) -> widgets.Widget:
    """An input for the setting with this value in it."""
    wide = {"width": "170px"}
    if choices := _choices(field):
        return widgets.Dropdown(options=choices, value=value, layout=wide)
    return widgets.Text(value="" if value is None or value == "" else spoken(value), layout=wide, placeholder="empty")


def entered(source: widgets.Widget) -> object:
    """What stands in an editor; None when it is empty."""
    value = source.value
    return (value.strip() or None) if isinstance(value, str) else value


class SettingsForm(widgets.VBox):
    """Rows for some settings of a configuration. What is wrong stands below its row."""

    def __init__(self, config: Config, fields: Sequence[str]) -> None:
        self._before = {field: changes.value(config, field) for field in fields}
        self.editors = {field: editor(field, value) for field, value in self._before.items()}
        self._wrong = {field: widgets.HTML() for field in fields}
        super().__init__([self._row(field) for field in fields])

    @property
    def changed(self) -> dict[str, Any]:
        """What differs from the configuration, by section.field."""
        now = {field: entered(one) for field, one in self.editors.items()}
        return {field: new for field, new in now.items() if not _same(new, self._before[field])}

    def tell(self, problems: Mapping[str, str]) -> None:
        """Say what is wrong beside each field, and no longer what was."""
        for field, place in self._wrong.items():
            place.value = style.note(problems[field], style.BAD) if field in problems else ""

    def _row(self, field: str) -> widgets.Widget:
        name = widgets.HTML(f"<code>{escape(field.partition('.')[2])}</code>", layout={"width": "170px"})
        told = f'<div style="color:{style.INK};font-size:12px;line-height:1.35">{escape(help_of(field))}</div>'
        text = widgets.VBox([widgets.HTML(told), self._wrong[field]], layout={"flex": "1 1 0%"})
        return widgets.HBox([name, self.editors[field], text], layout={"margin": "0 0 6px", "grid_gap": "10px"})


def beside(error: ConfigError) -> tuple[dict[str, str], str]:
    """The first problem of each field, and those of none, as one text."""
    found: dict[str, str] = {}
    for problem in error.problems:
        found.setdefault(problem.field, problem.message)
    return found, found.pop("", "")


def _same(new: object, before: object) -> bool:
    text = None if before is None or before == "" else spoken(before) if not isinstance(before, bool) else before
    return new == text


def _choices(field: str) -> list[tuple[str, object]]:
    section, _, name = field.partition(".")
    annotation: Any = _declared(section, name).annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = typing.get_args(annotation)[0]
    if annotation is bool:
        return [("on", True), ("off", False)]
    if typing.get_origin(annotation) is Literal:
        return [(str(choice), choice) for choice in typing.get_args(annotation)]
    return []


def _hints(section: str, name: str) -> dict[str, Any]:
    extra = _declared(section, name).json_schema_extra
    return extra if isinstance(extra, dict) else {}


def _declared(section: str, name: str) -> Any:
    kind: Any = Config.model_fields[section].annotation
    return kind.model_fields[name]
