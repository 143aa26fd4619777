"""Scoring a video beside the runs: a detached child process per job, and all that is known of it in its folder.

RUNS_DIR/.faces/ID/ holds request.json (what the child is asked), job.json (what the page says of it), process.json,
status.json (the child's own account), log.txt and the scored files. A folder is a job exactly when it has process.json.
The newest are kept; what a job made for a sample of a run (its heat map) lies with the sample.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.runs import file_lock, typed
from rewardfl_app.runs.folder import RunError
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.supervisor import child_job
from rewardfl_app.supervisor.child_job import ChildJob

FOLDER = ".faces"
KEPT = 20
MOST_RUNNING = 3
SCORER_VARIABLE = "REWARDFL_SCORER"

Kind = Literal["score", "heat"]
_ID = re.compile(r"\d{8}-\d{6}-\d{3}-[0-9a-f]{4}")


class FaceJobError(RunError):
    """A job cannot be started; the message is one sentence."""


@dataclass(frozen=True)
class FaceJob(ChildJob):
    """One job as it stands; `done` of `total` frames.

    `target` is the folder the files go to: the job's own, or for a heat map that of the scored video. `about` is what
    the page asked to be remembered.
    """

    kind: Kind
    title: str
    created: float
    target: Path
    about: Mapping[str, Any]


def score(
    runs_dir: Path,
    video: Path,
    reward: RewardConfig,
    title: str,
    reference: Path | None = None,
    about: Mapping[str, Any] | None = None,
) -> FaceJob:
    """Score a video against `reference` (image or video; None: its own first frame), from copies in the job's folder.

    Raises FaceJobError when too many jobs are running or the folder cannot be written.
    """
    with _prepared(runs_dir) as folder:
        # Fixed names: nothing of a file's own name reaches the file system.
        copied = {"video": _copy(video, folder / "input"), "reference": None}
        if reference is not None:
            copied["reference"] = _copy(reference, folder / "reference_input")
        request = {**copied, "out": folder, "write": ["video", "faces", "crops"], "check_insightface": False}
        return _start(folder, "score", title, folder, request, reward, about or {})


def heat_map(
    runs_dir: Path, target: Path, reference: Path | None, reward: RewardConfig, about: Mapping[str, Any] | None = None
) -> FaceJob:
    """Write heat.mp4 and heat.json into `target`, the folder of a scored video; a job that does so already is returned.

    Raises FaceJobError.
    """
    target = target.resolve()
    same = (job for job in list_jobs(runs_dir) if job.kind == "heat" and job.target == target and not job.is_finished)
    if (going_on := next(same, None)) is not None:
        return going_on
    with _prepared(runs_dir) as folder:
        request = {"video": target / "video.mp4", "reference": reference, "out": target, "write": ["heat"]}
        return _start(folder, "heat", target.name, target, request, reward, about or {})


def list_jobs(runs_dir: Path) -> list[FaceJob]:
    """Every job, newest first."""
    return [job for name in _names(runs_dir / FOLDER) if (job := look(runs_dir / FOLDER / name)) is not None]


def find(runs_dir: Path, job_id: str) -> FaceJob | None:
    """The job of this id, None when there is none."""
    return look(runs_dir / FOLDER / job_id) if _ID.fullmatch(job_id) else None


def look(folder: Path) -> FaceJob | None:
    """The job in this folder as its files and its process tell; None when the folder is no job."""
    about, account = read_json(folder / "job.json"), child_job.account(folder, "scoring process")
    if about is None or account is None:
        return None
    account["message"] = _in_their_words(account["message"], folder, about)
    return FaceJob(
        folder=folder,
        kind="heat" if about.get("kind") == "heat" else "score",
        title=str(about.get("title") or folder.name),
        created=typed.seconds(about.get("created")) or 0.0,
        target=Path(str(about.get("target") or folder)),
        about=typed.mapping(about.get("about")),
        **account,
    )


def _in_their_words(message: str, folder: Path, about: Mapping[str, Any]) -> str:
    """The child's sentence with the person's own file names in place of the copies' paths."""
    reference = str(typed.mapping(about.get("about")).get("reference") or "the reference")
    copied = re.escape(str(folder)) + r"/"
    message = re.sub(copied + r"reference_input\.\w+", lambda _: reference, message)
    return re.sub(copied + r"input\.\w+", lambda _: str(about.get("title") or "the video"), message)


