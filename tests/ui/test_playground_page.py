"""The Playground's form and pictures without a browser: what is asked of the worker, and what is answered instead."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_runs import eventually
from page_run import FakeRun
from PIL import Image

from rewardfl_app.config import files
from rewardfl_app.runs.previews import PreviewFolder
from rewardfl_app.supervisor import preview
from rewardfl_app.supervisor.preview import PreviewList
from rewardfl_app.ui import playground_page, preview_form, preview_pictures
from rewardfl_app.ui.preview_pictures import PictureError

FAKE = Path(__file__).parents[1] / "supervisor" / "fake_previewer.py"


@pytest.fixture(autouse=True)
def stand_in(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(preview.WORKER_VARIABLE, shlex.join([sys.executable, str(FAKE), "wait"]))
    yield
    preview.give_back(runs_dir, wait=2.0)


def _trained(runs_dir: Path) -> FakeRun:
    run = FakeRun(runs_dir, "mine")
    run.checkpoint(10)
    run.checkpoint(20)
    run.finish()
    return run


def _form(run: FakeRun, **changes: Any) -> dict[str, Any]:
    whole = {"model": f"run:{run.folder.id}", "checkpoint": "20", "picture": "person:4", "prompt": "a man nods"}
    return {**whole, "seed": "12", "strength": "1.5", **changes}


def _problems(answer: dict[str, Any]) -> dict[str, str]:
    return {problem["field"]: problem["message"] for problem in answer.get("problems", [])}


def test_the_form_becomes_a_request(runs_dir: Path) -> None:
    run = _trained(runs_dir)
    job = preview_form.start(_form(run), runs_dir)["job"]
    found = preview.find(runs_dir, job)
    assert found is not None
    request = found.request
    assert (request.run, request.checkpoint, request.prompt) == (run.folder.path, "20", "a man nods")
    assert (request.seed, request.strength, request.about["model"]) == (12, 1.5, "mine")


def test_the_base_alone_needs_no_run(runs_dir: Path) -> None:
    form = {"model": "preset:pocket", "checkpoint": "base", "picture": "evaluation:2", "prompt": "x", "seed": 1}
    found = preview.find(runs_dir, preview_form.start({**form, "strength": 1}, runs_dir)["job"])
    assert found is not None and found.request.checkpoint is None
    assert files.load(found.request.run / "config.yaml").model.model_paths


def test_everything_wrong_is_answered_beside_its_field(runs_dir: Path) -> None:
    run = _trained(runs_dir)
    wrong = {"checkpoint": "15", "picture": "", "prompt": "  ", "seed": "twelve", "strength": "3"}
    problems = _problems(preview_form.start(_form(run, **wrong), runs_dir))
    assert set(problems) == {"checkpoint", "picture", "prompt", "seed", "strength"}
    assert "complete are: 10, 20" in problems["checkpoint"]
    assert problems["picture"] == "Choose a picture first."
    gone = _problems(preview_form.start(_form(run, model="run:../x", picture="upload:0000000000000000"), runs_dir))
    assert "choose another" in gone["model"] and "not there any more" in gone["picture"]
    for value in (-1, 2**31, None, True, "1.5", "1e3"):
        assert "seed" in _problems(preview_form.start(_form(run, seed=value), runs_dir))
    for value in ("nan", "inf", "", None, "-0.1"):
        assert "strength" in _problems(preview_form.start(_form(run, strength=value), runs_dir))
    long = _problems(preview_form.start(_form(run, prompt="x" * 2001), runs_dir))
    assert "2001 characters" in long["prompt"]
    assert preview.jobs(runs_dir) == []


def test_a_run_whose_weights_are_gone_says_so_before_anything_is_asked(runs_dir: Path) -> None:
    run = _trained(runs_dir)
    config = files.load(run.folder.config)
    gone = config.model.model_copy(update={"model_paths": "/nowhere/paths.json"})
    files.dump(config.model_copy(update={"model": gone}), run.folder.config)
    problems = _problems(preview_form.start(_form(run), runs_dir))
    assert "/nowhere/paths.json" in problems["model"]


def test_settings_that_cannot_be_read_are_a_sentence(runs_dir: Path) -> None:
    run = _trained(runs_dir)
    run.folder.config.write_text("nonsense: [")
    model = preview_form.find_model(f"run:{run.folder.id}", runs_dir)
    assert model is not None and model.problem.startswith("The settings of this run cannot be read")
    assert preview_form.describe(model, runs_dir)["checkpoints"] == [10, 20]
    assert _problems(preview_form.start(_form(run), runs_dir))["model"] == model.problem


def test_models_and_their_pictures(runs_dir: Path) -> None:
    run, empty = _trained(runs_dir), FakeRun(runs_dir, "no checkpoint")
    rows = preview_form.models(runs_dir)
    assert [(row["title"], row["trained"]) for row in rows] == [
        ("no checkpoint", False),
        ("mine", True),
        (preview_form.PRESET_TITLE, False),
    ]
    model = preview_form.find_model(f"run:{run.folder.id}", runs_dir)
    assert model is not None
    described = preview_form.describe(model, runs_dir)
    assert described["facts"] == "64 × 64, 17 frames at 8 fps, 8 denoising steps; LoRA of rank 16"
    groups = {group["key"]: group["pictures"] for group in described["pictures"]}
    assert list(groups) == ["evaluation", "train"] and len(groups["evaluation"]) == preview_pictures.NUM_SHOWN
    first = groups["evaluation"][0]
    assert first["picture"] == "evaluation:0" and first["thumbnail"].startswith("data:image/jpeg") and first["prompt"]
    untrained = preview_form.find_model(f"run:{empty.folder.id}", runs_dir)
    assert untrained is not None and untrained.checkpoints == []
    assert preview_form.find_model("run:..", runs_dir) is None and preview_form.find_model("preset:x", runs_dir) is None


def _sent(folder: Path, name: str, content: bytes | None = None, size: tuple[int, int] = (120, 80)) -> dict[str, str]:
    path = folder / "hash" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        Image.new("RGB", size, (200, 100, 50)).save(path)
    else:
        path.write_bytes(content)
    return {"path": str(path), "name": name}


def test_an_upload_is_kept_as_png_under_a_name_of_ours(runs_dir: Path, tmp_path: Path) -> None:
    sent = _sent(tmp_path / "up", "me; $(rm) <b>.jpg", size=(6000, 3000))
    picture = preview_pictures.keep_upload(sent, runs_dir, tmp_path / "up")
    assert picture.title == sent["name"] and not Path(sent["path"]).exists()
    path = preview_pictures.find(picture.picture, None, runs_dir)
    assert path.parent == PreviewFolder.of(runs_dir).pictures and Image.open(path).size == (4096, 2048)
    again = preview_pictures.described(picture.picture, None, runs_dir)
    assert again is not None and again.thumbnail == picture.thumbnail


@pytest.mark.parametrize(
    ("name", "content", "size", "words"),
    [
        ("me.gif", None, (120, 80), "is not one of"),
        ("me.png", b"no picture", (0, 0), "cannot be read as a picture"),
        ("me.png", b"", (0, 0), "is empty"),
        ("tiny.png", None, (8, 200), "8 x 200 pixels"),
    ],
)
def test_other_uploads_are_refused(
    runs_dir: Path, tmp_path: Path, name: str, content: bytes | None, size: tuple[int, int], words: str
) -> None:
    with pytest.raises(PictureError, match=words):
        preview_pictures.keep_upload(_sent(tmp_path / "up", name, content, size), runs_dir, tmp_path / "up")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "upload:../../x",
        "upload:",
        "result:../x",
        "person:-1",
        "person:99999999999",
        "evaluation:999",
        "train:x",
        "x",
    ],
)
def test_only_pictures_that_were_offered_are_found(runs_dir: Path, name: str) -> None:
    with pytest.raises(PictureError):
        preview_pictures.find(name, None, runs_dir)
    assert preview_pictures.described(name, None, runs_dir) is None


def test_a_drawn_person_is_the_same_for_the_same_seed(runs_dir: Path) -> None:
    first = preview_pictures.draw_person(3, runs_dir)
    path = preview_pictures.find(first.picture, None, runs_dir)
    content = path.read_bytes()
    path.unlink()
    assert preview_pictures.find(first.picture, None, runs_dir).read_bytes() == content
    assert preview_pictures.draw_person(4, runs_dir).prompt != first.prompt


def test_only_the_newest_pictures_are_kept(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_pictures, "KEPT", 3)
    for seed in range(5):
        preview_pictures.draw_person(seed, runs_dir)
    assert len(list(PreviewFolder.of(runs_dir).pictures.iterdir())) == 3


def test_the_tick_tells_who_has_the_device(runs_dir: Path) -> None:
    run = _trained(runs_dir)
    rows = [{"id": run.folder.id, "name": "mine", "state": "training"}, {"id": "q", "name": "next", "state": "queued"}]
    run.folder.exit.unlink()  # it trains again: this process plays the trainer
    listed = PreviewList(runs_dir)
    assert playground_page.page_payload(listed, rows, runs_dir)["training"] == {"run": run.folder.id, "name": "mine"}
    job = preview_form.start(_form(run), runs_dir)["job"]
    shown = playground_page.page_payload(listed, rows, runs_dir)
    assert [(row["id"], row["state"]) for row in shown["going_on"]] == [(job, "waiting")]
    assert shown["worker"]["state"] == "off" and shown["finished"] == []
    run.finish()
    shown = playground_page.page_payload(listed, [], runs_dir)
    assert shown["training"] is None and preview.state(runs_dir).is_on


def test_results_are_files_of_the_runs_folder(runs_dir: Path, tmp_path: Path) -> None:
    run = _trained(runs_dir)
    job = preview_form.start(_form(run), runs_dir)["job"]
    (PreviewFolder.of(runs_dir).results / job / "go").touch()
    eventually(lambda: (found := preview.find(runs_dir, job)) is not None and found.state == "done")
    row = playground_page.results(runs_dir, [job, "../x", "nothing"])[0]
    assert row["step"] == 20 and row["values"]["base"]["reward"] == 0.6 and row["values"]["tuned"]["reward"] == 0.7
    for path in (row["picture"], row["base"]["video"], row["tuned"]["faces"], row["side_by_side"]):
        assert Path(path).is_relative_to(runs_dir.resolve())
    assert len(playground_page.results(runs_dir, [job, "../x"])) == 1
