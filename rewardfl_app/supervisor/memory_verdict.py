"""The memory plan of a run, held against the machines it is to run on."""

from __future__ import annotations

from pathlib import Path

from rewardfl_app.config.schema import Config
from rewardfl_app.planning import machine, memory_check
from rewardfl_app.planning.machine import Machine
from rewardfl_app.planning.memory_check import Verdict
from rewardfl_app.supervisor import freeze, hostfile

_USUAL_GPUS = 8  # of one machine


def verdict(
    config: Config, device_gb: float | None = None, host_gb: float | None = None, *, here: Machine | None = None
) -> Verdict:
    """The plan held against the memory that is told (of each GPU, of each machine), else that of this machine.

    A model that only a GPU can train is not held against a machine without one. `here`: this machine, where it is
    known already (None: it is asked).
    """
    here = here or machine.here()
    elsewhere = here.device is None and config.model.model_name != freeze.EMBEDDED_FAMILY
    known_host = None if elsewhere else here.host
    told = Machine(
        here.device if device_gb is None else device_gb,
        known_host if host_gb is None else host_gb,
        assumed=device_gb is not None,
    )
    return memory_check.check(config, told, per_machine=_on_one_machine(config))


def _on_one_machine(config: Config) -> int | None:
    """The most processes that the hostfile puts on one machine; None without a hostfile."""
    if not config.deepspeed.hostfile:
        return None
    try:
        return max(hostfile.read(Path(config.deepspeed.hostfile)).values())
    except hostfile.HostfileError:
        return _USUAL_GPUS