def cancel(job: FaceJob) -> None:
    """End the job's processes; what was written so far stays. A job that is finished is left as it is."""
    child_job.cancel(job)


def delete(job: FaceJob) -> None:
    """Remove the folder of a job, ending it first. Raises OSError."""
    cancel(job)
    shutil.rmtree(job.folder)


class JobList:
    """The jobs for a page that asks every second: those that are finished are read once."""

    def __init__(self, runs_dir: Path) -> None:
        self._folder = runs_dir / FOLDER
        self._finished: dict[str, FaceJob] = {}

    def jobs(self) -> list[FaceJob]:
        """Every job, newest first."""
        names = _names(self._folder)
        self._finished = {name: job for name, job in self._finished.items() if name in set(names)}
        found = []
        for name in names:
            job = self._finished.get(name) or look(self._folder / name)
            if job is None:
                continue
            if job.is_finished:
                self._finished[name] = job
            found.append(job)
        return found


@contextlib.contextmanager
def _prepared(runs_dir: Path) -> Iterator[Path]:
    """A fresh job folder, after what is too old was removed; one start at a time, also from another process."""
    root = runs_dir.absolute() / FOLDER
    folder: Path | None = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        with file_lock.held(root / ".lock"):
            _refuse_crowd(list_jobs(runs_dir))
            _prune(root)
            folder = root / _new_id()
            folder.mkdir()
            yield folder
    except OSError as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise FaceJobError(f"The video cannot be put into {root} ({reason}): free space there.") from error


def _start(
    folder: Path,
    kind: Kind,
    title: str,
    target: Path,
    request: Mapping[str, Any],
    reward: RewardConfig,
    about: Mapping[str, Any],
) -> FaceJob:
    path = folder / "request.json"
    content = {**request, "reward": reward.model_dump(mode="json"), "status": folder / "status.json"}
    write_json_atomic(path, content)
    described = {"kind": kind, "title": title, "created": time.time(), "target": target, "about": about}
    write_json_atomic(folder / "job.json", described)
    child_job.begin(folder, "scorer", child_job.command(SCORER_VARIABLE, "score", "--request", str(path)))
    job = look(folder)
    assert job is not None
    return job


def _copy(source: Path, target: Path) -> Path:
    target = target.with_suffix(source.suffix.lower())
    shutil.copyfile(source, target)
    return target


def _refuse_crowd(jobs: Sequence[FaceJob]) -> None:
    running = sum(not job.is_finished for job in jobs)
    if running >= MOST_RUNNING:
        raise FaceJobError(f"{running} videos are being worked on already: wait for one of them, or cancel it.")


def _prune(root: Path) -> None:
    """Remove the oldest finished jobs of each kind so that with a new one KEPT stay, and folders that never started."""
    count = {"score": 0, "heat": 0}
    for name in _names(root):
        job = look(root / name)
        if job is None:
            shutil.rmtree(root / name, ignore_errors=True)
            continue
        count[job.kind] += 1
        if job.is_finished and count[job.kind] >= KEPT:
            shutil.rmtree(root / name, ignore_errors=True)


def _names(root: Path) -> list[str]:
    try:
        return sorted((entry.name for entry in os.scandir(root) if _ID.fullmatch(entry.name)), reverse=True)
    except OSError:
        return []


_NAMING = threading.Lock()


def _new_id() -> str:
    """UTC time to the millisecond, so that ids sort by time, and four digits of chance."""
    with _NAMING:
        time.sleep(0.001)
        now = datetime.now(UTC)
        return f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}-{secrets.token_hex(2)}"
