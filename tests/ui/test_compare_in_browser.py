"""Compare as a person uses it: the player in step, its modes and keys, the vote, the films, the address."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app_process import AppProcess
from page_run import FPS, FakeRun
from waiting import until

pytestmark = pytest.mark.browser

# Largest distance of the two videos over some seconds of play: by the clock, and by the pictures that were shown.
WATCH = """seconds => new Promise(done => {
  const videos = ['before', 'after'].map(side => document.querySelector(`.cp-player [data-side=${side}] video`));
  const seen = {clock: 0, picture: 0, times: new Set(), restarts: 0}, shown = videos.map(() => null);
  let last = 0;
  videos.forEach((video, i) => {
    const note = (now, picture) => { shown[i] = picture.mediaTime; video.requestVideoFrameCallback(note); };
    video.requestVideoFrameCallback(note);
  });
  const end = performance.now() + 1000 * seconds;
  const look = () => {
    const times = videos.map(v => v.currentTime);
    seen.clock = Math.max(seen.clock, Math.abs(times[0] - times[1]));
    if (times[0] < last) seen.restarts += 1;
    last = times[0];
    const turning = videos.some(v => v.seeking) || Math.min(...times) < 0.2;  // set back to the start just now
    if (!turning && shown.every(t => t !== null)) seen.picture = Math.max(seen.picture, Math.abs(shown[0] - shown[1]));
    seen.times.add(Math.floor(times[0] * 8));
    if (performance.now() < end) requestAnimationFrame(look);
    else done({...seen, times: seen.times.size});
  };
  look();
})"""

# Which side's video lies in the left half of the player.
LEFT = """() => {
  const box = document.querySelector('.ab-stage').getBoundingClientRect();
  return document.elementFromPoint(box.x + 0.3 * box.width, box.y + 0.6 * box.height).closest('figure').dataset.side;
}"""
BRIGHTEST = """canvas => {
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return Math.max(...data.filter((_, i) => i % 4 < 3));
}"""


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """A runs folder with one run of three videos, evaluated twice, and a checkpoint without videos."""
    path = tmp_path / "runs"
    path.mkdir()
    run = FakeRun(path, "first", prompts=("one", "two", "three"))
    run.baseline()
    run.evaluate(10)
    run.evaluate(20)
    run.checkpoint(15)
    run.finish()
    return path


@pytest.fixture
def app(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppProcess]:
    """The app over the runs folder, with a stand-in for the process that renders videos."""
    renderer = Path(__file__).parents[1] / "supervisor" / "fake_renderer.py"
    monkeypatch.setenv("REWARDFL_RENDERER", shlex.join([sys.executable, str(renderer), "done"]))
    with AppProcess(runs_dir) as process:
        yield process


def _ready(page: Any) -> None:
    ready = (
        "[...document.querySelectorAll('#compare .cp-player video[src]')].filter(v => v.readyState >= 2).length >= 2"
    )
    page.wait_for_function(ready)


def _wipe(page: Any) -> float:
    return float(page.locator(".cp-player .ab-edge").get_attribute("aria-valuenow"))


def test_both_videos_stay_within_one_frame_of_each_other(app: AppProcess, watched: Any) -> None:
    page = watched.open(app.address + "/#compare")
    _ready(page)
    page.wait_for_function("document.querySelector('#compare .cp-player video').currentTime > 0")
    seen = page.evaluate(WATCH, 10)
    assert seen["clock"] < 1 / FPS and seen["picture"] <= 1 / FPS + 1e-6
    assert seen["times"] > 10 and seen["restarts"] >= 2  # it played, and repeated
    page.get_by_role("combobox", name="Speed").select_option("2")
    assert page.evaluate(WATCH, 3)["clock"] < 1 / FPS


def test_keys_and_controls_of_the_player(app: AppProcess, watched: Any) -> None:
    page = watched.open(app.address + "/#compare")
    _ready(page)
    player = page.locator(".cp-player")
    counter = player.locator(".ab-counter")
    player.locator(".ab-stage").focus()
    page.keyboard.press("Space")
    page.wait_for_function("[...document.querySelectorAll('#compare .cp-player video')].every(v => v.paused)")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    until(page, lambda: counter.inner_text() == "frame 3 / 17")
    player.get_by_role("slider", name="Frame").focus()
    page.keyboard.press("End")
    until(page, lambda: counter.inner_text() == "frame 17 / 17")
    plot = player.locator(".ab-plot").bounding_box()
    page.mouse.click(plot["x"] + plot["width"] * 0.5, plot["y"] + 40)
    until(page, lambda: counter.inner_text() in ("frame 9 / 17", "frame 10 / 17"))

    player.locator(".ab-stage").focus()
    assert page.evaluate(LEFT) == "before"
    page.keyboard.down("f")
    assert page.evaluate(LEFT) == "after"
    page.keyboard.up("f")
    assert page.evaluate(LEFT) == "before"
    page.keyboard.press("b")
    assert not player.get_by_role("checkbox", name="Face boxes").is_checked()
    player.get_by_role("checkbox", name="Real clip").check()
    player.locator("figure[data-side=reference]").wait_for()
    player.locator(".ab-stage").focus()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys of the player")
    assert "flicker" in dialog.inner_text()
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    until(page, lambda: page.locator(".cp-prompt").first.inner_text() == "two")


def test_wipe_difference_and_loupe(app: AppProcess, watched: Any) -> None:
    page = watched.open(app.address + "/#compare")
    _ready(page)
    page.get_by_role("button", name="Wipe").click()
    box = page.locator(".cp-player [data-pane='0'] .vid").bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 50)
    page.mouse.down()
    for share in (0.3, 0.8, 0.2):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 50)
        assert _wipe(page) == pytest.approx(100 * share, abs=1)
    page.mouse.up()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 50)
    assert _wipe(page) == pytest.approx(20, abs=1)
    page.get_by_role("slider", name="Wipe position").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert _wipe(page) == pytest.approx(24, abs=1)
    page.keyboard.press("End")
    assert _wipe(page) == 100

    page.get_by_role("button", name="Difference").click()
    page.get_by_role("slider", name="Gain").fill("8")
    mixed = page.locator(".cp-player .ab-diff canvas")
    until(page, lambda: "% of white" in page.locator(".cp-player .ab-diff figcaption").inner_text())
    assert mixed.evaluate("c => c.style.filter") == "brightness(8)"
    assert mixed.evaluate(BRIGHTEST) > 0

    page.get_by_role("button", name="Loupe", exact=True).click()
    stage = page.locator(".cp-player [data-pane='1'] .vid").bounding_box()
    page.mouse.move(stage["x"] + 0.25 * stage["width"], stage["y"] + 0.75 * stage["height"])
    lenses = page.locator(".cp-player .ab-lens:visible")
    assert lenses.count() == 2
    places = lenses.evaluate_all("ls => ls.map(l => [parseFloat(l.style.left), parseFloat(l.style.top)])")
    assert places[0] == places[1] == [pytest.approx(25, abs=1), pytest.approx(75, abs=1)]
    lenses.first.focus()
    page.keyboard.press("ArrowRight")
    assert lenses.nth(1).evaluate("l => parseFloat(l.style.left)") == pytest.approx(27, abs=1)
    page.reload()
    page.wait_for_selector(".cp-player .ab-modes [data-mode=loupe][aria-pressed=true]")


def test_a_damaged_video_is_named_and_the_other_plays(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    (video,) = runs_dir.glob("*/samples/step_000020/row_000/video.mp4")
    video.write_bytes(b"not a video")
    page = watched.open(app.address + "/#compare")
    page.get_by_text("This video cannot be played").first.wait_for()
    page.wait_for_function("document.querySelector('.cp-player [data-side=before] video').currentTime > 0.5")


def test_any_model_against_any_other_and_the_address_keeps_it(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    other = FakeRun(runs_dir, "second", prompts=("one", "two", "three"))
    other.baseline()
    other.evaluate(30)
    other.finish()
    alone = FakeRun(runs_dir, "other words", prompts=("four",))
    alone.baseline()
    alone.finish()
    page = watched.open(app.address + "/#compare?run=" + other.folder.id)
    model, run = page.get_by_role("combobox", name="Model of A"), page.get_by_role("combobox", name="Run of A")
    until(page, lambda: model.input_value() == "0")
    run.select_option(label="first")
    until(page, lambda: model.input_value() == "20")
    model.select_option("10")
    until(page, lambda: "first, step 10" in page.locator(".ab-stage").first.inner_text())
    page.get_by_role("button", name="Show video 2").click()
    assert page.evaluate("document.activeElement.textContent") == "2"
    assert "&a=10" in page.url and "sample=row_001" in page.url
    page.reload()
    until(page, lambda: "first, step 10" in page.locator(".ab-stage").first.inner_text())
    assert page.locator(".cp-prompt").first.inner_text() == "two"
    page.get_by_role("button", name="Swap A and B").click()
    until(page, lambda: "first" in page.locator(".hd-runs option:checked").inner_text())
    until(page, lambda: run.input_value() == other.folder.id and model.input_value() == "30")
    page.go_back()
    until(page, lambda: model.input_value() == "10")
    run.select_option(label="other words")
    page.get_by_role("heading", name="These two cannot be compared").wait_for()
    assert "prompts differ" in page.locator(".cp-why").inner_text()
    run.select_option(label="first")
    model.select_option("15")
    page.get_by_role("button", name="Render its videos").click()
    until(page, lambda: "first, step 15" in page.locator(".ab-stage").first.inner_text())


def test_the_table_sorts_and_shows_intervals(app: AppProcess, watched: Any) -> None:
    page = watched.open(app.address + "/#compare")
    table = page.locator(".cp-all")
    prompts = table.locator("tbody .what span")
    until(page, lambda: prompts.all_inner_texts() == ["one", "two", "three"])
    table.locator("[data-sort=name]").click()
    assert prompts.all_inner_texts() == ["one", "three", "two"]
    assert table.locator("th[aria-sort=ascending]").count() == 1
    page.keyboard.press("Enter")  # the same button again
    assert prompts.all_inner_texts() == ["two", "three", "one"]
    assert " to " in table.locator("tfoot .cp-interval").first.inner_text()
    table.get_by_role("checkbox", name="All measures").check()
    assert table.locator("[data-sort=sharpness]").is_visible()


def test_six_pairs_are_voted_on_and_the_rate_is_shown(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    page = watched.open(app.address + "/#compare")
    page.get_by_role("button", name="Blind vote").click()
    progress = page.locator(".cp-vote-progress")
    until(page, lambda: "0 votes" in progress.inner_text())
    shown = page.locator(".cp-vote").inner_html()
    assert "baseline" not in shown and "step_0000" not in shown
    for number, act in enumerate(("ArrowLeft", "ArrowRight", None, "ArrowDown", None, "ArrowRight"), start=1):
        if act is None:
            page.get_by_role("button", name="Left is better").click()
        else:
            page.locator(".cp-ballot").focus()
            page.keyboard.press(act)
        word = "1 vote kept" if number == 1 else f"{number} votes kept"
        until(page, lambda word=word: word in progress.inner_text())
    result = page.locator(".cp-result")
    assert "95% interval" in result.inner_text() and "%" in result.locator(".cp-rate-value").inner_text()
    assert result.locator(".cp-tally dd").all_inner_texts()[2] == "1"
    page.reload()
    until(page, lambda: "6 votes kept" in progress.inner_text())
    page.get_by_role("button", name="Take the last vote back").click()
    until(page, lambda: "5 votes kept" in progress.inner_text())
    page.get_by_role("button", name="Back to the comparison").click()
    page.locator(".cp-player .ab-stage").wait_for()


def test_the_film_is_downloaded_and_is_h264(app: AppProcess, watched: Any, tmp_path: Path) -> None:
    page = watched.open(app.address + "/#compare")
    _ready(page)
    page.locator(".cp-films summary").click()
    for name, file, frames in (("This pair", "side_by_side.mp4", "17"), ("All pairs", "side_by_side.mp4", "51")):
        with page.expect_download(timeout=600_000) as download:
            page.get_by_role("button", name=f"Download: {name}").click()
        assert file in download.value.suggested_filename
        target = tmp_path / f"{name}.mp4"
        download.value.save_as(target)
        if shutil.which("ffprobe"):
            command = [
                "ffprobe",
                "-v",
                "error",
                "-show_entries",
                "stream=codec_name,pix_fmt,nb_frames",
                "-of",
                "csv=p=0",
            ]
            told = subprocess.run([*command, str(target)], capture_output=True, text=True, check=True).stdout.strip()
            assert told == f"h264,yuv420p,{frames}"
    with page.expect_download() as download:
        page.get_by_role("button", name="Download: Report").click()
    download.value.save_as(tmp_path / "report.html")
    assert "<html" in (tmp_path / "report.html").read_text()


def test_nothing_can_be_pressed_before_the_pair_is_there(app: AppProcess, watched: Any) -> None:
    """What was pressed then would be lost without a word."""
    page = watched.open(app.address + "/#compare")
    _ready(page)
    held: list[Any] = []
    holding = [True]
    page.route(re.compile("component_server"), lambda route: held.append(route) if holding else route.continue_())
    page.get_by_role("button", name="Blind vote").click()
    until(page, lambda: held)
    choices = page.locator(".cp-choice")
    assert [choices.nth(i).is_disabled() for i in range(3)] == [True] * 3
    assert not page.get_by_role("button", name="Show the result now").is_visible()
    assert not page.get_by_role("button", name="Take the last vote back").is_visible()
    holding.clear()
    for route in held:
        route.continue_()
    page.get_by_role("button", name="Left is better").click()
    page.locator(".cp-vote-progress", has_text="1 vote kept").wait_for()
    page.get_by_role("button", name="Take the last vote back").wait_for()


def test_every_part_of_the_page_is_accessible(app: AppProcess, watched: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = watched.open(app.address + "/#compare")
    _ready(page)

    def serious() -> list[str]:
        found = axe.run(page, context="#compare").response["violations"]
        return [f"{v['id']}: {v['nodes'][0]['html'][:160]}" for v in found if v["impact"] in ("serious", "critical")]

    for mode in ("Wipe", "Difference", "Loupe", "Side by side"):
        page.get_by_role("button", name=mode, exact=True).click()
        assert serious() == []
    page.locator(".cp-films summary").click()
    assert serious() == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Blind vote").click()
    page.locator(".cp-choices").wait_for()
    page.get_by_role("button", name="Left is better").click()
    page.get_by_role("button", name="Show the result now").click()
    page.locator(".cp-result").wait_for()
    assert serious() == []
