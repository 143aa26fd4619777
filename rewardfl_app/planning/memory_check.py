"""Whether a run fits into the memory there is, and what would make it fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rewardfl_app.config import files, presets, validation
from rewardfl_app.config.schema import Config
from rewardfl_app.planning import memory_plan
from rewardfl_app.planning.machine import Machine
from rewardfl_app.planning.memory_plan import MemoryPlan
from rewardfl_app.planning.phase import GB

_FEWER_FRAMES = (81, 65, 49, 33, 17)
_LEAST_SIDE = 256

Settings = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """A plan held against a machine.

    `fits` None: it is not known what there is. `remedy`: settings by `section.field` that would make it fit, the
    cheapest found, empty where it fits; None where nothing does. `remedied`: the plan with them. `advice`: where no
    setting helps.
    """

    plan: MemoryPlan
    machine: Machine
    fits: bool | None
    remedy: Mapping[str, Any] | None
    remedied: MemoryPlan | None
    advice: str = ""

    def content(self) -> dict[str, Any]:
        """As JSON, GB."""
        phases = [
            {
                "phase": phase.name,
                "device_gb": phase.device_gb,
                "host_gb": phase.host_gb,
                "device": {part.what: part.size / GB for part in phase.device},
                "host": {part.what: part.size / GB for part in phase.host},
            }
            for phase in self.plan.phases
        ]
        return {
            "on_gpu": self.plan.on_gpu,
            "processes_per_machine": self.plan.per_machine,
            "videos_at_a_time": self.plan.videos,
            "size": list(self.plan.size),
            "phases": phases,
            "device_peak_gb": self.plan.device_peak.device_gb,
            "host_peak_gb": self.plan.host_peak.host_gb,
            "device_gb": self.machine.device,
            "host_gb": self.machine.host,
            "assumed": self.machine.assumed,
            "fits": self.fits,
            "remedy": None if self.remedy is None else dict(self.remedy),
            "remedied_device_gb": self.remedied.device_peak.device_gb if self.remedied else None,
            "remedied_host_gb": self.remedied.host_peak.host_gb if self.remedied else None,
            "sentence": self.sentence,
        }

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        device, host = self.plan.device_peak, self.plan.host_peak
        usable_device, usable_host = self.machine.usable_device, self.machine.usable_host
        needs = []
        if self.plan.on_gpu:
            has = f" of {usable_device:.1f} usable" if usable_device is not None else ""
            needs.append(f"{device.device_gb:.1f} GB{has} on each GPU ({device.name})")
        has = f" of {usable_host:.1f} usable" if usable_host is not None else ""
        needs.append(f"{host.host_gb:.1f} GB{has} of the machine's own memory ({host.name})")
        told = "It needs " + " and ".join(needs)
        if self.fits is None:
            return f"{told}. What there is is not known here: say it with --device-memory and --host-memory."
        if self.fits:
            return f"{told}: it fits."
        if self.remedy is None or self.remedied is None:
            return f"{told}: it does not fit, and no setting makes it fit: {self.advice}."
        changes = " ".join(f"--set {name}={_text(value)}" for name, value in self.remedy.items())
        after = f"{self.remedied.device_peak.device_gb:.1f} GB and " if self.plan.on_gpu else ""
        return f"{told}: it does not fit. {changes} makes it fit ({after}{self.remedied.host_peak.host_gb:.1f} GB)."


def check(config: Config, machine: Machine, *, per_machine: int | None = None) -> Verdict:
    """The plan of a run on a machine. `per_machine`: its processes there (None: all of them).

    A model that no CPU can train is planned for a GPU of unknown size where there is none.
    """
    on_gpu = machine.device is not None or config.model.model_name != "pocket"

    def planned(settings: Config) -> MemoryPlan:
        here = min(per_machine or settings.deepspeed.num_processes, settings.deepspeed.num_processes)
        return memory_plan.plan(settings, on_gpu=on_gpu, per_machine=here)

    plan = planned(config)
    fits = _fits(plan, machine)
    if fits is not False:
        return Verdict(plan, machine, fits, {}, None)
    for remedy in _remedies(config, lambda settings: _fits(planned(settings), machine) is not False):
        return Verdict(plan, machine, False, remedy, planned(_changed(config, remedy) or config))
    return Verdict(plan, machine, False, None, None, _advice(config, machine))


def _advice(config: Config, machine: Machine) -> str:
    """A smaller model, by its name where one of the presets would fit."""
    for preset in presets.PRESETS.values():
        other = Config.model_validate(preset.sections)
        smaller = memory_plan.plan(other, on_gpu=True, per_machine=1)
        if other.model.model_name not in ("pocket", config.model.model_name) and _fits(smaller, machine):
            return f"take {preset.title.partition(',')[0]}, or a larger machine"
    return "take a smaller model, or a larger machine"


def _fits(plan: MemoryPlan, machine: Machine) -> bool | None:
    device, host = machine.usable_device, machine.usable_host
    known = [plan.host_peak.host_gb <= host] if host is not None else []
    if plan.on_gpu:
        if device is None:
            return None if all(known) else False
        known.append(plan.device_peak.device_gb <= device)
    return all(known) if known else None


def _remedies(config: Config, fits: Callable[[Config], bool]) -> Iterable[Settings]:
    """Changes that make it fit: the first single one, else the first that add up, without those it does not need."""
    single = [change for change in _changes(config) if _changed(config, change) is not None]
    for change in single:
        if fits(_changed(config, change) or config):
            yield change
            return
    together: Settings = {}
    taken: list[Settings] = []
    for change in single:
        if _changed(config, {**together, **change}) is None:
            continue
        together.update(change)
        taken.append(change)
        if fits(_changed(config, together) or config):
            break
    else:
        return
    for change in list(taken):
        rest: Settings = {}
        for other in taken:
            if other is not change:
                rest.update(other)
        settings = _changed(config, rest)
        if settings is not None and fits(settings):
            taken.remove(change)
    needed: Settings = {}
    for change in taken:
        needed.update(change)
    yield needed


def _changes(config: Config) -> Iterable[Settings]:
    """What saves memory, in the order of what it costs: time first, then what is trained on."""
    model, train, data, settings = config.model, config.train, config.data, config.deepspeed
    latent_frames = (data.num_frames - 1) // 4 + 1
    for chunk in (4, 2, 1):
        if (config.sampling.decode_chunk or latent_frames) > chunk:
            yield {"sampling.decode_chunk": chunk}
    if config.sampling.keep_graphs:
        yield {"sampling.keep_graphs": 0}
    if config.evaluation.batch_size > 1:
        yield {"evaluation.batch_size": 1}
    if not model.use_gradient_checkpointing:
        yield {"model.use_gradient_checkpointing": True}
    if not model.use_gradient_checkpointing_offload:
        yield {"model.use_gradient_checkpointing": True, "model.use_gradient_checkpointing_offload": True}
    if model.use_gradient_checkpointing_offload:  # the other way round, where it is the host that is short
        yield {"model.use_gradient_checkpointing_offload": False}
    if not config.sampling.prefix_seeds:
        yield {"sampling.prefix_seeds": 4}
    if not (settings.zero_stage and settings.offload_optimizer):
        yield {"deepspeed.zero_stage": max(settings.zero_stage, 2), "deepspeed.offload_optimizer": True}
    batch = train.per_device_train_batch_size
    if batch > 1:
        accumulated = train.gradient_accumulation_steps * batch
        yield {"train.per_device_train_batch_size": 1, "train.gradient_accumulation_steps": accumulated}
    if settings.zero_stage < 3 and config.lora.lora_base_model == ("none",):
        yield {"deepspeed.zero_stage": 3, "deepspeed.offload_parameters": True, "deepspeed.offload_optimizer": True}
    if model.dtype == "float32" and model.model_name != "pocket":
        yield {"model.dtype": "bfloat16"}
    for frames in _FEWER_FRAMES:
        if frames < data.num_frames:
            yield {"data.num_frames": frames}
    yield from _smaller(config)


def _smaller(config: Config) -> Iterable[Settings]:
    data = config.data
    for share in (0.75, 0.5):
        if data.height and data.width:
            height, width = (int(side * share) // 32 * 32 for side in (data.height, data.width))
            if min(height, width) >= _LEAST_SIDE:
                yield {"data.height": height, "data.width": width, "data.max_pixels": height * width}
        elif data.max_pixels * share * share >= _LEAST_SIDE**2:
            yield {"data.max_pixels": int(data.max_pixels * share * share)}


def _changed(config: Config, change: Settings) -> Config | None:
    """The configuration with these settings; None where they contradict others."""
    before = {(problem.field, problem.message) for problem in validation.problems(config, check_files=False)}
    mapping = files.override(files.to_mapping(config), [f"{name}={_text(value)}" for name, value in change.items()])
    try:
        settings = Config.model_validate(mapping)
    except ValueError:
        return None
    found = {(problem.field, problem.message) for problem in validation.problems(settings, check_files=False)}
    return settings if found <= before else None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
