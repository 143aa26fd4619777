"""`python -m rewardfl_app.bench NAME --folder DIR [--layers N]`: the process that measures, a child of the command
line. DIR holds config.yaml; report.json is written into it, and status.json meanwhile.

Exit code 0: done; 2: bad input, with one line `error: ...` on stderr; 1: anything else.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from rewardfl_app.bench import NAMES
from rewardfl_app.runs.process_end import end_process

if TYPE_CHECKING:
    from rewardfl_app.bench.report import Report

# Two OpenMP threads that spin while they wait collapse when another process runs; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(arguments: list[str] | None = None) -> int:
    """Measures and writes what was found."""
    parser = argparse.ArgumentParser(prog="python -m rewardfl_app.bench", description="Measure the engine.")
    parser.add_argument("name", choices=(*NAMES, "case", "member"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--layers", type=int, help="wan22: layers of the transformer.")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)

    from rewardfl_app.bench.case import CaseFailed
    from rewardfl_app.config.problems import ConfigError
    from rewardfl_app.data.errors import DataError
    from rewardfl_app.models.sources import WeightsError
    from rewardfl_app.rewards.pack import PackError

    try:
        _measure(options.name, options.folder.absolute(), options.layers)
    except (ConfigError, DataError, WeightsError, PackError) as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 2
    except CaseFailed as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 1
    return 0


def _measure(name: str, folder: Path, layers: int | None) -> None:
    from rewardfl_app.bench import team
    from rewardfl_app.config import files
    from rewardfl_app.runs.jsonfile import write_json_atomic

    if name == "member":
        team.serve(folder)
        return
    module = import_module(f"rewardfl_app.bench.{name}")
    if name == "case":
        module.run(folder)
        return

    def progress(message: str, done: int, total: int) -> None:
        write_json_atomic(folder / "status.json", {"message": message, "done": done, "total": total})

    config = files.load(folder / "config.yaml", check_files=False)
    more = {"layers": layers} if name == "wan22" else {}
    report: Report = module.measure(config, progress, **more)
    write_json_atomic(folder / "report.json", report.content())


if __name__ == "__main__":
    end_process(main())
