"""Other programs are started by argument lists, never through a shell, and no text is ever run as code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = [ROOT / "launch_app.py", *sorted((ROOT / "rewardfl_app").rglob("*.py"))]
RUNNERS = {"run", "Popen", "call", "check_call", "check_output"}
SHELLS = {
    "os": ("system", "popen", "spawn", "exec"),
    "subprocess": ("getoutput", "getstatusoutput"),
    "asyncio": ("create_subprocess_shell",),
    "commands": ("getoutput",),
    "pty": ("spawn",),
}
RUN_AS_CODE = {"eval", "exec", "compile", "execfile"}
# What may hold an argument list: the functions of `supervisor.command` and its callers say so by their annotation.
LISTS = ("list[str]", "Sequence[str]")


def test_the_files_are_found() -> None:
    assert len(FILES) > 150
    assert any(_starts(ast.parse(path.read_text(encoding="utf-8"))) for path in FILES)


def _name(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _starts(tree: ast.AST) -> list[ast.Call]:
    """Calls of subprocess that start a program."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if _name(call.func) in {f"subprocess.{runner}" for runner in RUNNERS}]


def _annotations(tree: ast.AST) -> dict[str, str]:
    """Annotation of every parameter and variable of a file, and of what its functions return."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            found[node.arg] = ast.unparse(node.annotation)
        elif isinstance(node, ast.AnnAssign):
            found[_name(node.target)] = ast.unparse(node.annotation)
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            found[f"{node.name}()"] = ast.unparse(node.returns)
    return found


COMMANDS = _annotations(ast.parse((ROOT / "rewardfl_app/supervisor/command.py").read_text(encoding="utf-8")))


def _is_list(node: ast.expr, tree: ast.AST) -> bool:
    """Whether an expression is an argument list, as it is written or as its annotation says."""
    known = {**COMMANDS, **_annotations(tree)}
    if isinstance(node, ast.List):
        return True
    if isinstance(node, ast.IfExp):
        return _is_list(node.body, tree) and _is_list(node.orelse, tree)
    if isinstance(node, ast.Call):
        name = _name(node.func).rpartition(".")[2]
        return name == "list" or known.get(f"{name}()", "") in LISTS
    name = _name(node)
    if known.get(name, "") in LISTS:
        return True
    assigned = [
        one.value
        for one in ast.walk(tree)
        if isinstance(one, ast.Assign) and any(_name(target) == name for target in one.targets)
    ]
    return bool(name and assigned) and all(_is_list(value, tree) for value in assigned)


def _faults(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _name(node.func)
            module, _, function = name.rpartition(".")
            if any(function.startswith(one) for one in SHELLS.get(module, ())):
                yield f"line {node.lineno}: {name}"
            if name in RUN_AS_CODE or name.removeprefix("builtins.") in RUN_AS_CODE:
                yield f"line {node.lineno}: {name} runs text as code"
            for keyword in node.keywords:
                shell = keyword.arg == "shell"
                if shell and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False):
                    yield f"line {node.lineno}: shell={ast.unparse(keyword.value)}"
        elif isinstance(node, ast.ImportFrom) and node.module in SHELLS:
            wrong = [alias.name for alias in node.names if alias.name.startswith(SHELLS[node.module])]
            wrong += [alias.name for alias in node.names if node.module == "subprocess" and alias.name in RUNNERS]
            if wrong:
                yield f"line {node.lineno}: {', '.join(wrong)} by its bare name, where this test does not see it"
    for call in _starts(tree):
        if not call.args or not _is_list(call.args[0], tree):
            yield f"line {call.lineno}: {ast.unparse(call)[:80]} is not told its arguments as a list"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_programs_are_started_by_argument_lists(path: Path) -> None:
    assert list(_faults(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.system('ls')",
        "import os; os.popen(x)",
        "import os; os.execv(x, y)",
        "import subprocess; subprocess.run('ls')",
        "import subprocess; subprocess.run(f'ls {x}', shell=True)",
        "import subprocess; subprocess.run(['ls'], shell=flag)",
        "import subprocess; subprocess.getoutput('ls')",
        "import subprocess\ndef start(command: str): subprocess.Popen(command)",
        "import subprocess\ncommand = 'ls ' + name\nsubprocess.check_output(command)",
        "from subprocess import Popen",
        "eval(text)",
        "exec(text)",
    ],
)
def test_what_is_forbidden_is_seen(code: str) -> None:
    assert list(_faults(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "import subprocess; subprocess.run(['ls', name])",
        "import subprocess\ndef start(command: list[str]): subprocess.Popen(command)",
        "import subprocess\ncommand = ['ls', name]\nsubprocess.run(command, shell=False)",
        "import subprocess\ndef start(command: Sequence[str]): subprocess.Popen(list(command))",
        "import re; re.compile(text)",
        "module.eval()",
    ],
)
def test_what_is_allowed_is_let_through(code: str) -> None:
    assert not list(_faults(ast.parse(code)))
