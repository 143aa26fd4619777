"""Imports Gradio in about half of its usual time.

At import Gradio parses the source of each of its 80 components to rewrite the `.pyi` stubs that editors read, in its
own installation folder. That is 2.5 of 4.3 seconds on a laptop core and serves no running app. Gradio skips it for
classes whose file `inspect` cannot name (components defined in a notebook); `load` gives it that answer for its own
classes while they are being defined, and nothing outlives the import.
"""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any


def load() -> None:
    """Import gradio without its stub writer and with telemetry off; does nothing when gradio is imported already."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if "gradio" in sys.modules:
        return
    original = inspect.getfile

    def getfile(thing: Any) -> str:
        if inspect.isclass(thing) and thing.__module__.split(".")[0] == "gradio":
            raise OSError("the stub of this class is not needed")
        return original(thing)

    inspect.getfile = getfile  # type: ignore[assignment]
    try:
        import gradio  # noqa: F401
    finally:
        inspect.getfile = original
