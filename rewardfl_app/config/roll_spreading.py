"""How a ROLL file spreads a training over devices, `device_mapping` and a DeepSpeed configuration, in this project's
settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_MOST_DEVICES = 4096
_LONGEST = 8 * _MOST_DEVICES  # characters
_NUMBER = r"\s*(\d{1,6})\s*"
_RANGE = re.compile(rf"range\({_NUMBER}(?:,{_NUMBER})?(?:,{_NUMBER})?\)")


def _zero(stage: int, offload_optimizer: bool = False, offload_param: bool = False) -> dict[str, Any]:
    offloads = {"offload_optimizer": offload_optimizer, "offload_param": offload_param}
    return {"zero_optimization": {"stage": stage, **{k: {"device": "cpu"} for k, used in offloads.items() if used}}}


# What ROLL's examples share in examples/config, as far as this project has settings for it.
WELL_KNOWN: dict[str, dict[str, Any]] = {
    "deepspeed_zero": _zero(0),
    "deepspeed_zero2": _zero(2),
    "deepspeed_zero2_cpuoffload": _zero(2, offload_optimizer=True),
    "deepspeed_zero3": _zero(3),
    "deepspeed_zero3_cpuoffload": _zero(3, offload_optimizer=True, offload_param=True),
}


def device_numbers(mapping: object) -> list[int]:
    """The devices of a `device_mapping`, which ROLL gives to `eval`: `list(range(0,8))`, `[0, 1]`, sums of these.

    Raises ValueError with a sentence on what is not of such a form.
    """
    if isinstance(mapping, list):
        mapping = ",".join(str(device) for device in mapping)
    text = str(mapping)
    if len(text) > _LONGEST:
        raise _too_many()
    numbers: list[int] = []
    for term in text.split("+"):
        numbers += _term(term.strip())
        if len(numbers) > _MOST_DEVICES:
            raise _too_many()
    if len(set(numbers)) != len(numbers):
        raise ValueError("It names a device twice: name each once.")
    return numbers


def _term(text: str) -> list[int]:
    inner = text[5:-1].strip() if text.startswith("list(") and text.endswith(")") else text
    if counted := _RANGE.fullmatch(inner):
        bounds = [int(number) for number in counted.groups() if number is not None]
        if len(bounds) == 3 and bounds[2] == 0:
            raise _not_devices(text)
        named = range(*bounds)
        if not named:
            raise ValueError(f"{text} names no device: name at least one.")
        if len(named) > _MOST_DEVICES:
            raise _too_many()
        return list(named)
    listed = inner[1:-1] if inner.startswith("[") and inner.endswith("]") else inner
    numbers = [number.strip() for number in listed.removesuffix(",").split(",")]
    if not all(number.isascii() and number.isdecimal() and len(number) <= 6 for number in numbers):
        raise _not_devices(text)
    return [int(number) for number in numbers]


def _too_many() -> ValueError:
    return ValueError(f"It names more than {_MOST_DEVICES} devices: name those that there are.")


def _not_devices(text: str) -> ValueError:
    return ValueError(f"{text[:80]!r} is not of the form list(range(0,8)) or [0, 1]: write it so.")


def zero_settings(strategy: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the section `deepspeed` that a DeepSpeed configuration stands for.

    Raises ValueError with a sentence on what there is no setting for.
    """
    zero = strategy.get("zero_optimization") or {}
    if not isinstance(zero, Mapping):
        raise ValueError(f"zero_optimization must hold settings, but it is {str(zero)[:80]!r}.")
    return {
        "zero_stage": zero.get("stage", 0),
        "offload_optimizer": _to_cpu(zero, "offload_optimizer"),
        "offload_parameters": _to_cpu(zero, "offload_param"),
    }


def _to_cpu(zero: Mapping[str, Any], name: str) -> bool:
    target = zero.get(name)
    device = target.get("device", "none") if isinstance(target, Mapping) else target or "none"
    if device not in ("none", "cpu"):
        raise ValueError(f"{name} goes to {str(device)[:80]}, and here only to cpu: set its device to cpu or none.")
    return bool(device == "cpu")


def without_setting(strategy: Mapping[str, Any], above: str = "") -> list[str]:
    """The names in a DeepSpeed configuration that `zero_settings` does not read."""
    read = {
        "zero_optimization.stage",
        "zero_optimization.offload_optimizer.device",
        "zero_optimization.offload_param.device",
    }
    names: list[str] = []
    for key, value in strategy.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and value and any(one.startswith(f"{name}.") for one in read):
            names += without_setting(value, f"{name}.")
        elif name not in read:
            names.append(name)
    return names
