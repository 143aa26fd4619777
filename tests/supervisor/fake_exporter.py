"""Stands in for the process that exports: keeps to the same files, and puts its folder in place as a whole.

    python fake_exporter.py done|wait|crash|refuse --request FILE

`wait` stops with half of it written until a file `go` is in the run's folder, WAIT_SECONDS at most.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rewardfl_app.runs.jsonfile import read_json, write_json_atomic  # noqa: E402 - found through the line above

WAIT_SECONDS = 120.0  # a test that fails leaves nothing behind for long


def main(behaviour: str, request_path: Path) -> int:
    """Do as told."""
    request = read_json(request_path) or {}
    out = Path(request["out"])
    if behaviour == "crash":
        raise MemoryError("not enough")
    if behaviour == "refuse":
        sys.stderr.write("error: The export needs 28.60 GB, but 1.00 GB are free on the disk.\n")
        return 2
    written = out.with_name(f".{out.name}-abcd")
    written.mkdir()
    (written / "transformer_2.safetensors").write_bytes(b"LoRA of step " + request["checkpoint"].encode())
    working = {"state": "working", "done": 3, "total": 10, "message": "Writing the weights"}
    write_json_atomic(Path(request["status"]), working)
    end = time.monotonic() + WAIT_SECONDS
    while behaviour == "wait" and not (Path(request["run"]) / "go").exists() and time.monotonic() < end:
        time.sleep(0.02)
    (written / "README.md").write_text("# How to load it\n")
    write_json_atomic(written / "export.json", {"files": {}})
    written.rename(out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[3])))
