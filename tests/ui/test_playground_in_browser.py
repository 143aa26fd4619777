"""The Playground as a person uses it, in a real browser: once for real on the embedded models, else with a stand-in for
the worker."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from app_process import AppProcess
from page_run import FakeRun
from PIL import Image
from waiting import until

from rewardfl_app.config import files, presets
from rewardfl_app.data import video
from rewardfl_app.runs import checkpoints, previews
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.previews import PreviewFolder
from rewardfl_app.supervisor import freeze, preview

pytestmark = pytest.mark.browser

FAKE = Path(__file__).parents[1] / "supervisor" / "fake_previewer.py"
INJECTION = '<img src=x onerror="window.hacked=1"> ${1+1} {{this}}'
SERIOUS = {"serious", "critical"}


@pytest.fixture(autouse=True)
def ends_workers(runs_dir: Path) -> Iterator[None]:
    """Whatever happens, no worker is left behind."""
    yield
    preview.give_back(runs_dir, wait=5.0)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a stand-in in the worker's place for the app that is started next."""
    return lambda behaviour: monkeypatch.setenv(
        preview.WORKER_VARIABLE, shlex.join([sys.executable, str(FAKE), behaviour])
    )


def _open(watched: Any, app: AppProcess, address: str = "#playground") -> Any:
    page = watched.open(f"{app.address}/{address}")
    page.locator(".pg-form").wait_for()
    page.locator("#pg-checkpoint option").first.wait_for(state="attached")
    page.locator(".pg-thumbs button").first.wait_for()
    return page


def _trained(runs_dir: Path, name: str = "mine") -> FakeRun:
    run = FakeRun(runs_dir, name)
    run.checkpoint(10)
    run.checkpoint(20)
    run.finish()
    return run


def _shown(page: Any) -> str:
    return page.evaluate("window.RFL && RFL.here ? RFL.here().params.result || '' : ''")


