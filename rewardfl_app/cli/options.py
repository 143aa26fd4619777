"""Arguments that several commands share, and how they become a configuration or a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rewardfl_app.config import files, presets, validation
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.config.schema import Config

DEFAULT_RUNS_DIR = Path("runs")
DEFAULT_PRESET = "pocket"

ConfigFile = Annotated[
    Path | None, typer.Argument(metavar="[CONFIG.yaml]", help="Configuration file.", show_default=False)
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset", help="Start from a named configuration instead of a file [default: pocket].", show_default=False
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="SECTION.FIELD=VALUE", help="Change one setting; may be repeated.", show_default=False
    ),
]
RunsDir = Annotated[Path, typer.Option("--runs-dir", help="Folder that holds the runs.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or its folder.", show_default=False)]
FacePack = Annotated[
    str,
    typer.Option(
        "--reward-model-path",
        metavar="DIR|pocket",
        help="Folder with the ONNX files of a face pack, or the embedded one.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def build_config(config: Path | None, preset: str | None, overrides: list[str] | None) -> Config:
    """The configuration of a file or a preset with the changes of `--set`. Raises ConfigError with every problem."""
    return validation.build(read_mapping(config, preset, overrides))


def read_mapping(config: Path | None, preset: str | None, overrides: list[str] | None) -> dict[str, Any]:
    """The same as it is written, unchecked. Raises ConfigError where it cannot be read."""
    if config is not None and preset is not None:
        raise ConfigError([Problem("", "A configuration file and --preset were both given: give one of them.")])
    mapping = files.read(config) if config is not None else files.to_mapping(presets.preset(preset or DEFAULT_PRESET))
    return files.override(mapping, overrides or [])
