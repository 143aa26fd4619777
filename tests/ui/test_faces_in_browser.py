"""The Faces page as a person uses it, in a real browser against the real app."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from app_process import AppProcess
from page_run import FPS, NUM_FRAMES, FakeRun
from waiting import until

from rewardfl_app.config import files
from rewardfl_app.pocket import paths
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.supervisor import face_jobs, process
from rewardfl_app.supervisor.freeze import with_embedded_data
from rewardfl_app.ui.media import thumbnail

pytestmark = pytest.mark.browser

INJECTION = '<img src=x onerror="window.hacked=1"> ${1+1} {{this}}'
FAKE_SCORER = Path(__file__).parents[1] / "supervisor" / "fake_scorer.py"
GAP = (8, 9)
DIP = 12


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a stand-in in the place of the scoring child of the app that is started next."""
    return lambda behaviour: monkeypatch.setenv(
        face_jobs.SCORER_VARIABLE, shlex.join([sys.executable, str(FAKE_SCORER), behaviour])
    )


def _open(watched: Any, app: AppProcess) -> Any:
    page = watched.open(app.address)
    page.get_by_role("tab", name="Faces").click()
    page.locator(".fc").wait_for()
    return page


def _run_with_a_dip(runs_dir: Path, prompt: str = "one") -> FakeRun:
    """The first sample of step 10 has two frames without a face, and one where the person is somebody else."""
    run = FakeRun(runs_dir, "faces", prompts=(prompt, "two"))
    run.baseline()
    run.evaluate(10)
    path = run.folder.samples / "step_000010" / "row_000" / "faces.json"
    content = read_json(path) or {}
    for frame in GAP:
        content["frames"][frame]["faces"] = []
    content["frames"][DIP]["faces"][0]["similarity"] = 0.11
    write_json_atomic(path, {**content, "faceless_frames": list(GAP)})
    return run


def _frame(page: Any) -> str:
    return page.locator(".fc-counter").inner_text()


def _seen(page: Any) -> int:
    """The frame the browser shows."""
    return page.evaluate(f"Math.floor(document.querySelector('.fc-video').currentTime * {FPS} + 0.01)")


def _at(page: Any, frame: int) -> None:
    until(page, lambda: _frame(page) == f"frame {frame + 1} / {NUM_FRAMES}" and _seen(page) == frame)


