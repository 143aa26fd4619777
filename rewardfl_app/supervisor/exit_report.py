"""What became of a run, in words: {cause, sentence, next step} for every way the trainer can end.

The trainer's own account (failure.json) comes first, because only it knows the row or the file. What the trainer could
not write itself is read from the return code and the end of the log. What neither explains is called unknown.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from rewardfl_app.config.secrets import redacted
from rewardfl_app.supervisor.rank_watch import LostRank

COMPLETED = "completed"
STOPPED = "stopped"
OUT_OF_GPU_MEMORY = "out_of_gpu_memory"
OUT_OF_HOST_MEMORY = "out_of_host_memory"
DISK_FULL = "disk_full"
NON_FINITE_LOSS = "non_finite_loss"
BAD_CONFIG = "bad_config"
BAD_DATA = "bad_data"
BAD_WEIGHTS = "bad_weights"
KILLED_BY_SIGNAL = "killed_by_signal"
PROCESS_LOST = "process_lost"
LOST = "lost"
UNKNOWN = "unknown"

GOOD_CAUSES = frozenset({COMPLETED, STOPPED})
INPUT_CAUSES = frozenset({BAD_CONFIG, BAD_DATA, BAD_WEIGHTS})

NEXT_STEP: dict[str, str] = {
    COMPLETED: "Compare the videos before and after.",
    STOPPED: "Resume to continue from the last checkpoint, or compare what there is.",
    OUT_OF_GPU_MEMORY: (
        "Lower data.num_frames, data.max_pixels or train.per_device_train_batch_size (raise "
        "train.gradient_accumulation_steps instead), take fewer gradient steps (a higher sampling.mid_timestep), or "
        "turn on model.use_gradient_checkpointing_offload; then start again."
    ),
    OUT_OF_HOST_MEMORY: (
        "Free memory on this machine or lower what is kept there: deepspeed.offload_optimizer and "
        "model.use_gradient_checkpointing_offload off, smaller evaluation.batch_size, fewer processes; then resume."
    ),
    DISK_FULL: "Free space on the disk of the runs folder (old checkpoints are the largest files), then resume.",
    NON_FINITE_LOSS: "Lower train.learning_rate or train.max_grad_norm, or use model.dtype float32, and start again.",
    BAD_CONFIG: "Correct the setting and start again.",
    BAD_DATA: "Correct or remove that row of the metadata file and start again.",
    BAD_WEIGHTS: "Download or copy that file again, or correct its path, and start again.",
    KILLED_BY_SIGNAL: "Resume to continue from the last checkpoint.",
    PROCESS_LOST: (
        "Read what that process wrote last in train.log; resume continues from the last checkpoint, and a process that "
        "needs longer is waited for with a higher deepspeed.timeout_minutes."
    ),
    LOST: "Resume to continue from the last checkpoint.",
    UNKNOWN: "Read the end of train.log; resume continues from the last checkpoint.",
}

_NUMBERED_LAUNCHER_EXIT = re.compile(r"exits with return code = (-?\d+)")
_GPU_MEMORY = re.compile(
    r"CUDA out of memory|HIP out of memory|torch\.(?:cuda\.)?OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED|"
    r"CUDNN_STATUS_ALLOC_FAILED|CUDA error: out of memory"
)
_HOST_MEMORY = re.compile(
    r"DefaultCPUAllocator|^MemoryError\b|Cannot allocate memory|std::bad_alloc|Unable to allocate .*array", re.MULTILINE
)
_DISK = re.compile(r"No space left on device|Errno 28|Disk quota exceeded|Errno 122")
_NON_FINITE = re.compile(r"non-finite|not finite|NonFinite", re.IGNORECASE)
_DATA_ERROR = re.compile(r"^(?:[\w.]+\.)?(?:DataError|VideoError): (.+)$", re.MULTILINE)
_WEIGHTS_ERROR = re.compile(
    r"^(?:[\w.]+\.)?("
    r"(?:PackError|WeightsError|SafetensorError): .+|.*(?:size mismatch for|[Mm]issing key|[Uu]nexpected key).+)$",
    re.MULTILINE,
)
_LAST_EXCEPTION = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b.*)$", re.MULTILINE)


@dataclass(frozen=True)
class ExitReport:
    """The content of exit.json. `signal` is the name of the signal that ended the trainer, or None; `return_code` is
    None where nobody was there to see it."""

    return_code: int | None
    signal: str | None
    cause: str
    sentence: str
    next_step: str

    def as_dict(self) -> dict[str, object]:
        """The report as the JSON object of exit.json."""
        return asdict(self)


def explain(
    return_code: int | None,
    failure: Mapping[str, object] | None = None,
    log_tail: str = "",
    *,
    final_state: str | None = None,
    step: int | None = None,
    total: int | None = None,
    phase: str | None = None,
    stop_asked: str | None = None,
    out_of_memory_kill: bool = False,
    ended_by_wrapper: bool = False,
    lost_rank: LostRank | None = None,
    restarted: bool = False,
) -> ExitReport:
    """Explain how a trainer ended.

    return_code: as subprocess reports it, negative for a signal; None where nobody saw it. failure: failure.json, if
    the trainer wrote one.
    log_tail: the end of train.log. final_state, step, total, phase: the last status. stop_asked: kind of the stop
    request that was made (stop_and_save or stop_now). out_of_memory_kill: the kernel counted an out-of-memory kill
    meanwhile. ended_by_wrapper: the wrapper itself sent the signals (the later stages of a stop). lost_rank: the one of
    several processes that went first. restarted: the machine was since.
    """
    code = _real_return_code(return_code, log_tail)
    if lost_rank is not None and lost_rank.code is not None:
        code = lost_rank.code
    name = _signal_name(code)
    where = f" at step {step} of {total}" if step is not None and total else (f" at step {step}" if step else "")
    during = f" while {phase}" if phase else ""
    next_step: str | None = None
    if failure and failure.get("sentence"):
        cause, sentence = str(failure.get("cause") or UNKNOWN), str(failure["sentence"])
        next_step = str(failure["next_step"]) if failure.get("next_step") else None
    elif final_state == COMPLETED:  # its last word: everything is saved, whatever befell it on its way out
        cause, sentence = COMPLETED, f"Completed{f' all {total} steps' if total else ''}."
    elif final_state == STOPPED:
        cause, sentence = STOPPED, f"Stopped as asked{where}."
    elif stop_asked and lost_rank is None and (code == 0 or ended_by_wrapper):
        unsaved = "" if stop_asked == "stop_now" else " It did not finish its step in time, so that step is not saved."
        cause, sentence = STOPPED, f"Stopped as asked{where}.{unsaved}"
    elif _GPU_MEMORY.search(log_tail):
        cause, sentence = OUT_OF_GPU_MEMORY, f"The GPU ran out of memory{during}{where}."
    elif out_of_memory_kill or (code != -signal.SIGKILL and _HOST_MEMORY.search(log_tail)):
        cause, sentence = OUT_OF_HOST_MEMORY, f"This machine ran out of memory (RAM){during}{where}."
    elif _DISK.search(log_tail):
        cause, sentence = DISK_FULL, f"The disk is full: a file of the run could not be written{where}."
    elif lost_rank is not None:
        cause, sentence = PROCESS_LOST, _lost_rank_sentence(lost_rank, code, name, during, where)
    elif code is None:
        cause, sentence = LOST, lost_sentence(where, restarted)
    elif name is not None:
        cause, sentence = KILLED_BY_SIGNAL, _signal_sentence(code, name, where, ended_by_wrapper)
        next_step = _signal_next_step(code)
    else:
        cause, sentence = _from_log(code, log_tail, where)
    return ExitReport(code, name, cause, redacted(sentence), next_step or NEXT_STEP.get(cause, NEXT_STEP[UNKNOWN]))


def _from_log(code: int, log_tail: str, where: str) -> tuple[str, str]:
    """Cause and sentence as far as the end of the log tells them."""
    if match := _DATA_ERROR.search(log_tail):
        return BAD_DATA, match.group(1).strip()
    if match := _WEIGHTS_ERROR.search(log_tail):
        return BAD_WEIGHTS, match.group(1).strip()
    exceptions = _LAST_EXCEPTION.findall(log_tail)
    if exceptions and _NON_FINITE.search(exceptions[-1]):
        return NON_FINITE_LOSS, f"The loss became infinite or not a number{where}."
    if exceptions:
        return UNKNOWN, f"The trainer failed{where} for a reason unknown to this program: {exceptions[-1].strip()}"
    ended = "ended" if code == 0 else f"ended with code {code}"
    return UNKNOWN, f"The trainer {ended}{where} without finishing and did not say why; the cause is unknown."


def lost_sentence(where: str, restarted: bool) -> str:
    """What is said of a run whose processes are gone without a word."""
    why = "the machine was restarted while it ran" if restarted else "it was killed together with what watches over it"
    return f"The run's process is gone{where} and left no word: {why}."


def never_started() -> dict[str, object]:
    """The account of a run that left the queue before its turn, in exit.json's form (return_code is None)."""
    sentence, next_step = "Taken out of the queue before it started.", "Resume starts it from its first step."
    return {"return_code": None, "signal": None, "cause": STOPPED, "sentence": sentence, "next_step": next_step}


