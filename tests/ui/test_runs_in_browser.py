"""The Runs page as a person uses it, in a real browser against the real app."""

from __future__ import annotations

import json
import re
import shlex
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from app_process import AppProcess
from axe_playwright_python.sync_playwright import Axe
from page_run import FakeRun
from waiting import until

from rewardfl_app.config import files, presets
from rewardfl_app.models import adaptation, merged_expert, wan
from rewardfl_app.models.sources import resolve
from rewardfl_app.runs import about, best
from rewardfl_app.runs.checkpoints import begin, commit
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.supervisor import export_jobs, freeze, queue, supervisor

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="window.hacked=1"> ../../etc'


def _completed(runs_dir: Path, name: str, judge_gain: float = 0.08, **changed: str) -> FakeRun:
    """A finished run; `changed`: text of config.yaml by what it is to be instead."""
    run = FakeRun(runs_dir, name, total=20, prompts=("one",))
    text = run.folder.config.read_text()
    for field, value in changed.items():
        text = re.sub(rf"( {field}:) .*", rf"\1 {value}", text)
    run.folder.config.write_text(text)
    run.baseline()
    for step in range(1, 21):
        run.step(step)
    run.evaluate(20, judge_gain)
    folder = begin(run.folder, 20)
    header = json.dumps({"__metadata__": {"lora_adapter_metadata": "{}"}}).encode()
    (folder / "low_noise.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    commit(run.folder, 20, folder)
    run.finish(sentence="Completed all 20 steps.")
    return run


def _open(watched: Any, app: AppProcess, rest: str = "") -> Any:
    page = watched.open(f"{app.address}/#runs{rest}")
    page.wait_for_selector(".rn-table tbody tr")
    return page


def _names(page: Any) -> list[str]:
    found: list[str] = page.locator(".rn-name").all_inner_texts()
    return found


def test_without_a_run_the_page_says_what_to_do(app: AppProcess, watched: Any) -> None:
    page = watched.open(f"{app.address}/#runs")
    page.get_by_role("button", name="Start one on the Train page").click()
    page.get_by_role("tab", name="Train", selected=True).wait_for()


def test_two_runs_show_the_fields_that_differ_and_their_curves(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    one = _completed(runs_dir, "first")
    two = _completed(runs_dir, "second", learning_rate="0.001", num_gradient_steps="1")
    about.put(two.folder, parent=one.folder.id)
    page = _open(watched, app)
    page.get_by_label("Select first").check()
    page.get_by_label("Select second").check()
    page.wait_for_selector(".rn-charts .ch-line")
    fields = page.locator(".rn-difference tbody tr").evaluate_all("rows => rows.map(row => row.dataset.field)")
    assert fields == ["sampling.num_gradient_steps", "train.learning_rate"]
    assert page.locator("[data-chart=kl] path.ch-line").count() == 2
    strokes = page.locator("[data-chart=kl] path.ch-line").evaluate_all(
        "all => all.map(p => getComputedStyle(p).stroke)"
    )
    assert len(set(strokes)) == 2

    page.get_by_role("button", name="Loss", exact=True).click()
    page.wait_for_selector("[data-chart=loss] .ch-line")
    page.reload()  # selection and curves are those that were chosen
    page.wait_for_selector("[data-chart=loss] .ch-line")
    assert page.get_by_label("Select first").is_checked() and page.locator(".rn-difference tbody tr").count() == 2

    page.get_by_role("button", name="Compare videos", exact=True).click()
    page.get_by_role("tab", name="Compare", selected=True).wait_for()
    assert f"run={two.folder.id}" in page.url and f"with={one.folder.id}" in page.url


def test_sort_and_filter_and_what_was_chosen_survives_a_refresh(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    about.update(_completed(runs_dir, "strong", 0.2).folder, tags=["keep"], notes="the lucky one")
    _completed(runs_dir, "weak", 0.01)
    failed = FakeRun(runs_dir, "broken")
    failed.finish("failed", "The GPU ran out of memory.", "Lower the resolution.", 1)
    page = _open(watched, app)
    assert _names(page) == ["broken", "weak", "strong"]
    page.get_by_role("button", name="Judge", exact=True).click()
    assert _names(page) == ["strong", "weak", "broken"]
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Judge")
    page.locator("[data-filter=text]").fill("lucky")
    assert _names(page) == ["strong"]
    page.reload()
    page.wait_for_selector(".rn-table tbody tr")
    assert _names(page) == ["strong"]
    page.locator("[data-filter=text]").fill("")
    page.locator("[data-filter=state]").select_option("failed")
    assert _names(page) == ["broken"] and page.get_by_text("The GPU ran out of memory.").first.is_visible()
    page.locator("[data-filter=state]").select_option("")
    page.locator("[data-filter=tag]").select_option("keep")
    assert _names(page) == ["strong"]
    page.locator("[data-filter=text]").fill("nothing like it")
    page.get_by_role("button", name="Show all runs").click()
    assert len(_names(page)) == 3


def test_the_log_of_a_failed_run_is_one_click_away(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    failed = FakeRun(runs_dir, "broken")
    failed.folder.log.write_text("the line that says why\n")
    failed.finish("failed", "The GPU ran out of memory.", "Lower the resolution.", 1)
    page = _open(watched, app, f"?open={failed.folder.id}")
    page.get_by_text("Lower the resolution.").wait_for()
    page.get_by_role("button", name="Open the log").click()
    page.get_by_text("the line that says why").wait_for()


def test_name_notes_and_tags_are_edited_in_place(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = _completed(runs_dir, "old name")
    page = _open(watched, app)
    page.get_by_role("button", name="Rename old name").focus()
    page.keyboard.press("Enter")
    field = page.get_by_label("Name of the run")
    field.fill("   ")
    field.press("Enter")
    page.get_by_role("alert").get_by_text("empty").wait_for()
    field.fill(HOSTILE)
    field.press("Enter")
    until(page, lambda: _names(page) == [HOSTILE])
    page.get_by_role("button", name="Details of").click()
    page.get_by_label("Notes").fill("what I saw")
    page.get_by_label("Tags").fill("good, seed 42")
    page.evaluate("document.querySelector('.rn-more textarea').dataset.first = 'yes'")
    page.get_by_label("Tags").press("Tab")
    until(page, lambda: (read_json(run.folder.run_info) or {}).get("tags") == ["good", "seed 42"])
    info = read_json(run.folder.run_info) or {}
    assert (info["name"], info["notes"]) == (HOSTILE, "what I saw")
    page.locator(".rn-tag").nth(1).wait_for()
    page.wait_for_selector(".rn-more textarea:not([data-first])")  # painted anew with what was saved
    assert page.get_by_text("Saved.").is_visible()
    assert page.evaluate("window.hacked") is None


def test_the_details_offer_the_lora_and_the_passport(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = _completed(runs_dir, "worth keeping")
    best.write(run.folder, best.Best(20, "The judge is up by 0.044.", {}))
    page = _open(watched, app, f"?open={run.folder.id}")
    page.get_by_text("The judge is up by 0.044.").wait_for()
    with page.expect_download() as lora:
        page.get_by_role("link", name="Download the LoRA").click()
    assert (
        Path(lora.value.path()).read_bytes()
        == (run.folder.checkpoints / "step_000020" / "low_noise.safetensors").read_bytes()
    )
    with page.expect_download() as passport:
        page.get_by_role("button", name="Passport").click()
    text = Path(passport.value.path()).read_text(encoding="utf-8")
    assert "Passport of worth keeping" in text and "data:video/mp4;base64," in text

    offline = watched.context.new_page()
    asked: list[str] = []
    offline.on("request", lambda request: asked.append(request.url))
    offline.on("console", lambda message: asked.append(message.text))
    target = runs_dir.parent / "passport.html"
    target.write_text(text, encoding="utf-8")
    offline.goto(target.as_uri())
    offline.wait_for_function("[...document.querySelectorAll('video')].every(v => v.readyState >= 1)")
    assert all(address.startswith(("data:", "file:")) for address in asked)
    offline.close()


def _trained_checkpoint(run: FakeRun, step: int) -> None:
    """The configuration as it is frozen for the trainer, and a checkpoint of the pocket model's own LoRA."""
    config = freeze.with_embedded_models(presets.preset("pocket"), run.folder)
    files.dump(config, run.folder.config)
    expert = wan.load_expert(merged_expert.source_of(resolve(config.model), "low_noise"), torch.float32, "cpu")
    adapted, written = adaptation.adapt(expert, config, seed=1), begin(run.folder, step)
    adapted.save(adaptation.checkpoint_file(written, "low_noise"), dict(adapted.named_parameters()))
    commit(run.folder, step, written)


def test_a_checkpoint_is_exported_downloaded_and_removed(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = _completed(runs_dir, HOSTILE)
    _trained_checkpoint(run, 20)
    best.write(run.folder, best.Best(20, "The judge is up.", {}))
    page = _open(watched, app, f"?open={run.folder.id}")
    page.get_by_role("button", name="Export…").click()
    panel = page.get_by_role("region", name="Export")
    assert panel.get_by_label("Checkpoint").input_value() == "best"
    panel.get_by_label("Format").select_option(label="LoRA for diffusers")
    panel.get_by_role("button", name="Export", exact=True).click()
    panel.get_by_text("Reading the checkpoint…").wait_for()
    page.reload()  # it goes on, and the panel is open again
    link = panel.get_by_role("link", name="Download transformer_2.safetensors of LoRA for diffusers, step 20")
    with page.expect_download() as download:
        link.click()
    target = run.folder.exports / "step_000020_diffusers"
    assert download.value.suggested_filename == "transformer_2.safetensors"
    assert Path(download.value.path()).read_bytes() == (target / "transformer_2.safetensors").read_bytes()
    assert str(target) in panel.inner_text() and page.evaluate("window.hacked") is None
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        found = Axe().run(page).response["violations"]
        assert [rule["id"] for rule in found if rule["impact"] in ("serious", "critical")] == []
    panel.get_by_role("button", name="Remove: LoRA for diffusers, step 20").click()
    assert target.is_dir()
    page.keyboard.press("Enter")  # the focus stays on the button, which now says what goes
    until(page, lambda: not target.exists())
    until(page, lambda: panel.locator("li").count() == 0)


def test_an_export_tells_how_far_it_is_and_is_cancelled(
    watched: Any, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _completed(runs_dir, "worth keeping")
    exporter = Path(__file__).resolve().parents[1] / "supervisor" / "fake_exporter.py"
    monkeypatch.setenv(export_jobs.EXPORTER_VARIABLE, shlex.join([sys.executable, str(exporter), "wait"]))
    with AppProcess(runs_dir) as app:
        page = _open(watched, app, f"?open={run.folder.id}")
        page.get_by_role("button", name="Export…").click()
        panel = page.get_by_role("region", name="Export")
        panel.get_by_label("Format").select_option("merged")
        panel.get_by_role("button", name="Export", exact=True).click()
        panel.get_by_text("Writing, 3 of 10 tensors").wait_for()
        assert panel.get_by_role("progressbar").get_attribute("aria-valuenow") == "30"
        panel.get_by_role("button", name="Cancel: Whole weights for diffusers, step 20").click()
        until(page, lambda: panel.locator("li").count() == 0)
        assert [path.name for path in run.folder.exports.iterdir()] == [export_jobs.JOBS]


def test_an_export_that_fails_says_why(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = _completed(runs_dir, "torn")
    _trained_checkpoint(run, 20)
    run.folder.model_paths.write_text("[]")
    page = _open(watched, app, f"?open={run.folder.id}")
    page.get_by_role("button", name="Export…").click()
    panel = page.get_by_role("region", name="Export")
    panel.get_by_role("button", name="Export", exact=True).click()
    said = panel.locator("li [role=status][data-tone=down]")
    said.wait_for()
    assert "model_paths" in said.inner_text() and "Traceback" not in said.inner_text()
    panel.get_by_role("button", name="Remove: LoRA for diffusers, step 20").click()
    until(page, lambda: panel.locator("li").count() == 0)


def test_a_checkpoint_is_tried_in_the_playground(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = _completed(runs_dir, "worth trying")
    page = _open(watched, app, f"?open={run.folder.id}")
    page.get_by_role("button", name="Try step 20 in the Playground").click()
    page.get_by_role("tab", name="Playground", selected=True).wait_for()
    until(page, lambda: page.get_by_label("Model", exact=True).input_value() == f"run:{run.folder.id}")
    until(page, lambda: page.get_by_label("Trained for", exact=True).input_value() == "20")


def test_delete_says_what_goes_and_archive_hides(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    gone, kept = _completed(runs_dir, "to be deleted"), _completed(runs_dir, "to be archived")
    page = _open(watched, app)
    page.get_by_label("Select to be deleted").check()
    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog")
    assert re.search(r"1 checkpoint, 2 videos, \d+ kB", dialog.inner_text())
    dialog.get_by_role("button", name="Keep").click()
    assert gone.folder.exists()
    page.get_by_role("button", name="Delete…").click()
    dialog.get_by_role("button", name="Delete", exact=False).last.click()
    until(page, lambda: _names(page) == ["to be archived"])
    assert not gone.folder.path.exists()

    page.get_by_role("button", name="Details of to be archived").click()
    page.get_by_role("button", name="Archive", exact=True).click()
    page.get_by_text("No run fits these filters.").wait_for()
    assert (read_json(kept.folder.run_info) or {})["archived"] is True
    page.get_by_label("Archived").check()
    until(page, lambda: _names(page) == ["to be archived"])


def test_the_queue_is_moved_with_the_keyboard(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    going = FakeRun(runs_dir, "going")
    going.step(3)
    one, two = (supervisor.enqueue(presets.preset("pocket"), runs_dir, name) for name in ("one", "two"))
    page = _open(watched, app)
    page.locator(".rn-queue li").nth(1).wait_for()
    assert page.locator(".rn-queued b").all_inner_texts() == ["one", "two"]
    page.get_by_role("button", name="Start earlier: two").focus()
    page.keyboard.press("Enter")
    until(page, lambda: page.locator(".rn-queued b").all_inner_texts() == ["two", "one"])
    assert [run.id for run in queue.queued(runs_dir)] == [two.id, one.id]
    page.get_by_role("button", name="Take out of the queue: one").click()
    until(page, lambda: page.locator(".rn-queued b").all_inner_texts() == ["two"])
    row = page.locator(f"[data-run='{going.folder.id}']")
    assert "3 / 60" in row.inner_text()
    going.step(4)
    until(page, lambda: "4 / 60" in row.inner_text())


def test_a_fork_is_started_from_here(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    run = _completed(runs_dir, "the source", learning_rate="0.001")
    page = _open(watched, app, f"?open={run.folder.id}")
    page.get_by_role("button", name="Change and rerun").click()
    page.get_by_role("tab", name="Train", selected=True).wait_for()
    until(page, lambda: page.get_by_label("Learning rate", exact=True).input_value() == "0.001")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_a_screen_reader(
    app: AppProcess, watched: Any, runs_dir: Path, scheme: str
) -> None:
    one, two = _completed(runs_dir, "one"), _completed(runs_dir, "two", learning_rate="0.001")
    supervisor.enqueue(presets.preset("pocket"), runs_dir, "waits")
    chosen = f"open={one.folder.id}&sel={one.folder.id},{two.folder.id}"
    page = watched.open(f"{app.address}/?__theme={scheme}#runs?{chosen}")
    page.wait_for_selector(".rn-charts .ch-line")
    page.wait_for_selector(".rn-saved table")
    page.get_by_role("button", name="Export…").click()
    found = Axe().run(page).response["violations"]
    assert [rule["id"] for rule in found if rule["impact"] in ("serious", "critical")] == []
