"""Settings that change after the start: asked of a running run, given at a resume, and read by everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_runs import eventually

from rewardfl_app.config import files
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.runs import changes, control, settings
from rewardfl_app.runs.changes import Change
from rewardfl_app.runs.checkpoints import begin, commit
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.supervisor import placement, supervisor
from rewardfl_app.supervisor.supervisor import AlreadyRunning, NotRunning, SupervisorError

Start = Callable[..., RunFolder]


def stopped(start: Start, step: int = 20) -> RunFolder:
    """A run that has ended, with a checkpoint."""
    run = start("leaves_silently")
    supervisor.wait(run, poll=0.02)
    commit(run, step, begin(run, step))
    return run


def refused(action: Callable[[], object]) -> dict[str, str]:
    with pytest.raises(ConfigError) as error:
        action()
    return {problem.field: problem.message for problem in error.value.problems}


def test_a_live_change_is_asked_of_the_trainer(start: Start) -> None:
    run = start("slow")
    eventually(lambda: supervisor.state(run).state == "training")
    request = supervisor.set_live(run, "train.learning_rate", "1e-4")
    eventually(lambda: any(receipt["id"] == request for receipt in control.receipts(run)))
    content = read_json(run.control / f"{request}.json") or {}
    assert content["kind"] == "set_field"
    assert content["payload"] == {"field": "train.learning_rate", "value": 1e-4}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("train.learning_rate", "-1", "above 0"),
        ("train.learning_rate", "", "is empty"),
        ("train.learning_rate", True, "must be a number"),
        ("train.seed", 7, "new run alone: fork"),
        ("deepspeed.zero_stage", 1, "stop it and resume"),
        ("train.learning_rat", 1, "did you mean learning_rate"),
        ("nonsense", 1, "There is no section nonsense"),
        ("evaluation.eval_steps", 1.5, "whole number"),
    ],
)
def test_what_cannot_be_changed_live_is_refused_beside_its_field(
    start: Start, field: str, value: Any, words: str
) -> None:
    run = start("slow")
    [(name, message)] = refused(lambda: supervisor.set_live(run, field, value)).items()
    assert name == field and words in message
    assert not list(run.control.glob("*.json"))


def test_a_rule_between_fields_refuses_too(start: Start) -> None:
    run = start("slow")
    eventually(lambda: supervisor.state(run).step > 4)
    assert "already made" in refused(lambda: supervisor.set_live(run, "train.max_steps", 1))["train.max_steps"]


def test_only_a_running_run_is_changed_live(start: Start) -> None:
    run = start("completes")
    supervisor.wait(run, poll=0.02)
    with pytest.raises(NotRunning, match="completed"):
        supervisor.set_live(run, "train.learning_rate", 1e-4)
    start("slow")
    with pytest.raises(NotRunning, match="queue"):
        supervisor.set_live(start("slow", queue=True), "train.learning_rate", 1e-4)


def test_resume_with_changes_writes_them_down_and_leaves_the_frozen_settings(start: Start) -> None:
    run = stopped(start)
    frozen = run.config.read_bytes()
    supervisor.resume(run, {"train.learning_rate": "1e-4", "train.max_steps": "40", "reward.kl_target": ""})
    supervisor.wait(run, poll=0.02)
    assert run.config.read_bytes() == frozen
    assert [(change.step, change.field, change.after) for change in changes.read(run)] == [
        (21, "train.learning_rate", 1e-4),
        (21, "train.max_steps", 40),
    ]
    now = supervisor.settings(run)
    assert (now.train.learning_rate, now.train.max_steps) == (1e-4, 40)
    assert settings.in_force(run, 20).train.learning_rate == files.load(run.config).train.learning_rate
    assert settings.in_force(run, 21) == now


def test_what_the_wrapper_starts_follows_the_changes(start: Start) -> None:
    """More processes and fewer batches each; what is given for a start holds wherever it goes on from."""
    run = stopped(start)
    changes.record(run, Change(21, "deepspeed.num_processes", 1, 2))
    assert placement.of(run).num_processes == 2


def test_what_a_resume_refuses_starts_nothing(start: Start) -> None:
    run = stopped(start)
    told = refused(
        lambda: supervisor.resume(run, {"train.seed": 1, "train.max_steps": 10, "nope.x": 1, "train.save_steps": 0})
    )
    assert set(told) == {"train.seed", "nope.x", "train.save_steps"}
    assert (
        "20 updates are already made"
        in refused(lambda: supervisor.resume(run, {"train.max_steps": 10}))["train.max_steps"]
    )
    assert supervisor.state(run).is_finished and changes.read(run) == []
    assert "train_batch_size" in str(refused(lambda: supervisor.resume(run, {"deepspeed.num_processes": 2})))


def test_a_completed_run_goes_on_with_more_steps_alone(start: Start) -> None:
    run = start("completes")
    supervisor.wait(run, poll=0.02)
    commit(run, 3, begin(run, 3))
    with pytest.raises(SupervisorError, match="already completed"):
        supervisor.resume(run)
    with pytest.raises(SupervisorError, match="already completed"):
        supervisor.resume(run, {"train.learning_rate": 1e-4})
    supervisor.resume(run, {"train.max_steps": 6})
    assert supervisor.wait(run, poll=0.02)["cause"] == "completed"
    assert [change.step for change in changes.read(run)] == [4]


def test_a_change_that_was_written_down_is_not_called_undone(start: Start) -> None:
    """The trainer died between writing the change and its receipt."""
    run = stopped(start)
    made = control.request(run, "set_field", field="train.learning_rate", value=1e-4)
    lost = control.request(run, "set_field", field="train.learning_rate", value=2e-4)
    changes.record(run, Change(13, "train.learning_rate", 5e-4, 1e-4, request=made))
    supervisor.resume(run)
    told = {receipt["id"]: receipt for receipt in control.receipts(run)}
    assert told[made]["message"] == "learning_rate is 1e-4 from step 13 on; it was 5e-4."
    assert told[lost]["dismissed"] and "not done" in told[lost]["message"]


def test_deleting_takes_everything_and_only_what_has_ended(start: Start) -> None:
    done, going = stopped(start), start("slow")
    runs_dir = done.path.parent
    outside = runs_dir.parent / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    (done.path / "link").symlink_to(outside)
    with pytest.raises(AlreadyRunning, match="stop it before"):
        supervisor.delete(going)
    waiting = start("slow", queue=True)
    (runs_dir / ".deleted-older-abc").mkdir()
    supervisor.delete(done)
    supervisor.delete(waiting)
    assert sorted(path.name for path in runs_dir.iterdir() if not path.name.startswith(".")) == [going.id]
    assert not list(runs_dir.glob(".deleted-*")) and (outside / "kept.txt").read_text() == "kept"
    assert not (runs_dir / ".queue.json").exists()


def test_a_link_is_not_followed_to_be_deleted(start: Start) -> None:
    run = stopped(start)
    link = RunFolder(run.path.parent / "linked")
    link.path.symlink_to(run.path)
    with pytest.raises(SupervisorError, match="is a link"):
        supervisor.delete(link)
    assert run.exists()
