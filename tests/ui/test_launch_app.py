"""The command line of the app: bad usage is one line and exit code 2; what it imports and what it lets out."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from app_process import ROOT, AppProcess


def _launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "launch_app.py"), "--no-browser", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--host", "0.0.0.0"], "--auth"),
        (["--share"], "--auth"),
        (["--host", "0.0.0.0"], "--auth-file"),
        (["--host", "::"], "--auth"),
        (["--host", "192.168.1.2"], "--auth"),
        (["--auth", "nobody"], "USER:PASSWORD"),
        (["--auth-file", "/nowhere"], "/nowhere"),
        (["--port", "70000"], "70000"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments: list[str], word: str, tmp_path: Path) -> None:
    ended = _launch("--runs-dir", str(tmp_path / "runs"), *arguments)
    assert ended.returncode == 2
    assert word in ended.stderr and len(ended.stderr.strip().splitlines()) == 1


def test_a_port_in_use_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = _launch("--runs-dir", str(tmp_path / "runs"), "--port", str(port))
    assert ended.returncode == 2
    assert str(port) in ended.stderr and len(ended.stderr.strip().splitlines()) == 1


def test_a_runs_folder_that_cannot_be_made_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = _launch("--runs-dir", str(tmp_path / "file" / "runs"), "--port", "0")
    assert ended.returncode == 2
    assert "--runs-dir" in ended.stderr and len(ended.stderr.strip().splitlines()) == 1


def test_the_app_imports_nothing_heavy_and_gradio_stays_whole() -> None:
    code = (
        "import inspect, sys; real = inspect.getfile\n"
        "from rewardfl_app.ui import gradio_start; gradio_start.load()\n"
        "import rewardfl_app.ui.app, gradio\n"
        "assert inspect.getfile is real and gradio.HTML and gradio.Blocks\n"
        "heavy = {'torch', 'deepspeed', 'diffusers', 'transformers', 'onnxruntime', 'insightface'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60, env={**os.environ})


def test_the_app_listens_on_this_machine_alone(tmp_path: Path) -> None:
    with AppProcess(tmp_path / "runs") as app:
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line]
        mine = [address for address in listening if int(address.rpartition(":")[2], 16) == app.port]
        assert mine == [f"0100007F:{app.port:04X}"]
        with urllib.request.urlopen(app.address, timeout=10) as page:
            assert "Reward FL" in page.read().decode()
