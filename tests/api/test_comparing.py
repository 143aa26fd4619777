"""Before against after in a cell, on samples that are there already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rewardfl_app import Compared, Run, compare
from rewardfl_app.data import video
from rewardfl_app.inference.pairs import CompareError
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.runs.samples import sample_folder, write_faces


def made(path: Path, gain: float) -> Run:
    """A run with two evaluation samples before and after, the second side better by the gain."""
    folder = RunFolder(path)
    path.mkdir(parents=True)
    write_json_atomic(folder.run_info, {"name": f"<b>{path.name}</b>"})
    for step in (0, 4):
        for index, name in enumerate(("a", "b")):
            sample = sample_folder(folder, step, name)
            video.write(sample / "video.mp4", np.full((5, 16, 16, 3), 40 + step, np.uint8), 8)
            values = {"reward": 0.5 + 0.01 * index + gain * step, "judge": 0.6 + gain * step, "motion": 3.0}
            write_faces(sample, {"prompt": name, "seed": 1, "frames": [], "tracks": [], "fps": 8, **values})
    return Run(folder)


def test_film_report_and_what_they_say(tmp_path: Path) -> None:
    run = made(tmp_path / "better", 0.05)
    found = compare(run)
    assert isinstance(found, Compared) and found.film.is_file() and found.page.is_file()
    assert found.film.is_relative_to(run.path / "comparisons")
    change = found.changes["reward"]
    assert change is not None and change["delta"] == pytest.approx(0.2)
    assert found.samples.column("sample") == ["a", "b"] and found.samples[0]["judge before"] == pytest.approx(0.6)
    assert found.values("reward") == (pytest.approx([0.5, 0.51]), pytest.approx([0.7, 0.71]))
    assert found.values("sharpness") == ([], [])
    assert found.verdict in found._repr_html_() and "+0.200" in found._repr_html_()
    elsewhere = compare(run, 4, out=tmp_path / "elsewhere")
    assert elsewhere.film == tmp_path / "elsewhere" / "side_by_side.mp4"


def test_against_another_run(tmp_path: Path) -> None:
    better, worse = made(tmp_path / "better", 0.05), made(tmp_path / "worse", -0.02)
    change = compare(better, against=worse).changes["reward"]
    assert change is not None and change["before"] == pytest.approx(0.505 - 0.08) and change["delta"] > 0.2


def test_a_step_without_samples_is_named(tmp_path: Path) -> None:
    with pytest.raises(CompareError, match="no samples of step 3"):
        compare(made(tmp_path / "run", 0.1), 3)


def test_a_film_in_the_current_folder_is_named_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = compare(made(tmp_path / "run", 0.1), out=tmp_path / "report")
    assert repr(str(tmp_path / "report" / "side_by_side.mp4")) in repr(found)
    monkeypatch.chdir(tmp_path)
    assert "film='report/side_by_side.mp4'" in repr(found)
