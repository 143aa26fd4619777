"""Settings that change while a run goes on, through the real trainer: each acts, and a resumed run makes the same
updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from brightness_trainer import BrightnessScorer
from forked_trainers import ForkedTrainers, log_of
from safetensors.torch import load_file
from torch import Tensor

from rewardfl_app.config import changes as config_changes
from rewardfl_app.config import files
from rewardfl_app.rendering.reward_gradient import RewardGradient
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.runs import changes, checkpoints, control, metrics, settings
from rewardfl_app.runs.changes import Change
from rewardfl_app.runs.control import Request
from rewardfl_app.runs.events import read_events
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.status import read_status
from rewardfl_app.training.__main__ import main
from rewardfl_app.training.live import LiveSettings
from rewardfl_app.training.ranks import Ranks
from rewardfl_app.training.step import TrainingStep

MakeRun = Callable[..., RunFolder]
Result = tuple[list[dict[str, Any]], list[int], dict[str, Tensor]]
Plain = Callable[[dict[str, dict[str, Any]]], Result]
CLOCKS = {"time", "step_seconds", "peak_memory_gb"}
# Settings beside which a change of the field shows: one evaluation at the end, so that steps are what takes time.
BASE: dict[str, dict[str, Any]] = {
    "train": {"max_steps": 4, "save_steps": 2},
    "evaluation": {"eval_steps": 4, "num_samples": 1},
}
# Per live field: the new value, and what else has to be set for it to matter.
CASES: dict[str, tuple[Any, dict[str, dict[str, Any]]]] = {
    "sampling.decode_chunk": (1, {}),
    "reward.reward_weight": (0.3, {}),
    "reward.reward_mean": (0.1, {}),
    "reward.reward_std": (0.5, {}),
    "reward.kl_weight": (2.0, {}),
    "reward.kl_target": (1e-4, {}),
    "reward.kl_steps": ("gradient", {"sampling": {"mid_timestep": 3}}),
    "reward.kl_through_x": (True, {}),
    "reward.anchor_weight": (0.1, {}),
    "reward.gradient_frame_stride": (2, {}),
    "train.learning_rate": (1e-3, {}),
    "train.warmup_steps": (30, {"train": {"lr_scheduler_type": "constant_with_warmup"}}),
    "train.weight_decay": (0.5, {}),
    "train.num_train_epochs": (2, {}),
    "train.max_steps": (3, {}),
    "train.max_grad_norm": (1e-3, {}),
    "train.save_steps": (1, {}),
    "train.save_total_limit": (1, {}),
    "evaluation.eval_steps": (1, {}),
}


@pytest.fixture(autouse=True)
def brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorer, "load", lambda reward, device="cpu": BrightnessScorer())


def train(run: RunFolder) -> int:
    return main([str(run.path)])


def with_base(*more: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {}
    for sections in (BASE, *more):
        for section, values in sections.items():
            merged[section] = {**merged.get(section, {}), **values}
    return merged


def ask_after(step: int, run: RunFolder, *asked: tuple[str, dict[str, Any]], die_at: int | None = None) -> None:
    """Leaves requests (kind, payload) once the run has made this step, as a person would; `die_at`: power cut."""
    update = TrainingStep.update

    def asking(self: TrainingStep, samples: Any, number: int, rate: float) -> Any:
        if number == die_at:
            TrainingStep.update = update  # type: ignore[method-assign]
            raise RuntimeError("power cut")
        values = update(self, samples, number, rate)
        if number == step:
            for kind, payload in asked:
                control.request(run, kind, **payload)  # type: ignore[arg-type]
            if die_at is None:
                TrainingStep.update = update  # type: ignore[method-assign]
        return values

    TrainingStep.update = asking  # type: ignore[method-assign]


def to(field: str, value: Any) -> tuple[str, dict[str, Any]]:
    return "set_field", {"field": field, "value": value}


def result(run: RunFolder) -> Result:
    """Everything that training made: records without clocks, steps of checkpoints, and what the last one holds."""
    records = [{k: v for k, v in r.items() if k not in CLOCKS} for r in metrics.read_all(run.metrics)]
    steps = [checkpoint.step for checkpoint in checkpoints.list_checkpoints(run)]
    saved = (file for file in checkpoints.find(run, "latest").path.glob("*.safetensors") if "random" not in file.stem)
    tensors = {f"{file.stem}/{key}": value for file in saved for key, value in load_file(file).items()}
    return records, steps, tensors


def same(one: Result, other: Result) -> bool:
    (records, steps, tensors), (others, other_steps, values) = one, other
    equal = set(tensors) == set(values) and all(torch.equal(tensors[key], values[key]) for key in tensors)
    return records == others and steps == other_steps and equal


@pytest.fixture(scope="module")
def kept() -> dict[str, Result]:
    """What runs made in which nothing was changed, by their settings."""
    return {}


@pytest.fixture
def plain(make_run: MakeRun, kept: dict[str, Result]) -> Plain:
    """What a run makes in which nothing is changed."""

    def made(more: dict[str, dict[str, Any]]) -> Result:
        key = repr(more)
        if key not in kept:
            run = make_run("plain", **with_base(more))
            assert train(run) == 0
            kept[key] = result(run)
        return kept[key]

    return made


def test_every_live_field_has_a_case() -> None:
    assert set(CASES) == set(config_changes.live_fields())


@pytest.mark.parametrize("field", CASES)
def test_a_live_field_acts_as_if_the_trainer_had_been_started_with_it(
    make_run: MakeRun,
    plain: Plain,
    field: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value, more = CASES[field]
    section, _, name = field.partition(".")
    seen: list[tuple[int | None, int]] = []
    of = RewardGradient.of

    def noting(self: RewardGradient, *arguments: Any) -> Any:
        seen.append((self._chunk, self._stride))
        return of(self, *arguments)

    monkeypatch.setattr(RewardGradient, "of", noting)
    changed, started = make_run("changed", **with_base(more)), make_run("started", **with_base(more))
    ask_after(2, changed, to(field, value))
    assert train(changed) == 0
    in_use = list(dict.fromkeys(seen))

    ask_after(2, started, ("stop_and_save", {}))
    assert train(started) == 0
    config = files.load(started.config)
    section_with = getattr(config, section).model_copy(update={name: value})
    files.dump(config.model_copy(update={section: section_with}), started.config)
    assert train(started) == 0
    assert same(result(changed), result(started))

    # A stride shows in nothing that the brightness of the picture makes: its faces are none.
    if field == "reward.gradient_frame_stride":
        assert in_use == [(4, 1), (4, 2)]
    elif field == "sampling.decode_chunk":
        assert in_use == [(4, 1), (1, 1)]
    else:
        assert not same(result(changed), plain(more))

    [receipt] = control.receipts(changed)
    [change] = changes.read(changed)
    assert change.step == 3 and receipt["message"] == change.sentence and "from step 3 on; it was" in change.sentence
    assert change.sentence in [event["message"] for event in read_events(changed) if event["kind"] == "live"]
    assert config_changes.value(settings.load(changed), field) == value
    assert files.load(changed.config) != settings.load(changed)
    status = read_status(changed)
    assert status is not None and (status.state, status.total) == ("completed", settings.load(changed).train.max_steps)


@pytest.mark.parametrize("die_at", [4, 6])
def test_a_resumed_run_equals_one_that_was_not_interrupted(make_run: MakeRun, die_at: int) -> None:
    """The change holds from step 4 on; what goes on from step 2 or 4 meets it there, and not before."""
    more = with_base({"train": {"max_steps": 6}, "reward": {"kl_target": 1e-3}})
    asked = [to("train.learning_rate", 2e-3), to("reward.kl_weight", 3.0), to("train.max_steps", 7)]
    whole, cut = make_run("whole", **more), make_run("cut", **more)
    ask_after(3, whole, *asked)
    assert train(whole) == 0
    ask_after(3, cut, *asked, die_at=die_at)
    assert train(cut) == 1
    assert train(cut) == 0
    assert same(result(cut), result(whole))
    rates = {r["step"]: r["learning_rate"] for r in metrics.read_all(cut.metrics) if "learning_rate" in r}
    assert rates == {1: 1e-2, 2: 1e-2, 3: 1e-2, 4: 2e-3, 5: 2e-3, 6: 2e-3, 7: 2e-3}
    assert len(control.receipts(cut)) == 3 and control.pending(cut) == []


def test_a_change_beside_a_stop_is_kept_for_the_resume(make_run: MakeRun) -> None:
    run = make_run("run", **with_base())
    ask_after(1, run, to("train.learning_rate", 5e-4), ("stop_and_save", {}))
    assert train(run) == 0 and train(run) == 0
    rates = [r["learning_rate"] for r in metrics.read_all(run.metrics) if "learning_rate" in r]
    assert rates == [1e-2, 5e-4, 5e-4, 5e-4]
    assert [r["message"] for r in control.receipts(run)][0] == "learning_rate is 5e-4 from step 2 on; it was 0.01."


def test_fewer_steps_than_planned_still_end_with_an_evaluation_and_a_checkpoint(make_run: MakeRun) -> None:
    run = make_run("run", **with_base({"train": {"save_steps": 9}, "evaluation": {"eval_steps": 9}}))
    ask_after(3, run, to("train.max_steps", 3))
    assert train(run) == 0
    assert [checkpoint.step for checkpoint in checkpoints.list_checkpoints(run)] == [3]
    assert [r["step"] for r in metrics.read_all(run.metrics) if metrics.is_evaluation(r)] == [0, 3]


def test_a_completed_run_goes_on_when_it_gets_more_steps(make_run: MakeRun) -> None:
    whole, more = make_run("whole", **with_base({"train": {"max_steps": 6}})), make_run("more", **with_base())
    assert train(whole) == 0 and train(more) == 0
    changes.record(more, Change(5, "train.max_steps", 4, 6))
    assert train(more) == 0
    assert all(torch.equal(value, result(whole)[2][key]) for key, value in result(more)[2].items())
    status = read_status(more)
    assert status is not None and (status.state, status.step, status.total) == ("completed", 6, 6)


def test_weights_that_are_raised_later_find_what_they_need(make_run: MakeRun) -> None:
    """All weights train and the divergence begins later: its frozen copy is made at the start."""
    run = make_run("run", **with_base({"lora": {"lora_base_model": "none"}, "reward": {"kl_weight": 0.0}}))
    changes.record(run, Change(3, "reward.kl_weight", 0.0, 0.5))
    changes.record(run, Change(3, "reward.anchor_weight", 0.0, 0.1))
    assert train(run) == 0
    steps = [r for r in metrics.read_all(run.metrics) if "loss" in r]
    assert [r["kl"] is None for r in steps] == [True, True, False, False]
    assert ["anchor" in r for r in steps] == [False, False, True, True]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_clipping_and_decay_change_under_zero(make_run: MakeRun, stage: int) -> None:
    plain = make_run("plain", **with_base())
    zero = make_run("zero", **with_base({"deepspeed": {"zero_stage": stage}}))
    for run in (plain, zero):
        changes.record(run, Change(3, "train.max_grad_norm", 1.0, 1e-3))
        changes.record(run, Change(3, "train.weight_decay", 0.0, 0.5))
        assert train(run) == 0
    want = load_file(checkpoints.find(plain, 4).path / "low_noise.safetensors")
    for key, value in load_file(checkpoints.find(zero, 4).path / "low_noise.safetensors").items():
        torch.testing.assert_close(value, want[key], rtol=1e-4, atol=1e-6)


def test_two_processes_change_together(make_run: MakeRun, forked_trainers: ForkedTrainers) -> None:
    """A request that is there when training begins, and a change that waits for its step; both ranks take both."""
    batch = {"per_device_train_batch_size": 1}
    one = make_run("one", **with_base({"train": {**batch, "gradient_accumulation_steps": 2}}))
    two = make_run("two", **with_base({"train": batch, "deepspeed": {"num_processes": 2}}))
    for run in (one, two):
        control.request(run, "set_field", field="train.learning_rate", value=2e-3)
        changes.record(run, Change(3, "reward.kl_weight", 0.5, 4.0))
    assert forked_trainers.train([one.path])["codes"] == [0], log_of(one.path)
    assert forked_trainers.train([two.path], ranks=2)["codes"] == [0, 0], log_of(two.path, 1)
    rates = [r["learning_rate"] for r in metrics.read_all(two.metrics) if "learning_rate" in r]
    assert rates == [2e-3] * 4
    losses = [[r["loss"] for r in metrics.read_all(run.metrics) if "loss" in r] for run in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert [r["message"] for r in control.receipts(two)] == ["learning_rate is 0.002 from step 1 on; it was 0.01."]


def asked_of(run: RunFolder, field: str, value: Any, step: int = 3) -> tuple[list[Change], str]:
    """What a request before update `step` changes, and its receipt."""
    live = LiveSettings(run, settings.in_force(run, step), Ranks(), step)
    made = live.at(step, [Request("1", "set_field", {"field": field, "value": value})])
    return made, str(control.receipts(run)[-1]["message"])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("train.learning_rate", -1, "above 0"),
        ("train.learning_rate", "fast", "must be a number"),
        ("train.learning_rate", 1e-2, "is 0.01 already"),
        ("train.learning_rate", None, "is empty"),
        ("train.learnin_rate", 1, "did you mean learning_rate"),
        ("train.seed", 1, "new run alone"),
        ("deepspeed.zero_stage", 1, "when a run is resumed"),
        ("train.max_steps", 1, "2 updates are already made"),
        ("reward", 1, "no setting"),
    ],
)
def test_what_cannot_be_changed_is_refused_in_one_sentence(
    make_run: MakeRun, field: str, value: Any, words: str
) -> None:
    run = make_run("run")
    made, message = asked_of(run, field, value)
    assert made == [] and message.startswith("Nothing was changed: ") and words in message
    assert changes.read(run) == []


def test_after_the_last_step_only_more_steps_change_anything(make_run: MakeRun) -> None:
    run = make_run("run")
    assert "the last of its 4 updates" in asked_of(run, "train.learning_rate", 1.0, step=5)[1]
    assert [change.after for change in asked_of(run, "train.max_steps", 9, step=5)[0]] == [9]


def test_a_divergence_without_its_frozen_copy_is_refused(make_run: MakeRun) -> None:
    run = make_run("run", lora={"lora_base_model": "none"}, reward={"kl_weight": 0.0})
    assert "stop the run and resume it" in asked_of(run, "reward.kl_weight", 1.0)[1]
