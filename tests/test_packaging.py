"""The package as it is installed: one list of dependencies, and a wheel that works away from the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LISTED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]


@pytest.mark.parametrize("requirement", LISTED)
def test_what_is_installed_is_what_is_listed(requirement: str) -> None:
    name, pinned, version = requirement.partition("==")
    assert pinned, f"{requirement} is not pinned"
    assert metadata.version(name).partition("+")[0] == version


def test_conda_installs_the_same_list() -> None:
    """environment.yml names Python and pip alone; pip takes the project's own list with the extras of the tests."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, named = environment["dependencies"]
    assert python.startswith("python=3.11") and pip == "pip"
    assert named == {"pip": ["-e .[test]"]}
    assert PROJECT["requires-python"] == ">=3.11,<3.12"


def test_every_import_is_of_a_listed_dependency() -> None:
    """A module that only comes along with another package may go with its next version."""
    owners = metadata.packages_distributions()
    listed = {normal(requirement.partition("==")[0]) for requirement in LISTED}
    found: dict[str, str] = {}
    for path in [*(ROOT / "rewardfl_app").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        for name in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            if name not in sys.stdlib_module_names and name != "rewardfl_app":
                found.setdefault(name, path.name)
    strangers = {
        name: file
        for name, file in found.items()
        if name in owners and not listed & {normal(owner) for owner in owners[name]}
    }
    assert not strangers


def test_pip_has_no_complaint() -> None:
    told = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked where nothing of the checkout is."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    kept = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "rewardfl_app", source / "rewardfl_app", ignore=kept)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder / "made", source], check=True, cwd=folder)
    [wheel] = (folder / "made").glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True, cwd=folder)
    return folder / "site"


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the installed package before the checkout's, away from it."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=installed.parent, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_has_every_file_of_the_package(installed: Path) -> None:
    def files(root: Path) -> set[str]:
        paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return {str(path) for path in paths if "__pycache__" not in path.parts}

    assert files(installed / "rewardfl_app") == files(ROOT / "rewardfl_app")
    told = run(installed, "-c", "import rewardfl_app; print(rewardfl_app.__file__)")
    assert told.stdout.startswith(str(installed))
    assert {path.name for path in (installed / "bin").iterdir()} == {"rewardfl", "rewardfl-app"}


def test_the_wheel_trains_on_its_own_models(installed: Path) -> None:
    few = ("train.max_steps=1", "train.save_steps=1", "evaluation.num_samples=1", "evaluation.eval_steps=1")
    told = run(installed, "-m", "rewardfl_app", "train", *(part for each in few for part in ("--set", each)))
    assert told.returncode == 0, told.stderr
    assert "step 1/1" in told.stdout
    [folder] = (installed.parent / "runs").glob("[0-9]*")
    assert list((folder / "checkpoints").iterdir())


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
