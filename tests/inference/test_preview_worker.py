"""The preview worker: one model in memory, and the videos are those that `generate` gives."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_family
import torch
from PIL import Image

from rewardfl_app.config import files
from rewardfl_app.data import video
from rewardfl_app.inference import preview_render
from rewardfl_app.inference.__main__ import main
from rewardfl_app.inference.preview_model import PreviewModel
from rewardfl_app.inference.preview_worker import PreviewWorker
from rewardfl_app.models import adaptation, conditioning, lora, wan
from rewardfl_app.models.sources import WeightsError
from rewardfl_app.pocket import paths
from rewardfl_app.runs import checkpoints, previews
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.previews import Preview, PreviewFolder, PreviewRequest

CPU = torch.device("cpu")
REWARD = {"reward_model_path": str(paths.FACE_PACK), "det_size": 96}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_family.make_family(tmp_path_factory.mktemp("family"))


def _checkpoint(run: RunFolder, step: int, value: float) -> Path:
    """A checkpoint whose trained numbers are all `value`: of a LoRA, or a shift of all weights."""
    config = files.load(run.config)
    expert = wan.load(config.model).experts["low_noise"]
    folder = checkpoints.begin(run, step)
    path = adaptation.checkpoint_file(folder, "low_noise")
    if config.lora.lora_base_model == ("none",):
        weights = {name: weight + value for name, weight in expert.named_parameters()}
        adaptation.FullWeights(expert, False, False).save(path, weights)
    else:
        settings = config.lora
        lora.add(expert, settings.lora_target_modules, settings.lora_rank, settings.lora_alpha, seed=0)
        with torch.no_grad():
            for parameter in lora.trainable_parameters(expert):
                parameter.fill_(value)
        lora.save(expert, path)
    return checkpoints.commit(run, step, folder)


@pytest.fixture
def run(family: Path, tmp_path: Path) -> RunFolder:
    """A run with the checkpoints of steps 5 and 9."""
    made = tiny_family.make_run(family, tmp_path / "runs", "trained", reward=REWARD)
    _checkpoint(made, 5, 0.3)
    _checkpoint(made, 9, -0.2)
    return made


@pytest.fixture
def folder(run: RunFolder) -> PreviewFolder:
    return PreviewFolder.of(run.path.parent)


@pytest.fixture
def picture(family: Path, tmp_path: Path) -> Path:
    Image.fromarray(video.read(family / "clip0.mp4", 1)[0]).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


Ask = Callable[..., Preview]


@pytest.fixture
def ask(folder: PreviewFolder, run: RunFolder, picture: Path) -> Ask:
    """Puts a request in line; what is given by name changes it."""

    def put(checkpoint: str | None = "5", strength: float = 1.0, seed: int = 1, of: RunFolder = run) -> Preview:
        request = PreviewRequest(of.path, checkpoint, "a man", seed, strength, {"model": "trained"})
        return previews.add(folder, request, picture)

    return put


def _serve(folder: PreviewFolder, worker: PreviewWorker | None = None) -> PreviewWorker:
    """Serves all that waits, and ends."""
    worker = worker or PreviewWorker(folder, idle_seconds=0.0, device=CPU)
    worker.serve()
    return worker


def _now(preview: Preview) -> Preview:
    found = previews.look(preview.folder)
    assert found is not None
    return found


def _frames(preview: Preview, side: str = "tuned") -> Any:
    assert (now := _now(preview)).state == "done", now.message
    return video.read(preview.video(side))


def _reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The experts that are read from their files from now on."""
    names: list[str] = []
    read = wan.WanModel._read_expert

    def reading(self: wan.WanModel, name: Any) -> Any:
        names.append(name)
        return read(self, name)

    monkeypatch.setattr(wan.WanModel, "_read_expert", reading)
    return names


def test_both_videos_are_those_that_generate_gives(
    ask: Ask, folder: PreviewFolder, run: RunFolder, picture: Path, tmp_path: Path
) -> None:
    preview = ask("5", seed=3)
    _serve(folder)
    for side, checkpoint in (("base", "base"), ("tuned", "5")):
        out = tmp_path / f"{side}.mp4"
        arguments = ["--image", str(picture), "--prompt", "a man", "--seed", "3", "--out", str(out)]
        assert main(["generate", "--run", str(run.path), "--checkpoint", checkpoint, *arguments]) == 0
        assert np.array_equal(video.read(out), _frames(preview, side))
    assert video.probe(preview.side_by_side).num_frames == 9
    result = preview.result()
    assert (result["step"], result["num_steps"], result["fps"]) == (5, 4, 16)
    assert (result["num_frames"], result["height"], result["width"]) == (9, 32, 32)