def test_a_dip_and_a_card_lead_the_player_to_their_frame(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    _run_with_a_dip(runs_dir)
    page = _open(watched, app)
    sentence = page.locator(".fc-sentence")
    until(page, lambda: "2 frames without a face; worst at frame 13 (0.11)" in sentence.inner_text())
    page.locator(".fc-curve path").first.wait_for()
    until(page, lambda: page.evaluate("document.querySelector('.fc-video').currentTime > 0"))

    box = page.locator(".fc-curve").bounding_box()
    left, right = 38, 10  # as the curve is drawn
    x = box["x"] + left + DIP / (NUM_FRAMES - 1) * (box["width"] - left - right)
    page.mouse.click(x, box["y"] + box["height"] / 2)
    _at(page, DIP)
    assert "0.11" in page.locator(".fc-now").inner_text()
    assert "0.110" in page.locator(".fc-curve .ch-tip").inner_text()
    page.wait_for_timeout(400)
    _at(page, DIP)  # it stays there

    page.locator(".fc-curve").focus()
    page.keyboard.press("ArrowLeft")
    _at(page, DIP - 1)
    page.keyboard.press("PageDown")
    _at(page, DIP - 11)
    assert page.locator(".fc-curve").get_attribute("aria-valuetext").startswith("frame 2: ")

    page.locator(".fcard.none").click()
    _at(page, GAP[0])
    page.locator(".fc-badge").wait_for()
    page.locator(".fc-now", has_text="No face").wait_for()
    card = page.locator(".fcard:not(.none)").first
    assert "0.11" in card.inner_text() and "facing the camera" in card.inner_text()
    card.click()
    _at(page, DIP)
    page.locator(".fc-stage").focus()
    page.keyboard.press("End")
    _at(page, NUM_FRAMES - 1)


def test_the_slider_goes_over_the_steps_and_keeps_the_frame(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = _run_with_a_dip(runs_dir)
    page = _open(watched, app)
    page.locator(".fcard").first.wait_for()
    page.locator(".fcard:not(.none)").first.click()
    _at(page, DIP)
    page.get_by_label("Step of the run").fill("0")
    until(page, lambda: "baseline" in page.locator(".fc-video").get_attribute("src"))
    assert page.locator(".fc-step").inner_text() == "Untrained model"
    _at(page, DIP)
    page.get_by_role("button", name="Real clips").click()
    until(page, lambda: "/reference/" in page.locator(".fc-video").get_attribute("src"))
    page.get_by_label("Step of the run").fill("1")
    until(page, lambda: "step_000010/row_000" in page.locator(".fc-video").get_attribute("src"))
    page.get_by_role("button", name="Video 2").click()
    until(page, lambda: "step_000010/row_001" in page.locator(".fc-video").get_attribute("src"))
    page.locator(".fc-facts", has_text="two").wait_for()
    run.evaluate(20)  # who looks at the newest step is taken along
    until(page, lambda: "step_000020/row_001" in page.locator(".fc-video").get_attribute("src"))


def test_each_video_of_a_run_has_its_own_heat_map(scorer: Callable, watched: Any, runs_dir: Path) -> None:
    scorer("done")
    run = _run_with_a_dip(runs_dir)
    config = files.read(run.folder.config)
    config["reward"]["reward_model_path"] = str(paths.FACE_PACK)
    run.folder.config.write_text(yaml.safe_dump(config))
    with AppProcess(runs_dir) as app:
        page = _open(watched, app)
        page.get_by_label("What the reward looks at").check()
        page.locator(".fc-legend").wait_for()
        assert (run.folder.samples / "step_000010" / "row_000" / "heat.mp4").is_file()
        page.get_by_role("button", name="Video 2").click()
        page.get_by_role("button", name="Compute it").click()
        page.locator(".fc-legend").wait_for()
        until(page, lambda: "row_001/heat.mp4" in page.locator(".fc-heat").get_attribute("src"))
        assert len(face_jobs.list_jobs(runs_dir)) == 2


def test_without_a_run_a_sample_clip_is_scored_for_real(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    page = _open(watched, app)
    page.get_by_role("button", name="Videos of the run").click()
    page.get_by_text("Start a run on the Train page").wait_for()
    page.get_by_role("button", name="Score a video of your own").click()
    page.get_by_role("button", name="Sample clip").first.click()
    page.get_by_role("button", name="Score this video").click()
    page.locator(".fc-none", has_text="Scoring").wait_for()
    page.locator(".fc-main").wait_for(timeout=600_000)
    page.locator(".fc-people tbody tr").wait_for()
    assert float(page.locator(".fc-people td.num").first.inner_text()) > 0.3
    assert page.locator(".fcard .crop:not(.blank)").count() >= 2

    page.get_by_label("What the reward looks at").check()
    page.locator(".fc-legend").wait_for(timeout=600_000)
    videos = "[document.querySelector('.fc-video'), document.querySelector('.fc-heat')]"
    until(page, lambda: page.evaluate(f"{videos}.every(v => v.readyState >= 2)"))
    page.locator(".fcard:not(.none)").first.click()
    until(page, lambda: page.evaluate(f"{videos}.every(v => v.paused && Math.abs(v.currentTime) > 0)"))
    assert page.evaluate(f"Math.abs({videos}[0].currentTime - {videos}[1].currentTime)") < 0.5 / FPS
    assert page.evaluate("getComputedStyle(document.querySelector('.fc-heat')).mixBlendMode") == "screen"

    page.reload()
    page.get_by_role("tab", name="Faces", selected=True).wait_for()
    page.locator(".fc-main").wait_for()
    # A video that the kill cuts off would complain.
    page.wait_for_function(
        "(v => v.buffered.length && v.buffered.end(0) >= v.duration - 0.1)(document.querySelector('.fc-video'))"
    )
    app.kill()
    with page.expect_navigation():
        again = AppProcess(runs_dir, port=app.port)
    with again:
        page.locator(".fc-main").wait_for()
        page.locator(".fc-tile[data-state=done]").wait_for()


def test_an_upload_goes_through_its_states(scorer: Callable, watched: Any, runs_dir: Path, tmp_path: Path) -> None:
    scorer("wait")
    metadata = with_embedded_data_of(runs_dir)
    with AppProcess(runs_dir) as app:
        page = _open(watched, app)
        page.get_by_label("Video to score").set_input_files(metadata.parent / "train_001.mp4")
        page.get_by_role("button", name="Score this video").click()
        page.locator(".fc-none", has_text="Finding faces · 40%").wait_for()
        page.reload()
        page.locator(".fc-none", has_text="Finding faces · 40%").wait_for()
        (job,) = face_jobs.list_jobs(runs_dir)
        assert job.title == "train_001.mp4" and thumbnail(job.folder / "input.mp4")
        (job.folder / "go").touch()
        page.locator(".fc-main").wait_for()
        assert "falls from 0.85 to 0.70" in page.locator(".fc-sentence").inner_text()
        assert page.locator(".fcard").count() == 3  # one of neighbours
        page.get_by_role("checkbox", name="Every frame").check()
        assert page.locator(".fcard").count() == 5

        page.get_by_role("button", name="Score a video").first.click()
        page.get_by_label("Video to score").set_input_files(metadata.parent / "train_002.mp4")
        page.get_by_role("button", name="Score this video").click()
        page.locator(".fc-none", has_text="Finding faces · 40%").wait_for()
        # The page is told something new between press and release.
        page.evaluate("document.querySelector('.fc-tile').dataset.mark = 'the same'")
        page.get_by_role("button", name="Cancel").hover()
        page.mouse.down()
        (job,) = (found for found in face_jobs.list_jobs(runs_dir) if not found.is_finished)
        status = read_json(job.folder / "status.json") or {}
        write_json_atomic(job.folder / "status.json", {**status, "done": 1, "total": 2})
        page.locator(".fc-none", has_text="Finding faces · 50%").wait_for()
        page.mouse.up()
        page.locator(".fc-none", has_text="Cancelled").wait_for()
        assert page.locator(".fc-tile").first.get_attribute("data-mark") == "the same"
        page.get_by_role("button", name="Remove").click()
        page.locator(".fc-main").wait_for()
        assert len(face_jobs.list_jobs(runs_dir)) == 1


def test_a_killed_child_is_told_and_can_be_tried_again(scorer: Callable, watched: Any, runs_dir: Path) -> None:
    scorer("hang")
    with_embedded_data_of(runs_dir)
    with AppProcess(runs_dir) as app:
        page = _open(watched, app)
        page.get_by_role("button", name="Sample clip").first.click()
        page.get_by_role("button", name="Score this video").click()
        page.locator(".fc-none", has_text="Finding faces").wait_for()
        (job,) = face_jobs.list_jobs(runs_dir)
        process.send(process.members(read_json(job.folder / "process.json") or {}), signal.SIGKILL)
        failed = page.locator(".fc-none[data-state=failed]")
        failed.wait_for()
        assert "ended before it was done" in failed.inner_text()
        page.get_by_role("button", name="Try again").click()
        page.locator(".fc-none", has_text="Finding faces").wait_for()
        assert [found.id for found in face_jobs.list_jobs(runs_dir)] != [job.id]
        page.get_by_role("button", name="Cancel").click()
        page.locator(".fc-none", has_text="Cancelled").wait_for()


def test_what_is_wrong_is_said_and_names_are_text(
    scorer: Callable, watched: Any, runs_dir: Path, tmp_path: Path
) -> None:
    scorer("refuse")
    _run_with_a_dip(runs_dir, INJECTION)
    (tmp_path / "notes.txt").write_text("hello")
    odd = tmp_path / (INJECTION.replace("/", "") + ".mp4")
    odd.write_text("hello")
    with AppProcess(runs_dir) as app:
        page = _open(watched, app)
        page.locator(".fc-facts", has_text=INJECTION).wait_for()
        page.get_by_role("button", name="Your own videos").click()
        page.get_by_label("Video to score").set_input_files(tmp_path / "notes.txt")
        page.get_by_text("notes.txt is not one of").wait_for()
        page.get_by_label("Video to score").set_input_files(odd)
        page.get_by_role("button", name="From a folder").click()
        page.get_by_label("Folder of the face pack").fill("/nowhere")
        page.get_by_role("button", name="Score this video").click()
        page.get_by_text("/nowhere does not exist").wait_for()
        page.get_by_role("button", name="Pocket").click()
        page.get_by_role("button", name="Score this video").click()
        failed = page.locator(".fc-none[data-state=failed]")
        failed.wait_for()
        assert f"{odd.name} is no video: it holds text." in failed.inner_text()
        assert page.evaluate("window.hacked") is None and page.locator("img[src=x]").count() == 0


def with_embedded_data_of(runs_dir: Path) -> Path:
    """The embedded clips in the runs folder, rendered before the app asks for them."""
    from rewardfl_app.config.presets import preset

    return Path(with_embedded_data(preset("pocket"), runs_dir).data.metadata_path or "")
