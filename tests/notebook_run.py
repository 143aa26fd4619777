"""Notebooks run from top to bottom in a fresh kernel of this Python.

As a program it runs them in full and stores what they show:

    python tests/notebook_run.py notebooks/01_quickstart.ipynb ...

A live widget is stored as its still picture, as it is when all cells have run: what a kernel that is gone cannot move,
no page should ask for.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
VIEW = "application/vnd.jupyter.widget-view+json"

# What each widget that is alive shows beside its live view.
_STILLS = """
import json as _json
from ipywidgets.widgets.widget import _instances as _alive
print(_json.dumps({key: {kind: content for kind, content in (each._repr_mimebundle_() or {}).items()}
                   for key, each in list(_alive.items()) if hasattr(each, "ticker")}))
"""


class ThisPython(KernelSpecManager):
    """Knows one kernel, that of the running Python; nothing has to be installed for it."""

    def find_kernel_specs(self) -> dict[str, str]:
        return {"python3": str(FOLDER)}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def copied(target: Path) -> Path:
    """A copy of the folder of the notebooks, without the runs that were made there."""
    return Path(shutil.copytree(FOLDER, target, ignore=shutil.ignore_patterns("runs", ".*")))


def run(notebook: Path, seconds: int = 600) -> NotebookNode:
    """The notebook with the outputs of all its cells, run in its own folder; the file stays as it is.

    Raises CellExecutionError. seconds: how long a cell may take.
    """
    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    content.cells.append(nbformat.v4.new_code_cell(_STILLS))
    manager = AsyncKernelManager(kernel_spec_manager=ThisPython(), kernel_name="python3")
    client = NotebookClient(
        content,
        km=manager,
        timeout=seconds,
        resources={"metadata": {"path": str(notebook.parent)}},
        record_timing=False,
        store_widget_state=False,
    )
    client.execute()
    said = content.cells.pop().outputs
    stills = json.loads("".join(output.text for output in said if output.output_type == "stream"))
    for cell in content.cells:
        for output in cell.get("outputs", []):
            _settle(output, stills)
    return content


def _settle(output: NotebookNode, stills: dict[str, dict[str, Any]]) -> None:
    view = output.get("data", {}).pop(VIEW, None)
    if view is not None:
        output.data.update({kind: still for kind, still in stills.get(view["model_id"], {}).items() if kind != VIEW})


def pictures(content: NotebookNode) -> list[str]:
    """The kinds of all pictures that its cells show."""
    outputs = [output for cell in content.cells for output in cell.get("outputs", [])]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    return [kind for kind in kinds if kind.startswith("image/") or kind == "application/vnd.plotly.v1+json"]


def main(names: list[str]) -> None:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["REWARDFL_STATE_DIR"] = str(Path(folder) / "state")  # nothing else waits for its devices
            begun = time.monotonic()
            content = run(copied(Path(folder) / "notebooks") / Path(name).name, seconds=3600)
            nbformat.write(content, name)
            sys.stderr.write(f"{name}: {time.monotonic() - begun:.0f} s, {len(pictures(content))} pictures\n")


if __name__ == "__main__":
    main(sys.argv[1:])