def test_a_picture_without_a_face_is_a_warning(ask: Ask, folder: PreviewFolder) -> None:
    preview = ask()
    _serve(folder)
    now = _now(preview)
    assert now.state == "done" and now.warning == preview_render.NO_FACE == preview.result()["warning"]
    assert preview.result()["tuned"]["reward"] is None
    assert len((read_json(preview.faces("base")) or {})["frames"]) == 9
    assert now.done == now.total == 12  # two videos of four steps, decoding and scoring


def test_one_model_serves_all_strengths_and_checkpoints(
    ask: Ask, folder: PreviewFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, loads = _reads(monkeypatch), []
    load = lora.load
    monkeypatch.setattr(lora, "load", lambda expert, path: (loads.append(path.parent.name), load(expert, path)))
    none, one, again, two, other = ask("5", 0.0), ask("5"), ask("5"), ask("5", 2.0), ask("9")
    _serve(folder)
    assert read == ["high_noise", "low_noise"]
    assert loads == ["step_000005", "step_000009"]
    assert np.array_equal(_frames(none), _frames(none, "base"))
    assert np.array_equal(_frames(one), _frames(again))
    videos = [_frames(none), _frames(one), _frames(two), _frames(other)]
    assert all(not np.array_equal(a, b) for n, a in enumerate(videos) for b in videos[:n])
    assert np.array_equal(_frames(none, "base"), _frames(other, "base"))


def test_the_same_base_video_is_rendered_once(ask: Ask, folder: PreviewFolder) -> None:
    first, same, other = ask("5", seed=1), ask("9", seed=1), ask("5", seed=2)
    _serve(folder)
    _serve(folder)
    third = ask(None, seed=1)
    _serve(folder)  # another process, later
    assert [preview.result()["base_kept"] for preview in (first, same, other, third)] == [False, True, False, True]
    assert np.array_equal(_frames(first, "base"), _frames(third, "base"))
    assert not third.video("tuned").exists() and third.result()["tuned"] is None


def test_the_prompt_is_encoded_once(ask: Ask, folder: PreviewFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    encode = conditioning.encode_prompts
    monkeypatch.setattr(conditioning, "encode_prompts", lambda *a: (encoded.append(a[1]), encode(*a))[1])
    ask("5", seed=1)
    ask("9", seed=2)
    _serve(folder)
    assert encoded == [["a man"]]


def test_on_a_gpu_what_encodes_makes_room_and_the_same_prompt_needs_it_no_more(run: RunFolder) -> None:
    model = PreviewModel(CPU)
    loaded = model.load(files.load(run.config))
    model._device = torch.device("cuda")  # only what it decides by is another
    first = torch.zeros(3, 32, 32)
    model.text("a man")
    model.condition("digest", first, 9)
    model.make_room()
    assert loaded.resident == {"vae"}
    model.text("a man")
    model.condition("digest", first, 9)
    assert loaded.resident == {"vae"}
    model.text("a woman")
    assert "text_encoder" in loaded.resident


def test_a_run_with_another_rank_or_all_weights_takes_its_turn(
    ask: Ask, family: Path, run: RunFolder, folder: PreviewFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = tiny_family.make_run(family, run.path.parent, "wide", reward=REWARD, lora={"lora_rank": 4})
    whole = {"lora_base_model": "none"}
    whole_run = tiny_family.make_run(family, run.path.parent, "whole", reward=REWARD, lora=whole)
    _checkpoint(wide, 5, 0.3)
    _checkpoint(whole_run, 5, 0.05)
    read = _reads(monkeypatch)
    lone = ask("5")
    other, full, half, back = ask("5", of=wide), ask("5", of=whole_run), ask("5", 0.5, of=whole_run), ask("5")
    _serve(folder)
    assert not np.array_equal(_frames(lone), _frames(other))
    assert not np.array_equal(_frames(full), _frames(half))
    assert np.array_equal(_frames(lone), _frames(back))
    # Whole weights are moved in place, so the base is read again: for another strength, and for the LoRA after them.
    assert read == ["high_noise", "low_noise", "low_noise", "low_noise"]


def test_half_the_strength_is_half_the_way(family: Path, run: RunFolder) -> None:
    whole = tiny_family.make_run(family, run.path.parent, "whole", reward=REWARD, lora={"lora_base_model": "none"})
    path, config = _checkpoint(whole, 5, 0.25), files.load(whole.config)
    model = PreviewModel(CPU)
    model.load(config)
    with model.as_base() as base:
        before = base.experts["low_noise"].proj_out.weight.clone()
    for strength in (1.0, 0.5, 2.0):
        with model.as_tuned(config, path, strength) as tuned:
            change = tuned.experts["low_noise"].proj_out.weight - before
        assert torch.allclose(change, torch.full_like(change, 0.25 * strength), atol=1e-6)
    with model.as_base() as base:
        assert torch.equal(base.experts["low_noise"].proj_out.weight, before)


def test_the_lora_comes_off_without_a_trace(family: Path, run: RunFolder) -> None:
    expert = wan.load(files.load(run.config).model).experts["low_noise"]
    names = list(expert.state_dict())
    lora.add(expert, ("q", "ffn.0"), 2, None, seed=0)
    assert list(expert.state_dict()) != names
    lora.remove(expert)
    assert list(expert.state_dict()) == names


def test_what_is_wrong_with_one_request_does_not_end_the_worker(ask: Ask, folder: PreviewFolder) -> None:
    gone, bad, good = ask("77"), ask("5"), ask("5")
    (bad.picture).write_text("no picture")
    _serve(folder)
    assert (_now(gone).state, _now(bad).state, _now(good).state) == ("failed", "failed", "done")
    assert "no complete checkpoint '77'" in _now(gone).message
    assert "picture.png" in _now(bad).message


def test_a_damaged_checkpoint_is_told_and_the_next_one_is_right(
    ask: Ask, folder: PreviewFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ask("5")
    worker = _serve(folder)
    load = lora.load

    def broken(expert: Any, path: Path) -> None:
        if path.parent.name == "step_000009":
            raise WeightsError(f"LoRA: {path} is missing")
        load(expert, path)

    monkeypatch.setattr(lora, "load", broken)
    bad, again = ask("9"), ask("5", seed=1)
    _serve(folder, worker)
    assert _now(bad).state == "failed" and "step_000009" in _now(bad).message
    assert np.array_equal(_frames(first), _frames(again))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "GPU’s memory was not enough"),
        (MemoryError(), "memory of this machine was not enough"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate"), "memory of this machine was not enough"),
    ],
)
def test_out_of_memory_is_said_and_ends_the_worker(
    ask: Ask, folder: PreviewFolder, monkeypatch: pytest.MonkeyPatch, error: BaseException, words: str
) -> None:
    def render(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(preview_render, "render", render)
    first, second = ask("5"), ask("5")
    _serve(folder)
    assert _now(first).state == "failed" and words in _now(first).message and "max_pixels" in _now(first).message
    assert _now(second).state == "waiting"  # for a fresh process
    assert (read_json(folder.worker) or {})["state"] == "ended"


def test_an_error_nobody_foresaw_names_the_log(
    ask: Ask, folder: PreviewFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def render(*args: Any, **kwargs: Any) -> None:
        raise ValueError("what?")

    monkeypatch.setattr(preview_render, "render", render)
    preview = ask("5")
    _serve(folder)
    assert _now(preview).message == f"ValueError: what? (log: {folder.log})"


def _during(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], object]) -> None:
    """Does something before that denoising step of every rendering."""
    render = preview_render.render

    def rendering(*args: Any, before_step: Callable[[int], None], **kwargs: Any) -> Any:
        def told(now: int) -> None:
            if now == step:
                act()
            before_step(now)

        return render(*args, before_step=told, **kwargs)

    monkeypatch.setattr(preview_render, "render", rendering)


def test_asked_to_leave_it_stops_between_two_steps_and_the_request_waits_again(
    ask: Ask, folder: PreviewFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    preview, later = ask("5"), ask("5")
    _during(monkeypatch, 2, lambda: (seen.append(_now(preview).message), folder.leave.touch()))
    _serve(folder)
    assert seen == ["Base model: step 2 of 4"]
    assert (_now(preview).state, _now(later).state) == ("waiting", "waiting")
    folder.leave.unlink()
    monkeypatch.undo()
    _serve(folder)
    assert (_now(preview).state, _now(later).state) == ("done", "done")


def test_sigterm_is_the_same(ask: Ask, folder: PreviewFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    preview = ask("5")
    worker = PreviewWorker(folder, idle_seconds=60.0, device=CPU)
    _during(monkeypatch, 1, worker.leave)
    _serve(folder, worker)
    assert _now(preview).state == "waiting"


def test_a_request_is_left_off_and_the_next_one_done(
    ask: Ask, folder: PreviewFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwanted, never, wanted = ask("5"), ask("5"), ask("9")
    (never.folder / "cancel").touch()
    _during(monkeypatch, 1, lambda: (unwanted.folder / "cancel").touch())
    _serve(folder)
    assert [_now(one).state for one in (unwanted, never, wanted)] == ["cancelled", "cancelled", "done"]
    assert not (unwanted.folder / "result.json").exists()


def test_it_says_what_it_holds_and_ends_after_idle_time(ask: Ask, folder: PreviewFolder) -> None:
    ask("5")
    worker = PreviewWorker(folder, idle_seconds=0.3, device=CPU)
    told: list[tuple[str, str]] = []
    say = worker._say

    def saying(state: str) -> None:
        say(state)
        told.append((state, (read_json(folder.worker) or {})["model"]))

    worker._say = saying  # type: ignore[method-assign]
    before = time.monotonic()
    worker.serve()
    assert time.monotonic() - before >= 0.3
    assert ("loading", "") in told and ("working", "trained") in told and ("ready", "trained") in told
    assert told[-1] == ("ended", "")
