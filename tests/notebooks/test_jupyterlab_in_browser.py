"""The quickstart as a person uses it: in a real JupyterLab, in a real browser. The trainer is the stand-in."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_runs
import pytest
from fake_runs import eventually

from rewardfl_app import find

# Minutes on two cores: run by hand, with REWARDFL_JUPYTERLAB=1.
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif("REWARDFL_JUPYTERLAB" not in os.environ, reason="set REWARDFL_JUPYTERLAB=1 to run JupyterLab"),
]

# The last step of the loss in the newest figure; -1 while there is none.
_LAST = """() => {
    const plot = [...document.querySelectorAll(".js-plotly-plot")].pop();
    const trace = plot && plot.data && plot.data.find(each => each.name === "loss");
    return trace && trace.x.length ? trace.x[trace.x.length - 1] : -1;
}"""
_RANGE = "() => document.querySelector('.js-plotly-plot').layout.xaxis3.range.map(Number)"


class Lab:
    """A JupyterLab over a folder, on a port and with a token of its own, and with none of the person's settings."""

    def __init__(self, folder: Path, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.token = secrets.token_hex(16)
        places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
                  "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")  # fmt: skip
        own = {name: str(home / name.lower()) for name in places}
        environment = {**os.environ, **own, **fake_runs.trainer_environment("slow"), "JUPYTER_TOKEN": self.token}
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}",
            "--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.extension_manager=readonly", "--allow-root",
        ]  # fmt: skip
        news = (
            home / "jupyterlab_settings_dir" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        )
        news.parent.mkdir(parents=True)
        news.write_text('{"fetchNews": "false", "checkForUpdates": false}')
        self.log = home / "lab.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)

    def wait(self) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            with socket.socket() as tried:
                return tried.connect_ex(("127.0.0.1", self.port)) == 0

        eventually(answers)

    def address(self, notebook: str) -> str:
        return f"http://127.0.0.1:{self.port}/lab/tree/{notebook}?token={self.token}"


@pytest.fixture
def lab(notebooks: Path, tmp_path: Path) -> Iterator[Lab]:
    started = Lab(notebooks, tmp_path / "home")
    try:
        started.wait()
        yield started
    finally:
        started.process.terminate()
        started.process.wait(60)


class Notebook:
    """A notebook that is open in the page."""

    def __init__(self, page: Any) -> None:
        self.page = page
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        self._until_idle()

    def _until_idle(self) -> None:
        self.page.locator("#jp-bottom-panel, #jp-main-statusbar").get_by_text("| Idle").wait_for()

    def cell(self, text: str) -> Any:
        """The code cell that holds this text."""
        return self.page.locator(".jp-CodeCell", has=self.page.locator(".jp-InputArea", has_text=text)).first

    def run(self, text: str) -> Any:
        """Run the cell that holds this text, which was not run yet, and wait until it is done; returns it."""
        cell = self.cell(text)
        cell.locator(".jp-InputArea-editor").click()
        self.page.keyboard.press("Control+Enter")
        self._prompt(cell, r"\[\d+\]").wait_for(timeout=120_000)
        return cell

    def clear(self) -> None:
        """Forget what was stored with it."""
        self._choose("Edit", "Clear Outputs of All Cells")
        self._until_fresh()

    def restart(self) -> None:
        """Restart the kernel, and wait until the new one is there."""
        self._choose("Kernel", "Restart Kernel and Clear Outputs of All Cells…")
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self._until_fresh()
        self._until_idle()

    def _choose(self, menu: str, item: str) -> None:
        self.page.get_by_role("menuitem", name=menu, exact=True).click()
        self.page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{item}$")).click()

    def _prompt(self, cell: Any, words: str) -> Any:
        return cell.locator(".jp-InputArea-prompt", has_text=re.compile(words))

    def _until_fresh(self) -> None:
        self._prompt(self.cell("import os"), r"\[ \]").wait_for()


def test_the_widgets_move_and_a_new_kernel_finds_the_run_again(
    lab: Lab, notebooks: Path, page: Any, tmp_path: Path
) -> None:
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url))
    page.goto(lab.address("01_quickstart.ipynb"))
    notebook = Notebook(page)
    notebook.clear()
    for text in ("import os", "start("):
        controls = notebook.run(text)
    run = find("quickstart", notebooks / "runs")
    controls.get_by_text("training", exact=True).wait_for()
    controls.get_by_role("button", name="Save now").click()
    controls.get_by_text("done", exact=True).wait_for()

    watched = notebook.run("watch(run)")
    watched.scroll_into_view_if_needed()
    _until_beyond(page, 3)
    _zoom(page)
    kept = page.evaluate(_RANGE)
    seen = page.evaluate(_LAST)
    _until_beyond(page, seen + 20)
    assert page.evaluate(_RANGE) == kept
    notebook.run("gallery(run)").get_by_text("untrained model").wait_for()
    if shots := os.environ.get("REWARDFL_SCREENSHOTS"):
        watched.scroll_into_view_if_needed()
        page.screenshot(path=f"{shots}/jupyterlab.png")

    notebook.restart()
    assert run.state.state == "training"
    found = notebook.run('find("quickstart")')
    found.scroll_into_view_if_needed()
    found.get_by_text("training", exact=True).wait_for()
    _until_beyond(page, seen)
    before = page.evaluate(_LAST)
    _until_beyond(page, before)
    if shots:
        page.screenshot(path=f"{shots}/found_again.png")
    assert [url for url in outside if not url.startswith((f"http://127.0.0.1:{lab.port}/", "data:", "blob:"))] == []


def _until_beyond(page: Any, step: int) -> None:
    """Until the newest figure shows a later step."""
    page.wait_for_function(f"step => ({_LAST})() > step", arg=step, polling=200)


def _zoom(page: Any) -> None:
    """Drag over a part of the loss, as one does to see it larger."""
    box = page.locator(".js-plotly-plot .nsewdrag[data-subplot=x3y3]").bounding_box()
    across = [box["x"] + share * box["width"] for share in (0.2, 0.7)]
    middle = box["y"] + box["height"] / 2
    page.mouse.move(across[0], middle)
    page.mouse.down()
    page.mouse.move(across[1], middle, steps=8)
    page.mouse.up()
