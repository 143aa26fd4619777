"""The shape of the package: who may import whom, and what the page's process must never load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "rewardfl_app"

# Bottom up. A module imports from layers below its own and from its own package, never from a sibling.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("config",),
    ("runs",),
    ("models", "rewards", "data", "downloads", "planning"),
    ("rendering",),
    ("training", "inference", "pocket"),
    ("bench",),
    ("supervisor",),
    ("api",),
    ("ui", "notebook", "cli"),
    ("__main__",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

HEAVY = ("torch", "deepspeed", "diffusers", "transformers", "peft", "onnxruntime", "insightface", "onnx")
LIGHT = (
    "config",
    "runs",
    "supervisor",
    "api",
    "notebook",
    "ui",
    "cli",
    "data.errors",
    "data.findings",
    "data.image",
    "data.inspection",
    "data.manifest",
    "data.video",
    "downloads",
    "inference.compare",
    "inference.export_target",
    "inference.pairs",
    "inference.passport",
    "inference.passport_charts",
    "inference.passport_facts",
    "inference.passport_page",
    "inference.report_charts",
    "inference.report_page",
    "inference.side_by_side",
    "planning",
    "pocket.renderer",
    "pocket.portrait",
    "pocket.pocket_data",
    "pocket.paths",
)


def modules() -> list[str]:
    """Every module of the package without its first name: config.schema, runs (a package's __init__), cli ..."""
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in names if name]


def source_of(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def is_light(module: str) -> bool:
    return any(module == name or module.startswith(name + ".") for name in LIGHT)


def imports(nodes: list[ast.stmt], module: str) -> Iterator[str]:
    """Absolute names of what these statements import, looking into every block below them."""
    package = ["rewardfl_app", *module.split(".")]
    if source_of(module).name != "__init__.py":
        package.pop()
    for statement in nodes:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
                origin = ".".join(part for part in (base, node.module or "") if part)
                yield from (f"{origin}.{alias.name}" for alias in node.names)


def runs_on_import(nodes: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The import statements that run when the module is imported: not in functions, not for type checkers only."""
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If):
            checking = ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
            yield from runs_on_import([*([] if checking else node.body), *node.orelse])
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            yield from runs_on_import([*node.body, *handlers, *node.orelse, *node.finalbody])
        elif isinstance(node, ast.With | ast.ClassDef):
            yield from runs_on_import(node.body)


@pytest.mark.parametrize("module", modules())
def test_imports_only_from_lower_layers(module: str) -> None:
    top = module.partition(".")[0]
    assert top in LEVEL, f"rewardfl_app/{top} has no place in the layers; give it one here and in the design"
    tree = ast.parse(source_of(module).read_text(encoding="utf-8"))
    for name in imports(tree.body, module):
        parts = name.split(".")
        if parts[0] != "rewardfl_app" or len(parts) < 2 or parts[1] in (top, "__version__"):
            continue
        assert parts[1] in LEVEL, f"{module} imports {name}, which has no place in the layers"
        assert LEVEL[parts[1]] < LEVEL[top], f"{module} ({top}) must not import {name} ({parts[1]})"


@pytest.mark.parametrize("module", [module for module in modules() if is_light(module)])
def test_light_modules_import_nothing_heavy(module: str) -> None:
    tree = ast.parse(source_of(module).read_text(encoding="utf-8"))
    found = {name.partition(".")[0] for name in imports(list(runs_on_import(tree.body)), module)}
    assert not found & set(HEAVY), f"{module} imports {sorted(found & set(HEAVY))} when it is loaded"


def test_the_processes_of_the_page_never_load_torch() -> None:
    """Import every light module in a fresh interpreter, and so all that they pull in, and look at what came along."""
    light = [f"rewardfl_app.{module}" for module in modules() if is_light(module) and "__main__" not in module]
    program = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = sorted(set({HEAVY!r}) & set(sys.modules))\n"
        "    assert not loaded, f'{name} loads {loaded}'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
