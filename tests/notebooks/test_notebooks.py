"""Every notebook runs from top to bottom on the pocket models, and is stored with what a full run showed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
import notebook_run
import pytest
from nbformat import NotebookNode

NOTEBOOKS = sorted(path.name for path in notebook_run.FOLDER.glob("*.ipynb"))


def outputs(content: NotebookNode) -> list[NotebookNode]:
    return [output for cell in content.cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_in_a_fresh_kernel(name: str, notebooks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDFL_NOTEBOOK_STEPS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    content = notebook_run.run(notebooks / name)  # raises with the first cell that fails
    assert [output for output in outputs(content) if output.output_type == "error"] == []
    assert notebook_run.pictures(content)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_stored_as_it_was_run(name: str) -> None:
    path = notebook_run.FOLDER / name
    content = nbformat.read(path, as_version=4)
    nbformat.validate(content)
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run it from top to bottom"
    assert notebook_run.pictures(content), "it shows no picture where no kernel runs"
    assert [output for output in outputs(content) if output.output_type == "error"] == []
    assert not any(notebook_run.VIEW in output.get("data", {}) for output in outputs(content))
    assert path.stat().st_size < 5_000_000
    text = path.read_text(encoding="utf-8")
    for private in (str(Path.home()) + "/", str(notebook_run.FOLDER.parent), tempfile.gettempdir() + "/"):
        assert private not in text, f"a path of the machine that ran it is in it: {private}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_opens_with_a_picture_that_is_there(name: str) -> None:
    first = nbformat.read(notebook_run.FOLDER / name, as_version=4).cells[:3]
    linked = [part.partition(")")[0] for cell in first for part in cell.source.split("](")[1:]]
    kinds = notebook_run.pictures(NotebookNode(cells=first))
    pictures = [link for link in linked if link.endswith((".png", ".jpg", ".gif", ".svg", ".webp"))]
    assert kinds or pictures
    assert all((notebook_run.FOLDER / link).is_file() for link in pictures)
