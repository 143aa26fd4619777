"""What every section of the configuration shares: how a field is declared, and the rules that hold for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema, field_validator
from pydantic_core.core_schema import ValidationInfo

Level = Literal["basic", "advanced"]
Applies = Literal["new", "resume", "live"]


def _split_names(value: object) -> object:
    """'q, k,v' -> ('q', 'k', 'v'); other values pass on to pydantic's own check."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


# A comma string in YAML and on the page, a tuple inside the code.
Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_split_names),
    PlainSerializer(lambda names: ",".join(names), return_type=str),
    WithJsonSchema({"type": "string"}),
]


def _split_weights(value: object) -> object:
    """'a=1, b=0.5' or {a: 1, b: 0.5} -> (('a', 1.0), ('b', 0.5)); a name alone has the weight 1."""
    if isinstance(value, Mapping):
        return tuple(value.items())
    if not isinstance(value, str):
        return value
    pairs = []
    for part in (part.strip() for part in value.split(",") if part.strip()):
        name, equals, weight = (word.strip() for word in part.partition("="))
        try:
            pairs.append((name, float(weight) if equals else 1.0))
        except ValueError:
            raise ValueError(f"must be name=weight, but there is {part}") from None
    return tuple(pairs)


def _joined_weights(weights: tuple[tuple[str, float], ...]) -> str:
    return ",".join(name if weight == 1 else f"{name}={weight!r}" for name, weight in weights)


# Names with a weight each: 'a,b=0.5' in YAML and on the page, pairs inside the code.
Weights = Annotated[
    tuple[tuple[str, float], ...],
    BeforeValidator(_split_weights),
    PlainSerializer(_joined_weights, return_type=str),
    WithJsonSchema({"type": "string"}),
]


def field(
    default: object,
    description: str,
    *,
    level: Level = "advanced",
    applies: Applies = "new",
    path: Literal["file", "folder"] | None = None,
    **limits: Any,
) -> Any:
    """A pydantic field with this project's hints. `path` marks a value that names a file or a folder."""
    extra: dict[str, Any] = {"level": level, "applies": applies}
    if path:
        extra["path"] = path
    return Field(default, description=description, json_schema_extra=extra, **limits)


class Section(BaseModel):
    """Rules of every section: frozen, unknown keys refused, no NaN or infinity, an empty value is the default."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=(), validate_default=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _plain_value(cls, value: object, info: ValidationInfo) -> object:
        """An empty value stands for the default where a field cannot be empty; true and false are no numbers."""
        declared = cls.model_fields[info.field_name or ""]
        optional = type(None) in get_args(declared.annotation)
        if value is None and not optional:
            return declared.get_default(call_default_factory=True)
        if isinstance(value, bool) and declared.annotation in (int, float, int | None, float | None):
            raise ValueError("must be a number")
        return value
