"""The command line of the app: bad usage is one line and exit code 2; what it imports and what it lets out."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
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
        (["--auth", "nobody"], "USER:PASSWORD"),
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


def test_the_page_serves_the_runs_folder_alone(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "inside.txt").write_text("inside")
    (tmp_path / "outside.txt").write_text("outside")
    with AppProcess(runs) as app:

        def status(path: Path) -> int:
            address = f"{app.address}/gradio_api/file={urllib.parse.quote(str(path))}"
            try:
                with urllib.request.urlopen(address, timeout=10) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code

        assert status(runs / "inside.txt") == 200
        assert status(tmp_path / "outside.txt") in {403, 404}
        assert status(ROOT / "launch_app.py") in {403, 404}
        with urllib.request.urlopen(app.address, timeout=10) as page:
            assert "Reward FL" in page.read().decode()


def test_with_auth_nothing_is_served_to_strangers(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "inside.txt").write_text("inside")
    with AppProcess(runs, "--auth", "me:secret") as app, pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{app.address}/gradio_api/file={runs / 'inside.txt'}", timeout=10)
    assert refused.value.code == 401
