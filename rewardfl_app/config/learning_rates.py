"""The numbers that a course of the learning rate takes, by Hugging Face's names."""

from __future__ import annotations

from collections.abc import Iterator

from rewardfl_app.config.problems import Problem, suggestion
from rewardfl_app.config.schema import Config

OPTIONS: dict[str, tuple[str, ...]] = {
    "constant": (),
    "constant_with_warmup": (),
    "linear": (),
    "cosine": ("num_cycles",),
    "cosine_with_restarts": ("num_cycles",),
    "polynomial": ("lr_end", "power"),
    "inverse_sqrt": ("timescale",),
    "cosine_with_min_lr": ("min_lr", "min_lr_rate", "num_cycles"),
    "cosine_warmup_with_min_lr": ("min_lr", "min_lr_rate", "num_cycles", "warmup_lr_rate"),
    "warmup_stable_decay": ("num_decay_steps", "num_stable_steps", "min_lr_ratio", "num_cycles"),
}
# Exactly one of them is needed.
_NEEDED = {
    "cosine_with_min_lr": ("min_lr", "min_lr_rate"),
    "cosine_warmup_with_min_lr": ("min_lr", "min_lr_rate"),
    "warmup_stable_decay": ("num_decay_steps",),
}


def options(config: Config) -> Iterator[Problem]:
    """The course of the learning rate has the numbers it needs, and no others."""
    field, kind = "train.lr_scheduler_kwargs", config.train.lr_scheduler_type
    known, given = OPTIONS[kind], [name for name, _ in config.train.lr_scheduler_kwargs]
    for name in given:
        if name not in known:
            takes = f"{kind} takes {', '.join(known)}" if known else f"{kind} takes none"
            close = suggestion(name, list(known)) if known else "."
            yield Problem(field, f"{takes}, but there is {name}{close}")
        elif given.count(name) > 1:
            yield Problem(field, f"{name} is given twice: give it once.")
            return
    needed = _NEEDED.get(kind, ())
    if needed and len(set(needed) & set(given)) != 1:
        one = f"one of {' and '.join(needed)}" if len(needed) > 1 else needed[0]
        example = f"{needed[-1]}={10 if needed[-1].endswith('steps') else 0.1}"
        yield Problem(field, f"{kind} needs {one}: write for example {example}.")
