"""A checkpoint is whole or not there, whatever cut off its writing, and spoilt bytes are not resumed from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rewardfl_app.runs import checkpoints
from rewardfl_app.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "x")


def written(run: RunFolder, step: int, content: bytes = b"weights") -> Path:
    path = checkpoints.begin(run, step)
    (path / "a.safetensors").write_bytes(content)
    (path / "b.json").write_bytes(b"{}")
    return path


def save(run: RunFolder, step: int, content: bytes = b"weights") -> Path:
    return checkpoints.commit(run, step, written(run, step, content))


def steps(run: RunFolder) -> list[int]:
    return [found.step for found in checkpoints.list_checkpoints(run)]


class _Cut(BaseException):
    """A process that ends here."""


def test_cut_off_at_any_moment_the_former_or_the_new_one_is_there(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call that changes the folder's names, in turn, is the last one of its process, before and after it."""
    save(run, 3, b"former")
    shutil.copytree(run.path, run.path.with_name("kept"))
    moments = 0
    for after in (False, True):
        for number in range(20):
            shutil.rmtree(run.path)
            shutil.copytree(run.path.with_name("kept"), run.path)
            new = written(run, 3, b"newer!")
            count = iter(range(100))

            def cutting(real: Callable[..., None], after: bool = after, number: int = number, count=count):  # type: ignore[no-untyped-def]
                def call(*arguments: object, **named: object) -> None:
                    mine = next(count) == number
                    if mine and not after:
                        raise _Cut
                    real(*arguments, **named)
                    if mine:
                        raise _Cut

                return call

            with monkeypatch.context() as patch:
                patch.setattr(os, "rename", cutting(os.rename))
                patch.setattr(os, "replace", cutting(os.replace))
                patch.setattr(shutil, "rmtree", cutting(shutil.rmtree))
                try:
                    checkpoints.commit(run, 3, new)
                    break
                except _Cut:
                    moments += 1
            checkpoints.recover(run)
            latest = checkpoints.latest(run)
            assert latest is not None and latest.step == 3, (number, after)
            assert (latest.path / "a.safetensors").read_bytes() in (b"former", b"newer!")
            assert [path.name for path in run.checkpoints.iterdir()] == ["step_000003"], (number, after)
    assert moments >= 8


def test_what_was_being_written_is_kept_only_when_it_was_sealed(run: RunFolder) -> None:
    save(run, 2)
    written(run, 4)
    assert "cut off" in checkpoints.recover(run)[0]
    assert steps(run) == [2]
    sealed = save(run, 6)
    sealed.rename(checkpoints.temporary(run, 6))
    assert steps(run) == [2]
    assert "kept" in checkpoints.recover(run)[0]
    assert steps(run) == [2, 6]
    assert checkpoints.recover(run) == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: (path / "a.safetensors").write_bytes(b"weighty"), "not what was written"),
        (lambda path: (path / "a.safetensors").write_bytes(b"\0" * 7), "not what was written"),
    ],
)
def test_spoilt_bytes_are_put_aside_and_the_one_before_is_the_newest(
    run: RunFolder, spoil: Callable[[Path], None], words: str
) -> None:
    save(run, 2)
    newest = save(run, 4)
    spoil(newest)
    assert steps(run) == [2, 4]  # the sizes are right
    told = checkpoints.recover(run)
    assert len(told) == 1 and "step 4" in told[0] and words in told[0]
    assert steps(run) == [2] and (run.checkpoints / "damaged_step_000004" / "a.safetensors").exists()


def test_a_file_cut_short_missing_or_no_file_is_not_complete(run: RunFolder) -> None:
    path = save(run, 2)
    assert checkpoints.flaw(path) is None and checkpoints.num_bytes(path) == 9
    (path / "a.safetensors").write_bytes(b"weight")
    assert checkpoints.flaw(path) == "a.safetensors has 6 bytes of 7" and steps(run) == []
    (path / "a.safetensors").unlink()
    assert checkpoints.flaw(path) == "a.safetensors is missing"
    os.mkfifo(path / "a.safetensors")
    assert checkpoints.flaw(path) == "a.safetensors is no file"


def test_the_newest_and_the_named_ones_stay(run: RunFolder) -> None:
    for step in (1, 2, 3, 4, 5):
        save(run, step)
    written(run, 6)
    assert checkpoints.remove_old(run, 2, steps=(1,)) == [2, 3]
    assert steps(run) == [1, 4, 5] and checkpoints.temporary(run, 6).exists()
    assert checkpoints.remove_old(run, 9) == []
