"""Return code, failure.json and the log's end become a cause, a sentence and a next step."""

from __future__ import annotations

import pytest

from rewardfl_app.supervisor import exit_report
from rewardfl_app.supervisor.exit_report import explain


@pytest.mark.parametrize(
    ("code", "log", "cause", "words"),
    [
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried", "out_of_gpu_memory", "GPU ran out of memory"),
        (1, "RuntimeError: CUDA error: out of memory", "out_of_gpu_memory", "GPU"),
        (1, "RuntimeError: [enforce] DefaultCPUAllocator: can't allocate memory", "out_of_host_memory", "RAM"),
        (1, "Traceback\nMemoryError", "out_of_host_memory", "RAM"),
        (1, "OSError: [Errno 28] No space left on device", "disk_full", "disk is full"),
        (1, "FloatingPointError: non-finite loss at step 4", "non_finite_loss", "not a number"),
        (1, "rewardfl_app.data.errors.DataError: m.csv: Row 3: x", "bad_data", "Row 3"),
        (
            1,
            "rewardfl_app.models.sources.WeightsError: vae: a.safetensors is truncated",
            "bad_weights",
            "a.safetensors",
        ),
        (
            1,
            "RuntimeError: Error(s)\n\tsize mismatch for blocks.0.q.weight: copying",
            "bad_weights",
            "blocks.0.q.weight",
        ),
        (1, "Traceback\nKeyError: 'x'", "unknown", "KeyError: 'x'"),
        (7, "", "unknown", "code 7"),
        (0, "", "unknown", "without finishing"),
        (-11, "", "killed_by_signal", "SIGSEGV"),
        (-9, "", "killed_by_signal", "SIGKILL"),
    ],
)
def test_causes_that_only_the_log_tells(code: int, log: str, cause: str, words: str) -> None:
    report = explain(code, None, log, step=3, total=10)
    assert report.cause == cause
    assert words in report.sentence
    assert report.next_step


def test_what_the_trainer_says_comes_first() -> None:
    failure = {"cause": "bad_data", "sentence": "row 2: no face", "next_step": "remove it"}
    report = explain(2, failure, "torch.OutOfMemoryError: CUDA out of memory")
    assert (report.cause, report.sentence, report.next_step) == ("bad_data", "row 2: no face", "remove it")
    without = explain(2, {"cause": "bad_data", "sentence": "row 2: no face"})
    assert without.next_step == exit_report.NEXT_STEP["bad_data"]


def test_zero_is_success_only_if_the_trainer_said_so() -> None:
    assert explain(0, final_state="completed", total=10).cause == "completed"
    assert explain(0, final_state="stopped", step=4, total=10).sentence == "Stopped as asked at step 4 of 10."
    assert explain(0, final_state="training").cause == "unknown"


def test_a_stop_by_signals_is_a_wanted_stop_only_if_it_was_asked_for() -> None:
    assert explain(-15, stop_asked="stop_now", ended_by_wrapper=True).cause == "stopped"
    assert explain(-9, stop_asked="stop_now", ended_by_wrapper=True).cause == "stopped"
    assert explain(-15, ended_by_wrapper=True).cause == "killed_by_signal"
    assert explain(-11, stop_asked="stop_and_save").cause == "killed_by_signal"


def test_the_kernels_count_tells_a_kill_for_want_of_memory() -> None:
    report = explain(-9, out_of_memory_kill=True, phase="loading")
    assert report.cause == "out_of_host_memory"
    assert "loading" in report.sentence and report.signal == "SIGKILL"


def test_the_launchers_log_tells_the_code_it_hides() -> None:
    log = "[launch.py] ['python'] exits with return code = -9"
    for code in (0, 247):
        report = explain(code, None, log)
        assert (report.return_code, report.signal) == (-9, "SIGKILL")


def test_a_kill_names_no_memory_without_a_sign_of_it() -> None:
    assert "no sign" in explain(-9).sentence
