from __future__ import annotations

import os
from pathlib import Path

import pytest

from rewardfl_app.supervisor.command import PACKAGE_ROOT, package_environment


def test_modules_of_the_folder_one_starts_from_are_found_by_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = package_environment({"PYTHONPATH": os.pathsep.join([".", "", "/elsewhere", "."])})["PYTHONPATH"]
    assert paths.split(os.pathsep) == [str(PACKAGE_ROOT), str(tmp_path), "/elsewhere"]
