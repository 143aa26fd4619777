"""Files that commands write: whether they can be, before the work begins."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rewardfl_app.config.problems import ConfigError, Problem


def writable(option: str, path: Path, suffix: str = "") -> Path:
    """The absolute path, its folder made. Raises ConfigError naming the option when it cannot be written."""
    target = path.expanduser().absolute()
    if suffix and target.suffix.lower() != suffix:
        raise ConfigError([Problem(option, f"{target.name} must end with {suffix}.")])
    if target.is_dir():
        raise ConfigError([Problem(option, f"{target} is a folder: name a file.")])
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            return target
    except OSError as error:
        raise ConfigError([Problem(option, f"{target.parent} cannot be written ({error.strerror}).")]) from error
