"""Restartable training: where a part stands, on disk, so that an interrupted build goes on where it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)


class Progress:
    """Saves `state()` of a part every `save_seconds` and restores it; the loop is `for i in progress:`."""

    def __init__(self, path: Path, num_iterations: int, parts: dict[str, Any], save_seconds: float = 120.0) -> None:
        self.path, self.num_iterations, self._parts, self._save_seconds = path, num_iterations, parts, save_seconds
        self.start = 0
        if path.exists():
            stored = torch.load(path, weights_only=True, map_location="cpu")
            self.start = stored["iteration"]
            for name, part in parts.items():
                part.load_state_dict(stored[name])
            log.info("%s: going on at iteration %d", path.stem, self.start)

    def __iter__(self) -> Iterator[int]:
        saved = began = time.monotonic()
        for iteration in range(self.start, self.num_iterations):
            yield iteration
            now = time.monotonic()
            if now - saved > self._save_seconds or iteration + 1 == self.num_iterations:
                self.save(iteration + 1)
                saved = now
                rate = (iteration + 1 - self.start) / (now - began)
                log.info(
                    "%s: iteration %d of %d, %.2f a second", self.path.stem, iteration + 1, self.num_iterations, rate
                )

    def save(self, iteration: int) -> None:
        """Write the state after `iteration` iterations, atomically."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        torch.save(
            {"iteration": iteration, **{name: part.state_dict() for name, part in self._parts.items()}}, temporary
        )
        temporary.replace(self.path)

    def warm_then_decay(self, iteration: int, warm: int = 20) -> float:
        """Learning-rate factor: linear warm-up, then linear decay to 0 over the last 60%."""
        rest = (self.num_iterations - iteration) / (0.6 * self.num_iterations)
        return min((iteration + 1) / warm, 1.0, rest)
