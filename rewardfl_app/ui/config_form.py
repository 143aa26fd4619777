"""The settings form as data: fields from the configuration schema, values to and from text, differences."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rewardfl_app.config.schema import Config

Kind = Literal["integer", "number", "text", "choice", "switch"]
Values = Mapping[str, object]

SECTION_TITLES = {
    "model": "Model",
    "data": "Data",
    "sampling": "Sampling",
    "reward": "Reward",
    "lora": "LoRA",
    "train": "Training",
    "evaluation": "Evaluation",
    "deepspeed": "DeepSpeed",
}
APPLIES_TEXT = {
    "new": "only in a new run",
    "resume": "in a new run, and when a stopped run is resumed",
    "live": "in a new run, at resume, and at once in a run that is going on",
}
_WORDS = {
    "kl": "KL",
    "lr": "LR",
    "lora": "LoRA",
    "fps": "FPS",
    "nms": "NMS",
    "det": "detector",
    "num": "number of",
    "id": "ID",
}


@dataclass(frozen=True)
class FormField:
    """One row of the form. `key` is the full name (train.learning_rate); `limits` is a short text such as "0 to 1"."""

    key: str
    name: str
    label: str
    help: str
    kind: Kind
    choices: tuple[str, ...]
    optional: bool
    level: str
    applies: str
    applies_text: str
    path: str | None
    limits: str


@dataclass(frozen=True)
class FormSection:
    """One section of the form with its fields in the order of their declaration."""

    name: str
    title: str
    help: str
    fields: tuple[FormField, ...]


@dataclass(frozen=True)
class Change:
    """A field whose value differs, as texts."""

    field: str
    label: str
    before: str
    after: str


def sections(schema: type[BaseModel] = Config) -> list[FormSection]:
    """The form's sections and fields, read from the schema's own declarations."""
    result = []
    for name, info in schema.model_fields.items():
        section = info.annotation
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            continue
        fields = tuple(_form_field(name, key, field) for key, field in section.model_fields.items())
        help_text = (section.__doc__ or "").strip().split("\n")[0]
        result.append(FormSection(name, SECTION_TITLES.get(name, name.capitalize()), help_text, fields))
    return result


def _form_field(section: str, name: str, info: FieldInfo) -> FormField:
    kind, choices, optional = _kind(info)
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    applies = str(extra.get("applies", "new"))
    return FormField(
        key=f"{section}.{name}",
        name=name,
        label=label(name),
        help=(info.description or "").replace("`", ""),
        kind=kind,
        choices=choices,
        optional=optional,
        level=str(extra.get("level", "advanced")),
        applies=applies,
        applies_text=APPLIES_TEXT.get(applies, applies),
        path=str(extra["path"]) if extra.get("path") else None,
        limits=_limits(info, optional),
    )


def label(name: str) -> str:
    """kl_weight -> KL weight; a readable name beside the parameter's own."""
    words = " ".join(_WORDS.get(word, word) for word in name.split("_"))
    return words[:1].upper() + words[1:]


def _kind(info: FieldInfo) -> tuple[Kind, tuple[str, ...], bool]:
    annotation: Any = info.annotation
    optional = False
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        optional = len(members) < len(typing.get_args(annotation))
        annotation = members[0]
    if typing.get_origin(annotation) is Literal:
        return "choice", tuple(str(choice) for choice in typing.get_args(annotation)), optional
    if annotation is bool:
        return "switch", (), optional
    if annotation is int:
        return "integer", (), optional
    if annotation is float:
        return "number", (), optional
    return "text", (), optional


def _limits(info: FieldInfo, optional: bool) -> str:
    low = next((f"{m.ge:g}" for m in info.metadata if isinstance(m, Ge)), None)
    above = next((f"{m.gt:g}" for m in info.metadata if isinstance(m, Gt)), None)
    high = next((f"{m.le:g}" for m in info.metadata if isinstance(m, Le)), None)
    below = next((f"{m.lt:g}" for m in info.metadata if isinstance(m, Lt)), None)
    if low is not None and high is not None:
        text = f"{low} to {high}"
    elif above is not None and below is not None and len(below) < 6:
        text = f"between {above} and {below}"
    elif low is not None:
        text = f"{low} or more"
    elif above is not None:
        text = f"above {above}"
    else:
        text = ""
    return ", ".join(part for part in (text, "may be empty" if optional else "") if part)


def text_of(value: object) -> str:
    """A value as it stands in an input: 2.5e-06 -> "2.5e-6", None -> "", tuples as comma lists."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = repr(value).removesuffix(".0")
        mantissa, mark, exponent = text.partition("e")
        return f"{mantissa}e{int(exponent)}" if mark else text
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value)
    return str(value)


def values_of(config: BaseModel) -> dict[str, str | bool]:
    """Every field as the form holds it: {"train.seed": "42", "reward.hinge": False, ...}."""
    nested = config.model_dump(mode="json")
    return {
        f"{section}.{name}": value if isinstance(value, bool) else text_of(value)
        for section, fields in nested.items()
        for name, value in fields.items()
    }


def mapping_of(values: Values, schema: type[BaseModel] = Config) -> dict[str, dict[str, object]]:
    """The nested mapping that `config.validation.build` takes.

    Text that is not a number stays text, so that validation can say so beside the field. Keys the schema does not know
    are passed on for the same reason.
    """
    kinds = {field.key: field for section in sections(schema) for field in section.fields}
    nested: dict[str, dict[str, object]] = {}
    for key, raw in values.items():
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = _parsed(raw, kinds.get(key))
    return nested


def _parsed(raw: object, field: FormField | None) -> object:
    if not isinstance(raw, str) or field is None:
        return raw
    text = raw.strip()
    if text == "" and field.optional:
        return None
    if field.kind == "switch" and text in {"true", "false"}:
        return text == "true"
    if field.kind in {"integer", "number"}:
        for convert in (int, float):
            try:
                return convert(text)
            except ValueError:
                continue
    return text


def changes(before: Values, after: Values) -> list[Change]:
    """Fields that differ in value, in the order of `after`; 5e-4 is 0.0005, and a space after a comma is none."""
    return [
        Change(key, label(key.partition(".")[2]), text_of(before.get(key)), text_of(value))
        for key, value in after.items()
        if key in before and not same_value(before[key], value)
    ]


def same_value(one: object, other: object) -> bool:
    """Whether two entries of the form mean the same."""
    first, second = (",".join(part.strip() for part in text_of(value).split(",")) for value in (one, other))
    try:
        return first == second or float(first) == float(second)
    except ValueError:
        return False


def form_payload(schema: type[BaseModel] = Config) -> list[dict[str, Any]]:
    """The sections as plain values for the page."""
    return [asdict(section) for section in sections(schema)]