def _axe(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = []
    for scheme in ("light", "dark"):
        page.evaluate("scheme => document.body.classList.toggle('dark', scheme === 'dark')", scheme)
        page.wait_for_timeout(300)
        for violation in Axe().run(page).response["violations"]:
            if violation["impact"] in SERIOUS:
                places = [f"{node['target']} {node['failureSummary']}" for node in violation["nodes"][:3]]
                found.append(f"{scheme}: {violation['id']}: {places}")
    return found


@pytest.fixture
def real_run(runs_dir: Path) -> RunFolder:
    """A run on the embedded models with a checkpoint, as if it had been trained: its LoRA changes the picture."""
    import torch

    from rewardfl_app.models import adaptation, lora, wan

    run = RunFolder.create(runs_dir, "really trained")
    config = freeze.with_embedded_models(freeze.with_embedded_scorers(presets.preset("pocket")), run)
    files.dump(freeze.with_embedded_data(config, runs_dir), run.config)
    expert = wan.load(config.model).experts["low_noise"]
    lora.add(expert, config.lora.lora_target_modules, config.lora.lora_rank, config.lora.lora_alpha, seed=0)
    with torch.no_grad():
        for parameter in lora.trainable_parameters(expert):
            parameter.normal_(std=0.02, generator=torch.Generator().manual_seed(1))
    folder = checkpoints.begin(run, 12)
    lora.save(expert, adaptation.checkpoint_file(folder, "low_noise"))
    checkpoints.commit(run, 12, folder)
    FakeRun.finish(_Folder(run))  # type: ignore[arg-type]
    return run


class _Folder:
    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder


def test_a_picture_and_a_prompt_become_base_and_tuned(real_run: RunFolder, watched: Any, runs_dir: Path) -> None:
    with AppProcess(runs_dir) as app:
        page = _open(watched, app)
        assert page.locator("#pg-checkpoint").input_value() == "12"
        page.locator(".pg-thumbs button").nth(2).click()
        page.locator("#pg-prompt").fill("a person smiles and nods")
        page.locator("#pg-seed").fill("5")
        page.locator(".pg-go").click()
        page.locator(".pg-wait h3").wait_for()
        page.locator(".pg-about").wait_for(timeout=600_000)
        captions = page.locator(".pg-player figcaption").all_inner_texts()
        assert "Base model" in captions[0] and "Trained 12 steps" in captions[1]
        until(
            page,
            lambda: page.evaluate(
                "[...document.querySelectorAll('.pg-player video')].slice(0, 2).every(v => v.videoWidth === 64)"
            ),
        )
        row = page.locator(".pg-scores tbody tr").first.inner_text().split("\t")
        assert row[0] == "Similarity to the picture" and all(0 < float(value) <= 1 for value in row[1:3])
        found = previews.find(PreviewFolder.of(runs_dir), _shown(page))
        assert found is not None and found.request.prompt == "a person smiles and nods" and found.request.seed == 5
        base, tuned = video.read(found.video("base")), video.read(found.video("tuned"))
        assert base.shape == tuned.shape == (17, 64, 64, 3) and (base != tuned).any()
        with page.expect_download() as download:
            page.locator(".pg-loads a", has_text="both").click()
        info = video.probe(Path(download.value.path()))
        assert info.num_frames == 17 and download.value.suggested_filename == "seed-5-side-by-side.mp4"

        # The model is in memory now: another seed needs no new process.
        pid = (read_json(PreviewFolder.of(runs_dir).process) or {})["pid"]
        page.get_by_role("button", name="Another seed").last.click()
        until(page, lambda: _shown(page) != found.id)
        page.locator(".pg-about").wait_for(timeout=600_000)
        assert (read_json(PreviewFolder.of(runs_dir).process) or {})["pid"] == pid
        page.locator(".pg-free").click()
        until(page, lambda: page.locator(".pg-worker .pill").inner_text() == "No model loaded")


def test_what_is_wrong_is_said_beside_its_field(worker: Callable, watched: Any, runs_dir: Path, tmp_path: Path) -> None:
    worker("done")
    _trained(runs_dir)
    with AppProcess(runs_dir) as app:
        page = _open(watched, app)
        page.locator("#pg-prompt").fill("")
        page.locator("#pg-seed").fill("many")
        page.locator(".pg-go").click()
        page.locator("[data-error=prompt]:visible").wait_for()
        assert page.locator("[data-error=prompt]").inner_text() == "Say what happens in the video."
        assert "whole number" in page.locator("[data-error=seed]").inner_text()
        assert page.evaluate("document.activeElement.id") == "pg-prompt"
        (tmp_path / "notes.txt").write_text("x")
        page.locator(".pg-form input[type=file]").set_input_files(tmp_path / "notes.txt")
        assert "notes.txt is not one of" in page.locator("[data-error=picture]").inner_text()
        (tmp_path / "broken.png").write_bytes(b"no picture")
        page.locator(".pg-form input[type=file]").set_input_files(tmp_path / "broken.png")
        until(page, lambda: "cannot be read" in page.locator("[data-error=picture]").inner_text())
        page.locator("#pg-seed").fill("3")
        assert page.locator("[data-error=seed]").is_hidden()
        assert preview.jobs(runs_dir) == []


def test_a_picture_of_ones_own_stays_over_a_refresh_and_a_faceless_one_is_a_warning(
    worker: Callable, watched: Any, runs_dir: Path, tmp_path: Path
) -> None:
    worker("faceless")
    _trained(runs_dir)
    name = "me <b> & you.png"
    Image.new("RGB", (120, 90), (40, 160, 90)).save(tmp_path / name)
    with AppProcess(runs_dir) as app:
        page = _open(watched, app)
        page.locator("#pg-prompt").fill(INJECTION)
        page.locator("#pg-checkpoint").select_option("10")
        page.locator("#pg-seed").fill("77")
        page.locator("#pg-strength").focus()
        page.keyboard.press("ArrowRight")
        page.locator(".pg-form input[type=file]").set_input_files(tmp_path / name)
        until(page, lambda: page.locator(".pg-title").inner_text() == name)
        page.reload()
        until(page, lambda: page.locator(".pg-title").inner_text() == "Your picture")
        values = {key: page.locator(f"#pg-{key}").input_value() for key in ("prompt", "checkpoint", "seed", "strength")}
        assert values == {"prompt": INJECTION, "checkpoint": "10", "seed": "77", "strength": "1.05"}
        other = page.context.new_page()  # a new tab starts from the last one
        other.goto(f"{app.address}/#playground")
        other.locator("#pg-checkpoint option").first.wait_for(state="attached")
        assert other.locator("#pg-prompt").input_value() == INJECTION
        other.close()

        page.locator("#pg-prompt").focus()
        page.locator(".pg-go").press("Enter")
        page.locator(".pg-about").wait_for()
        assert "No face was found" in page.locator(".pg-note").inner_text()
        assert page.locator(".pg-prompt").inner_text() == INJECTION
        assert page.evaluate("window.hacked") is None
        assert page.locator(".pg img[src='x']").count() == 0
        assert _axe(page) == []


def test_results_stay_and_can_be_taken_up_and_deleted(worker: Callable, watched: Any, runs_dir: Path) -> None:
    worker("done")
    _trained(runs_dir)
    with AppProcess(runs_dir) as app:
        page = _open(watched, app)
        for seed in ("1", "2"):
            page.locator("#pg-seed").fill(seed)
            page.locator(".pg-go").click()
            until(page, lambda s=seed: page.locator(f".pg-tile:has-text('seed {s}')").count() == 1)
        first = page.locator(".pg-tile", has_text="seed 1")
        first.click()
        until(page, lambda: "1" in page.locator(".pg-about dd").all_inner_texts())
        shown = _shown(page)
        page.reload()
        until(page, lambda: _shown(page) == shown and page.locator(".pg-about").is_visible())
        assert page.locator(".pg-scores tbody tr").first.inner_text().split("\t") == [
            "Similarity to the picture",
            "0.600",
            "0.700",
            "+0.100",
        ]
        page.get_by_role("button", name="Change it").click()
        until(page, lambda: page.locator("#pg-seed").input_value() == "1")
        assert page.locator(".pg-title").inner_text() == "Picture of an earlier video"
        page.locator(".pg-cell", has=first).get_by_role("button", name="Delete").click()
        until(page, lambda: page.locator(".pg-tile").count() == 1)
        assert [job.request.seed for job in preview.jobs(runs_dir)] == [2]
        assert page.locator(".pg-tile[aria-pressed=true]").count() == 1


def test_the_base_model_alone_is_one_video(worker: Callable, watched: Any, runs_dir: Path) -> None:
    worker("done")
    with AppProcess(runs_dir) as app:
        page = _open(watched, app)
        assert "Nothing rendered yet" in page.locator(".pg-none").inner_text()
        assert page.locator("#pg-strength").is_disabled()
        page.locator(".pg-draw").click()
        until(page, lambda: page.locator(".pg-title").inner_text() == "A person drawn for you")
        page.locator(".pg-go").click()
        page.locator(".pg-single video").wait_for()
        assert page.locator(".pg-scores thead th:visible").count() == 2
        assert "base alone" in page.locator(".pg-about dl").inner_text()
        assert _axe(page) == []


def test_while_training_goes_on_requests_wait_in_line(worker: Callable, watched: Any, runs_dir: Path) -> None:
    worker("done")
    done = _trained(runs_dir)
    run = FakeRun(runs_dir, "at work")
    run.step(3)
    with AppProcess(runs_dir) as app:
        page = _open(watched, app, f"#playground?model={done.folder.id}&step=10")
        assert page.locator("#pg-checkpoint").input_value() == "10"
        notice = page.locator(".pg-training")
        until(page, lambda: "“at work” is training" in notice.inner_text())
        assert page.locator(".pg-go").inner_text() == "Render when training ends"
        page.locator(".pg-go").click()
        until(page, lambda: "as soon as “at work” has ended" in page.locator(".pg-now").inner_text())
        assert preview.state(runs_dir).state == "off"
        assert _axe(page) == []
        run.finish()
        page.locator(".pg-about").wait_for()
        assert notice.is_hidden() and page.locator(".pg-go").inner_text() == "Render"


def test_progress_is_shown_and_can_be_cancelled(worker: Callable, watched: Any, runs_dir: Path) -> None:
    worker("wait")
    _trained(runs_dir)
    with AppProcess(runs_dir) as app:
        page = _open(watched, app)
        page.locator(".pg-go").click()
        until(page, lambda: page.locator(".pg-now").inner_text() == "Base model: step 2 of 4")
        page.locator(".pg-dice").click()
        page.locator(".pg-go").click()
        until(page, lambda: page.locator(".pg-now").inner_text() == "1 video is rendered before it.")
        page.locator(".pg-wait-actions").get_by_role("button", name="Cancel").click()
        until(page, lambda: page.locator(".pg-wait h3").inner_text() == "Cancelled")
        page.locator(".pg-cell[data-state=working] .pg-x").click()
        until(page, lambda: page.locator(".pg-cell[data-state=cancelled]").count() == 2)
        assert preview.state(runs_dir).is_on


def test_a_worker_that_is_killed_is_told_and_asked_again(worker: Callable, watched: Any, runs_dir: Path) -> None:
    worker("wait")
    _trained(runs_dir)
    with AppProcess(runs_dir) as app:
        page = _open(watched, app)
        page.locator(".pg-go").click()
        until(page, lambda: page.locator(".pg-wait h3").inner_text() == "Rendering")
        os.kill(int((read_json(PreviewFolder.of(runs_dir).process) or {})["pid"]), signal.SIGKILL)
        until(page, lambda: page.locator(".pg-wait h3").inner_text() == "It could not be rendered")
        assert "perhaps for want of memory" in page.locator(".pg-now").inner_text()
        assert _axe(page) == []
        before = _shown(page)
        page.get_by_role("button", name="Ask again").click()
        until(page, lambda: _shown(page) != before and page.locator(".pg-wait h3").inner_text() == "Rendering")
        (PreviewFolder.of(runs_dir).results / _shown(page) / "go").touch()
        page.locator(".pg-about").wait_for()
