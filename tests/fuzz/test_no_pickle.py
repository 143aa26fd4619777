"""The package has no way to run what a file says: no unpickling, no eval, no YAML that builds objects."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "rewardfl_app"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Modules that run what they read, and functions that do so wherever they come from.
RUNNING_MODULES = frozenset(
    {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "runpy"}
)
RUNNING_FUNCTIONS = frozenset({"eval", "exec", "compile", "__import__", "execfile"})
UNSAFE_YAML = frozenset({"unsafe_load", "full_load", "load", "load_all", "unsafe_load_all", "full_load_all"})
UNSAFE_LOADERS = frozenset({"Loader", "FullLoader", "UnsafeLoader", "CLoader", "CFullLoader", "CUnsafeLoader"})
# Functions of libraries that unpickle unless they are told not to: the argument, and what it has to be.
GUARDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}


def findings(tree: ast.AST) -> Iterator[str]:
    """What in a module could run the content of a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {a.name}" for a in node.names if a.name.partition(".")[0] in RUNNING_MODULES)
        elif isinstance(node, ast.ImportFrom):
            if not node.level and (node.module or "").partition(".")[0] in RUNNING_MODULES:
                yield f"from {node.module}"
            yield from (f"from {node.module} import {a.name}" for a in node.names if _hides(node.module, a.name))
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "yaml" and node.attr in UNSAFE_LOADERS:
            yield f"yaml.{node.attr}"
        elif isinstance(node, ast.Call):
            yield from _call(node)


def _hides(module: str | None, name: str) -> bool:
    """Whether a guarded function comes in under a name of its own, where this test would not see its calls."""
    return f"{module}.{name}" in ("torch.load", "numpy.load", "torch.jit") or (module == "yaml" and name in UNSAFE_YAML)


def _call(node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func)
    given = {word.arg: word.value for word in node.keywords}
    if (
        called in RUNNING_FUNCTIONS
        or called.startswith("yaml.")
        and called.removeprefix("yaml.") in UNSAFE_YAML
        or called in ("torch.jit.load", "torch.hub.load", "torch.package.PackageImporter", "pandas.read_pickle")
    ):
        yield called
    elif called in GUARDED:
        word, needed = GUARDED[called]
        value = given.get(word)
        if not isinstance(value, ast.Constant) or value.value is not needed:
            yield f"{called} without {word}={needed}"
    elif called.endswith(".from_pretrained"):
        trusts = given.get("trust_remote_code")
        if isinstance(trusts, ast.Constant) and trusts.value:
            yield f"{called} with trust_remote_code"
        if re.match(r"Auto[A-Z]", called) and not isinstance(trusts, ast.Constant):
            yield f"{called} without trust_remote_code=False"


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_nothing_runs_what_a_file_says(path: Path) -> None:
    assert list(findings(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import dill.source",
        "from joblib import load",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=trusted)",
        "from torch import load",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "import yaml\nclass Own(yaml.UnsafeLoader): pass",
        "from yaml import unsafe_load",
        "eval(text)",
        "exec(text)",
        "AutoTokenizer.from_pretrained(name)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_the_check_finds_what_it_is_for(source: str) -> None:
    assert list(findings(ast.parse(source)))
