"""Stands in for the process that renders evaluation videos: copies those of the base model to the step.

    python fake_renderer.py done|wait|crash --run RUN --checkpoint STEP

`wait` stops after the first video until a file `go` is in the run's folder.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path


def main(behaviour: str, run: Path, step: int) -> int:
    """Do as told."""
    if behaviour == "crash":
        raise MemoryError("not enough")
    target = run / "samples" / f"step_{step:06d}"
    for place, folder in enumerate(sorted(path for path in (run / "samples" / "baseline").iterdir() if path.is_dir())):
        while behaviour == "wait" and place == 1 and not (run / "go").exists():
            time.sleep(0.02)
        shutil.copytree(folder, target / folder.name)
    (target / "values.json").write_text('{"videos": {}}')
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[3]), int(sys.argv[5])))
