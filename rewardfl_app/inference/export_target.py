"""Where an export goes: looked at before the work begins, and in place as a whole when it is done."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rewardfl_app.config import schedule
from rewardfl_app.config.schema import Config, Expert
from rewardfl_app.runs import durable
from rewardfl_app.runs.folder import RunError

SUFFIX = ".safetensors"
FACTS = "export.json"  # beside the weights in a folder; a folder with it was made here
CARD = "README.md"


class ExportError(RunError):
    """An export that cannot be made; the message is one sentence."""


class Format(StrEnum):
    """What an export is: the LoRA under the names of a tool, or whole weights under diffusers' or Wan's own."""

    DIFFUSERS = "diffusers"
    COMFYUI = "comfyui"
    MERGED = "merged"
    MERGED_ORIGINAL = "merged-original"

    @property
    def is_lora(self) -> bool:
        return self in (Format.DIFFUSERS, Format.COMFYUI)


@dataclass(frozen=True)
class Target:
    """A file (`path` ends with .safetensors), or a folder."""

    path: Path
    replace: bool

    @property
    def is_file(self) -> bool:
        return self.path.suffix == SUFFIX

    @property
    def facts(self) -> Path:
        """The JSON file beside a single file."""
        return self.path.with_suffix(".json")

    def check(self, config: Config, kind: Format) -> None:
        """Raises ExportError when this run cannot be exported so, or this place cannot be written to."""
        experts: list[Expert] = schedule.trained_experts(config)
        if kind.is_lora and schedule.trains_all_weights(config):
            raise ExportError(
                f"The run trained all weights (lora_base_model is none), so there is no LoRA to write as {kind}: use "
                "--format merged or merged-original."
            )
        if self.is_file and kind == Format.MERGED:
            raise ExportError(f"--format merged writes a folder, but {self.path.name} is a file: name a folder.")
        if self.is_file and len(experts) > 1:
            raise ExportError(
                f"The run trained both experts, which are two files, but {self.path.name} is one: name a folder."
            )
        self._check_free()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path.parent):
                pass
        except OSError as error:
            raise ExportError(
                f"{self.path.parent} cannot be written ({error.strerror}): name another place."
            ) from error

    def check_room(self, num_bytes: int) -> None:
        """Raises ExportError when the disk has not got the room."""
        free = shutil.disk_usage(self.path.parent).free
        if free < num_bytes:
            raise ExportError(
                f"The export needs {num_bytes / 1e9:.2f} GB, but {free / 1e9:.2f} GB are free on the disk of "
                f"{self.path.parent}: free some, or name another place."
            )

    @contextmanager
    def unfinished(self) -> Iterator[Path]:
        """A folder to write into, on the same disk. What is in it gets its place at the end; it goes when that fails.

        For a single file it has the file and its facts, by their names. Raises ExportError for what the disk refuses.
        """
        folder = self.path
        try:
            folder = Path(tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=self.path.parent))
            yield folder
            for file in folder.rglob("*"):
                if file.is_file():
                    durable.flush(file)
            self._check_free()  # somebody may have come first
            self._put_in_place(folder)
        except OSError as error:
            raise ExportError(f"{self.path} cannot be written ({error.strerror or error}).") from error
        finally:
            if folder != self.path:
                shutil.rmtree(folder, ignore_errors=True)

    def _put_in_place(self, folder: Path) -> None:
        if self.is_file:
            for path in (self.facts, self.path):
                os.replace(folder / path.name, path)
            durable.flush(self.path.parent)
            return
        os.chmod(folder, 0o777 & ~_umask())  # it was made for its owner alone
        aside = folder.with_name(f"{folder.name}-replaced")
        if self.path.exists():
            os.rename(self.path, aside)
        durable.rename(folder, self.path)
        shutil.rmtree(aside, ignore_errors=True)

    def _check_free(self) -> None:
        taken = [path for path in ((self.path, self.facts) if self.is_file else (self.path,)) if os.path.lexists(path)]
        if not taken:
            return
        if self.is_file:
            if (other := next((path for path in taken if not path.is_file()), None)) is not None:
                raise ExportError(f"{other} is no file, so nothing can be written there: name another place.")
        elif not self.path.is_dir():
            raise ExportError(f"{self.path} is a file: name a folder, or a file that ends with {SUFFIX}.")
        elif not any(self.path.iterdir()):
            return
        elif not (self.path / FACTS).is_file():
            raise ExportError(f"{self.path} has other things in it, and is not replaced: name another folder.")
        if not self.replace:
            raise ExportError(f"{taken[0]} is there already: name another place, or give --force to replace it.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