def _lost_rank_sentence(lost: LostRank, code: int | None, name: str | None, during: str, where: str) -> str:
    """Which process went, how, and that the others were ended."""
    which = f"One of the {lost.size} processes"
    who = which if lost.number is None else f"Process {lost.number} of {lost.size} (counted from 0)"
    if lost.silent_seconds is not None:
        return f"{who} gave no sign of life for {_duration(lost.silent_seconds)}{during}{where}: the run was ended."
    if name is not None:
        return f"{who} was killed ({name}){during}{where}: the others were ended."
    ended = "ended" if code is None else f"ended with code {code}"
    return f"{who} {ended}{during}{where} while the others went on: they were ended."


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _real_return_code(return_code: int | None, log_tail: str) -> int | None:
    """The trainer's return code; DeepSpeed's launcher hides it (0 or 256 - n for signal n) and writes it in the log."""
    found = _NUMBERED_LAUNCHER_EXIT.findall(log_tail)
    if found and (return_code is None or return_code >= 0):
        return int(found[-1])
    return return_code


def _signal_name(code: int | None) -> str | None:
    if code is None or code >= 0:
        return None
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _signal_sentence(code: int, name: str, where: str, ended_by_wrapper: bool) -> str:
    if ended_by_wrapper:
        return f"The run was told to end by a signal from outside{where}, as a shutdown of the machine sends it."
    if code == -signal.SIGKILL:
        return (
            f"The trainer was killed from outside ({name}){where}. The system does that when its memory runs out, but "
            "no sign of that was found."
        )
    if code in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGILL, -signal.SIGFPE):
        return f"The trainer crashed in native code ({name}){where}."
    return f"The trainer was ended by {name} from outside{where}."


def _signal_next_step(code: int) -> str:
    if code == -signal.SIGKILL:
        return "Resume to continue from the last checkpoint; if it happens again, watch the memory of this machine."
    if code == -signal.SIGILL:
        return "A compiled library does not fit this processor: read the end of train.log."
    return NEXT_STEP[KILLED_BY_SIGNAL]
