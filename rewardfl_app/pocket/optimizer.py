"""Muon for the matrices and convolutions, AdamW for the rest: it brings most of the sharpness in few iterations."""

from __future__ import annotations

import torch
from torch import nn


class MuonAdamW:
    """One optimizer over a module: kernels of two or more axes are flattened to [out, in * taps] for Muon."""

    def __init__(self, module: nn.Module, muon_rate: float, adam_rate: float, weight_decay: float = 0.0) -> None:
        self._pairs: list[tuple[nn.Parameter, nn.Parameter]] = []
        plain = []
        tables = {id(child.weight) for child in module.modules() if isinstance(child, nn.Embedding)}
        for parameter in module.parameters():
            is_kernel = parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) > 3
            if is_kernel and id(parameter) not in tables:
                self._pairs.append((parameter, nn.Parameter(parameter.data.reshape(parameter.shape[0], -1))))
            else:
                plain.append(parameter)
        self._muon = torch.optim.Muon(
            [flat for _, flat in self._pairs],
            lr=muon_rate,
            momentum=0.95,
            weight_decay=weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        self._adam = torch.optim.AdamW(plain, lr=adam_rate, betas=(0.9, 0.98), weight_decay=0.0)
        self._rates = (muon_rate, adam_rate)

    def scale_rates(self, factor: float) -> None:
        """Set both learning rates to `factor` (0 to 1) of their full value."""
        for optimizer, rate in zip((self._muon, self._adam), self._rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor

    def step(self) -> None:
        """Update from the `.grad` of the module's parameters and clear them."""
        with torch.no_grad():
            for parameter, flat in self._pairs:
                flat.data = parameter.data.reshape(parameter.shape[0], -1)
                flat.grad = None if parameter.grad is None else parameter.grad.reshape(flat.shape)
            self._muon.step()
            self._adam.step()
            for parameter, flat in self._pairs:
                if flat.data_ptr() != parameter.data_ptr():  # a channels-last kernel was copied to be flattened
                    parameter.data.copy_(flat.data.view(parameter.shape))
                parameter.grad = flat.grad = None
        self._adam.zero_grad()

    def state_dict(self) -> dict[str, object]:
        return {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self._muon.load_state_dict(state["muon"])
        self._adam.load_state_dict(state["adam"])
