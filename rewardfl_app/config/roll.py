"""Import of a configuration of ROLL's Reward FL: the configuration of the same training here, and an account of it.

What the file leaves out has ROLL's default, not this project's, and what ROLL had as a constant in its code is set as
it was there. Nothing is passed over silently: every key of the file is in one of the lists.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardfl_app.config import hydra_file, roll_keys, roll_spreading, roll_unread, validation
from rewardfl_app.config.hydra_file import HydraFile, Unresolved
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.config.roll_differences import differences
from rewardfl_app.config.roll_keys import Key, Remark
from rewardfl_app.config.schema import Config
from rewardfl_app.config.secrets import redacted

__all__ = ["CONSTANT", "Imported", "Remark", "Translated", "load"]

CONSTANT = "(a constant in ROLL's code)"
_LEFT_OUT = "left out, ROLL's default"
# Keys that are not taken apart.
_WHOLE = roll_keys.READ | roll_keys.BOUNDARIES.keys() | roll_unread.WITHOUT_EFFECT.keys()


@dataclass(frozen=True)
class Translated:
    """A setting that was carried over: ROLL's key, or CONSTANT, and the setting here with its value. `note` says where
    the value is from when it is not simply that of the file."""

    theirs: str
    ours: str
    value: Any
    note: str = ""


@dataclass(frozen=True)
class Imported:
    """A configuration made from a ROLL file. `no_effect`: keys that changed nothing in the training there, or need
    nothing here; `different`: what is not the same here."""

    config: Config
    translated: list[Translated]
    no_effect: list[Remark]
    different: list[Remark]


def load(path: Path | str) -> Imported:
    """The configuration in a ROLL file; the files that it names need not exist on this machine.

    Raises ConfigError with every problem, each under ROLL's name of the key.
    """
    file = hydra_file.read(path, roll_spreading.WELL_KNOWN)
    if not isinstance(file.content.get("actor_train"), dict):
        message = f"{file.path.name} has no section of this name: give a configuration of ROLL's Reward FL."
        raise ConfigError([Problem("actor_train", message)])
    work = _Translation(file)
    config = work.config()
    different = [*differences(config, work.given), *work.different]
    listed = {entry.theirs for entry in work.entries} | {remark.key for remark in (*work.no_effect, *different)}
    no_effect = [*work.no_effect, *roll_unread.remarks(work.given, listed)]
    return Imported(config, work.entries, no_effect, different)


class _Translation:
    """The work on one file: what became of its keys, and what is wrong with them."""

    def __init__(self, file: HydraFile) -> None:
        self._file = file
        self._problems: list[Problem] = []
        self.given = dict(_leaves(file.content))
        self.entries: list[Translated] = []
        self.no_effect: list[Remark] = []
        self.different: list[Remark] = []
        self._relative_paths = False
        for key in (*roll_keys.KEYS, *roll_keys.LORA_KEYS):
            if key in roll_keys.KEYS or self._has_lora:
                self._plain(key)
        self._networks()
        self._devices()
        self._strategy()
        self._schedule()
        for ours, value in (roll_keys.CONSTANTS | self._version).items():
            self._put(CONSTANT, ours, value)
        if self._relative_paths:
            sentence = (
                "ROLL took them from the folder it was started in, and so does this project; they are absolute in the "
                "imported file, so that it can be used from anywhere."
            )
            self.different.append(Remark("relative paths", sentence))

    def config(self) -> Config:
        """The configuration that the entries make. Raises ConfigError."""
        mapping: dict[str, dict[str, Any]] = {}
        for entry in self.entries:
            section, _, name = entry.ours.partition(".")
            mapping.setdefault(section, {})[name] = entry.value
        try:
            built = validation.build(mapping, check_files=False)
        except ConfigError as error:
            theirs = {entry.ours: entry.theirs for entry in self.entries if entry.theirs != CONSTANT}
            for problem in error.problems:
                self._problem(theirs.get(problem.field, problem.field), problem.message)
        if self._problems:
            raise ConfigError(self._problems)
        return built

    @property
    def _has_lora(self) -> bool:
        """Whether the file is one of the second version of ROLL's Reward FL."""
        return self.given.get(roll_keys.LORA_BASE) is not None

    @property
    def _version(self) -> dict[str, Any]:
        return roll_keys.SECOND_VERSION if self._has_lora else roll_keys.FIRST_VERSION

    def _value(self, key: str) -> Any:
        """The value of a key, None where there is none; a reference that leads nowhere is a problem."""
        section = key.rpartition(".")[0]
        while section and section not in self.given:
            section = section.rpartition(".")[0]
        holder = self.given.get(section)
        if holder is not None:
            broken = isinstance(holder, Unresolved)
            self._problem(section, _broken(holder) if broken else "This must hold settings: write them below it.")
        value = self.given.get(key)
        if isinstance(value, Unresolved):
            self._problem(key, _broken(value))
            return None
        return value

    def _plain(self, key: Key) -> None:
        """A key with one setting of the same meaning."""
        value, note = self._value(key.theirs), ""
        if key.theirs in self.given and value is None and not key.nullable:
            if not isinstance(self.given[key.theirs], Unresolved):
                self._problem(key.theirs, "This is empty, but ROLL needs a value here: give one.")
            return
        if value is None:
            value, note = key.default, "" if key.theirs in self.given else _LEFT_OUT
        if key.ours in roll_keys.PATHS and isinstance(value, str) and value:
            located = _located(value, self._file.path)
            if located != value:
                value, note = located, f"{value} in the file"
                self._relative_paths = True
        if value is not None or key.theirs in self.given:
            self._put(key.theirs, key.ours, value, note)

    def _put(self, theirs: str, ours: str, value: Any, note: str = "") -> None:
        """Carry a setting over, in the place of an earlier value."""
        self.entries = [entry for entry in self.entries if entry.ours != ours]
        self.entries.append(Translated(theirs, ours, value, note))

    def _problem(self, key: str, message: str) -> None:
        """Note what is wrong with a key; the first that is found explains what follows from it."""
        if all(problem.field != key for problem in self._problems):
            self._problems.append(Problem(key, redacted(f"{self._file.place(key)}: {message}")))

    def _networks(self) -> None:
        """What is trained: ROLL had one family, and one kind of model for it."""
        name = self._value(roll_keys.MODEL_NAME)
        if name != "wan2_2":
            told = "is missing" if name is None else f"is {str(name)[:80]!r}"
            self._problem(roll_keys.MODEL_NAME, f"It {told}, but ROLL's Reward FL knew wan2_2 alone: write wan2_2.")
        kinds = (
            (roll_keys.MODEL_TYPE, ("diffusion_module",)),
            (roll_keys.STRATEGY_NAME, roll_keys.DIFFUSION_STRATEGIES),
        )
        for key, known in kinds:
            value = self._value(key)
            if value is not None and value not in known:
                message = f"It is {str(value)[:80]!r}, which is not Reward FL: write {known[0]}."
                self._problem(key, message)
            elif value is not None:
                self.no_effect.append(Remark(key, roll_unread.WITHOUT_EFFECT[key]))
        if self._has_lora and self.given.get(roll_keys.TRAINABLE) is None:  # the LoRA trained all the same
            self._put(roll_keys.LORA_BASE, "model.trainable_models", self._value(roll_keys.LORA_BASE))

    def _devices(self) -> None:
        key = roll_keys.DEVICES
        mapping = self._value(key)
        if mapping is None:
            if key not in self.given:
                self._problem(key, "It is missing, so ROLL would train on no device: write list(range(0,8)) for 8.")
            return
        try:
            numbers = roll_spreading.device_numbers(mapping)
        except ValueError as error:
            self._problem(key, str(error))
            return
        self._put(key, "deepspeed.num_processes", len(numbers))
        machine = self.given.get("num_gpus_per_node")
        if isinstance(machine, int) and max(numbers) >= machine > 0:
            sentence = (
                f"With {machine} devices per machine it reaches over several machines, which ROLL found by Ray: set "
                "deepspeed.hostfile here."
            )
            self.different.append(Remark(key, sentence))
        elif numbers != list(range(len(numbers))):
            self._put(key, "deepspeed.devices", ",".join(map(str, numbers)))

    def _strategy(self) -> None:
        key = roll_keys.STRATEGY_CONFIG
        strategy = self._value(key)
        strategy = {} if strategy is None else strategy
        lost = next(_lost(strategy), None)
        if lost is not None or not isinstance(strategy, Mapping):
            self._problem(key, _broken(lost) if lost else "It must hold a DeepSpeed configuration.")
            return
        try:
            settings = roll_spreading.zero_settings(strategy)
        except ValueError as error:
            self._problem(key, str(error))
            return
        named = [name for name in sorted(self._file.supplied) if roll_spreading.WELL_KNOWN[name] == strategy]
        note = f"by the name {named[0]}, whose file is not there" if named else ""
        for name, value in settings.items():
            self._put(key, f"deepspeed.{name}", value, note)
        others = [
            name
            for name, content in self._file.content.items()
            if name.startswith(roll_keys.DEEPSPEED) and content != strategy
        ]
        if others:
            sentence = "Of DeepSpeed's configurations only the one in strategy_config counts."
            self.no_effect.append(Remark(", ".join(others), sentence))
        if rest := roll_spreading.without_setting(strategy):
            sentence = f"The engine here sets these itself, or has no setting for them: {', '.join(rest)}."
            self.no_effect.append(Remark(key, sentence))

    def _schedule(self) -> None:
        """Keys of the course of a run that do not simply have another name here."""
        epochs = self._value(roll_keys.EPOCHS)
        self._put(roll_keys.EPOCHS, "train.num_train_epochs", 1, "see what differs" if epochs not in (None, 1) else "")
        for key in (roll_keys.RESUME, *roll_keys.BETAS):
            self._value(key)
        kept = self._value(roll_keys.CHECKPOINTS_KEPT)
        if kept is not None:
            self._put(roll_keys.CHECKPOINTS_KEPT, "train.save_total_limit", kept or None, "" if kept else "0 is all")
        self._warmup(self._value(roll_keys.WARMUP_RATIO))

    def _warmup(self, ratio: Any) -> None:
        """A share of the run instead of a number of updates; ROLL took it of max_steps divided by the devices."""
        now = {entry.ours: entry.value for entry in self.entries}
        steps, devices = now.get("train.max_steps"), now.get("deepspeed.num_processes")
        if ratio is None:
            return
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio <= 1:
            self._problem(roll_keys.WARMUP_RATIO, f"It must be a share from 0 to 1, but it is {str(ratio)[:80]!r}.")
        elif now.get("train.warmup_steps"):
            self.no_effect.append(Remark(roll_keys.WARMUP_RATIO, "ROLL read warmup_steps first."))
        elif isinstance(steps, int) and devices:
            value = math.ceil(steps // devices * ratio)
            self._put(roll_keys.WARMUP_RATIO, "train.warmup_steps", value, f"{ratio} of {steps} // {devices} updates")


def _leaves(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of the file that is read as one value or holds none further, by its full name."""
    for key, value in content.items():
        name = above + (repr(key) if "." in key else key)
        if isinstance(value, dict) and value and name not in _WHOLE:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _lost(value: Any) -> Iterator[Unresolved]:
    """The references in a value that lead nowhere."""
    if isinstance(value, Unresolved):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _lost(inner)


def _broken(lost: Unresolved) -> str:
    return f"Its reference leads nowhere, {lost.reason}: write the value itself."


def _located(text: str, file: Path) -> str:
    """A path of the file, absolute. ROLL takes relative ones from the folder it is started in, which is the one that
    holds `examples`: the first folder above the file from which there is something of that name, else that one."""
    if os.path.isabs(text) or text.startswith("~"):
        return text
    above = [*file.parents, Path.cwd()]
    root = next((folder.parent for folder in file.parents if folder.name == "examples"), file.parent)
    return os.path.normpath(next((folder for folder in above if os.path.exists(folder / text)), root) / text)
