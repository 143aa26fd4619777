"""Stands in for the process that looks for faces: keeps to the same files, finds one face in every clip.

    python fake_checker.py done|wait|crash|refuse --request FILE

`wait` stops after two rows until a file `go` is in the folder of the request, WAIT_SECONDS at most.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rewardfl_app.data import manifest  # noqa: E402 - found through the line above
from rewardfl_app.data.findings import Findings, RowReport  # noqa: E402
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic  # noqa: E402

WAIT_SECONDS = 120.0  # a test that fails leaves nothing behind for long


def main(behaviour: str, request_path: Path) -> int:
    """Do as told."""
    request = read_json(request_path) or {}
    out = Path(request["out"])
    if behaviour == "crash":
        raise MemoryError("not enough")
    if behaviour == "refuse":
        sys.stderr.write("error: The face pack is damaged.\n")
        return 2
    findings = Findings(Path(request["findings"]))
    rows, _ = manifest.read_usable(Path(request["metadata"]))
    for done, row in enumerate(rows, start=1):
        if findings.find(row) is None:
            with open(out.parent / "looked", "a") as looked:
                looked.write(f"{row.video.name}\n")
            report = RowReport(row.index, str(row.video), 64, 64, 8.0, 17, 30.0, 0.9, 1, 1.0, 9, [[0.2, 0.2, 0.7, 0.8]])
            findings.keep(row, report, [])
        write_json_atomic(out / "status.json", _status("working", done, len(rows)))
        end = time.monotonic() + WAIT_SECONDS
        while behaviour == "wait" and done == 2 and not (out / "go").exists() and time.monotonic() < end:
            time.sleep(0.02)
    write_json_atomic(out / "status.json", _status("done", len(rows), len(rows)))
    return 0


def _status(state: str, done: int, total: int) -> dict[str, object]:
    return {"state": state, "done": done, "total": total, "message": "Checking rows"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[3])))
