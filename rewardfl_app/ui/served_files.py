"""Which files of the runs folder the browser may fetch: those that the pages show or offer, by name, and no others.

Settings, process records, requests, locks and caches are read by the app, never by the browser. What is not listed here
is refused, whoever asks for it.
"""

from __future__ import annotations

import re
from pathlib import Path

_SCORED = r"(video\.mp4|faces\.json|crops\.jpg|heat\.mp4|heat\.json)"
# Of the LoRAs alone: whole weights are tens of gigabytes, which stay where they are.
_EXPORTED = r"step_\d+_(diffusers|comfyui)/((transformer(_2)?|(high|low)_noise)\.safetensors|README\.md|export\.json)"
_NAME = r"[^/.][^/]*"  # no hidden file or folder
_SERVED = re.compile(
    "|".join(
        (
            rf"{_NAME}/train\.log",
            rf"{_NAME}/samples/{_NAME}/{_NAME}/{_SCORED}",
            rf"{_NAME}/checkpoints/step_\d+/(high|low)_noise\.safetensors",
            rf"{_NAME}/comparisons/passport(_step_\d+)?\.html",
            rf"{_NAME}/comparisons/{_NAME}/(side_by_side\.mp4|report\.html|report\.json)",
            rf"{_NAME}/exports/{_EXPORTED}",
            rf"\.faces/{_NAME}/(reference/)?{_SCORED}",
            rf"\.preview/results/{_NAME}/(picture\.png|side_by_side\.mp4|(base|tuned)/(video\.mp4|faces\.json))",
        )
    )
)


def find(asked: str, runs_dir: Path) -> Path | None:
    """The file behind an absolute path, if the browser may have it; links are followed, and judged by where they lead.

    Args:
        runs_dir: the runs folder, itself without links in its path.
    """
    if not asked.startswith("/") or "\0" in asked:
        return None
    try:
        real = Path(asked).resolve(strict=True)
        place = real.relative_to(runs_dir)
    except (OSError, ValueError, RuntimeError):  # RuntimeError: links in a circle
        return None
    return real if _SERVED.fullmatch(place.as_posix()) and real.is_file() else None
