"""What the Faces page asks for: scoring a video of one's own, and heat maps of what was scored."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardfl_app.config import files
from rewardfl_app.config.paths import located
from rewardfl_app.config.presets import preset
from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.config.validation import ConfigError, build
from rewardfl_app.data.errors import DataError
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.runs.samples import Sample
from rewardfl_app.supervisor import face_jobs, supervisor
from rewardfl_app.supervisor.face_jobs import FaceJob, FaceJobError
from rewardfl_app.supervisor.freeze import EMBEDDED_FAMILY, with_embedded_scorers
from rewardfl_app.ui.dataset_view import embedded_clips
from rewardfl_app.ui.media import PICTURE_SUFFIXES, thumbnail
from rewardfl_app.ui.uploads import VIDEO_SUFFIXES, Upload, UploadError, accept

NUM_EXAMPLES = 6
PATH_LIMIT = 4096


class PackProblem(Exception):
    """The face pack that was chosen cannot be used; `field` is the form's."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def start(request: Mapping[str, Any], runs_dir: Path, uploads: Path) -> dict[str, Any]:
    """Score the video of the form. Returns {job} or {problems: [{field, message}]}.

    Args:
        request: {video: {path, name} or example: number, reference: {path, name} or None, pack: pocket, run or folder,
            folder, judge, run, det_size} as the page holds them.
        uploads: the folder the server puts uploaded files into.
    """
    problems: list[dict[str, str]] = []
    video = reference = None
    reward, pack = RewardConfig(), ""
    try:
        video = _video(request, runs_dir, uploads)
    except (UploadError, DataError) as error:
        problems.append({"field": "video", "message": str(error)})
    except OSError as error:
        sentence = f"The sample clips cannot be made in {runs_dir} ({error.strerror}): free space there."
        problems.append({"field": "video", "message": sentence})
    try:
        if request.get("reference"):
            reference = accept(request["reference"], VIDEO_SUFFIXES | PICTURE_SUFFIXES, uploads)
    except UploadError as error:
        problems.append({"field": "reference", "message": str(error)})
    try:
        reward, pack = _pack(request, runs_dir)
    except PackProblem as error:
        problems.append({"field": error.field, "message": str(error)})
    try:
        if problems or video is None:
            return {"problems": problems}
        return _start(video, reference, reward, pack, runs_dir)
    finally:
        for sent in (video, reference):
            if sent is not None and sent.path.is_relative_to(uploads.resolve()):
                shutil.rmtree(sent.path.parent, ignore_errors=True)  # a folder of its own, named by the file's hash


def check(request: Mapping[str, Any], runs_dir: Path) -> dict[str, Any]:
    """What is wrong with the form besides its files, told before a large file is sent: {problems}."""
    try:
        _pack(request, runs_dir)
    except PackProblem as error:
        return {"problems": [{"field": error.field, "message": str(error)}]}
    return {"problems": []}


def _start(video: Upload, reference: Upload | None, reward: RewardConfig, pack: str, runs_dir: Path) -> dict[str, Any]:
    about = {"pack": pack, "det_size": reward.det_size, "reference": reference.name if reference else None}
    try:
        job = face_jobs.score(runs_dir, video.path, reward, video.name, reference.path if reference else None, about)
    except FaceJobError as error:
        return {"problems": [{"field": "", "message": str(error)}]}
    return {"job": job.id}


def start_again(runs_dir: Path, job: FaceJob | None) -> dict[str, Any]:
    """Score the video of a job that failed or was cancelled once more, in its place. Returns {job} or {error}."""
    request = read_json(job.folder / "request.json") if job is not None and job.is_finished else None
    if job is None or request is None or job.kind != "score" or not Path(str(request.get("video"))).is_file():
        return {"error": "That video is not there any more: choose it again."}
    reference = Path(request["reference"]) if request.get("reference") else None
    try:
        reward = checked(request.get("reward") or {})
        again = face_jobs.score(runs_dir, Path(request["video"]), reward, job.title, reference, job.about)
        face_jobs.delete(job)
    except (FaceJobError, PackProblem, OSError) as error:
        return {"error": str(error)}
    return {"job": again.id}


def start_heat(runs_dir: Path, sample: Sample | None, reference: Sample | None, job: FaceJob | None) -> dict[str, Any]:
    """Compute the heat map of a run's sample or of a finished job's video. Returns {job} or {error}."""
    try:
        if job is not None:
            return {"job": _heat_of_job(runs_dir, job).id}
        if sample is not None:
            return {"job": _heat_of_sample(runs_dir, sample, reference).id}
    except (FaceJobError, ConfigError, PackProblem) as error:
        return {"error": str(error)}
    return {"error": "That video is not there any more."}


def examples(runs_dir: Path) -> list[dict[str, Any]]:
    """A few of the embedded clips, rendered the first time: [{example, prompt, picture}]; [] where that fails."""
    try:
        rows = _example_rows(runs_dir)
    except (DataError, OSError):
        return []
    return [
        {"example": number, "prompt": row.prompt, "picture": thumbnail(row.video, 192)}
        for number, row in enumerate(rows)
    ]


def _example_rows(runs_dir: Path) -> list[Any]:
    from rewardfl_app.data import manifest  # brings PyAV, see media.first_frame

    path = embedded_clips(runs_dir)
    return manifest.read(Path(path))[:NUM_EXAMPLES] if path else []


def _video(request: Mapping[str, Any], runs_dir: Path, uploads: Path) -> Upload:
    example = request.get("example")
    if not isinstance(example, int) or isinstance(example, bool):
        return accept(request.get("video"), VIDEO_SUFFIXES, uploads)
    rows = _example_rows(runs_dir)
    if not 0 <= example < len(rows):
        raise UploadError("That sample clip does not exist: choose another.")
    return Upload(rows[example].prompt, rows[example].video)


def _pack(request: Mapping[str, Any], runs_dir: Path) -> tuple[RewardConfig, str]:
    """The reward section of the chosen face pack and its name for people. Raises PackProblem."""
    chosen = request.get("pack")
    if chosen == "run":
        run = next((found for found in list_runs(runs_dir) if found.id == request.get("run")), None)
        if run is None:
            raise PackProblem("pack", "That run does not exist any more: choose another face pack.")
        base, name = run_reward(run), f"pack of {_run_name(run)}"
    elif chosen == "folder":
        path = _typed(request.get("folder"))
        if not path:
            raise PackProblem("folder", "Give the folder with the ONNX files of a face pack.")
        judge = _typed(request.get("judge"))
        base, name = RewardConfig(reward_model_path=path, judge_model_path=judge or None), Path(path).name
    else:
        base, name = embedded_reward(), "pocket"
    det_size = request.get("det_size")
    values = {**base.model_dump(mode="json"), **({} if det_size in (None, "") else {"det_size": _whole(det_size)})}
    return checked(values), name


def run_reward(run: RunFolder) -> RewardConfig:
    """The reward section a run was started with. Raises PackProblem."""
    try:
        return supervisor.settings(run).reward
    except ConfigError as error:
        raise PackProblem("pack", f"The settings of this run cannot be read: {error.problems[0].message}") from error


def embedded_reward() -> RewardConfig:
    """The face pack and the judge that ship with the package."""
    reward: RewardConfig = with_embedded_scorers(preset(EMBEDDED_FAMILY)).reward
    return reward


def checked(values: Mapping[str, Any]) -> RewardConfig:
    """A reward section whose values and files are right. Raises PackProblem, naming the form's field."""
    try:
        # Any complete configuration will do around it: only the section's own problems are looked at.
        around = files.to_mapping(preset(EMBEDDED_FAMILY))
        reward: RewardConfig = build({**around, "reward": dict(values)}).reward
    except ConfigError as error:
        names = {"reward_model_path": "folder", "judge_model_path": "judge", "det_size": "det_size"}
        first = error.problems[0]
        raise PackProblem(names.get(first.field.rpartition(".")[2], "pack"), first.message) from error
    if not reward.reward_model_path:
        raise PackProblem("pack", "This run names no face pack: choose another.")
    return reward


def _heat_of_job(runs_dir: Path, job: FaceJob) -> FaceJob:
    if job.kind != "score" or job.state != "done":
        raise FaceJobError("Only a video that was scored has a heat map: score it first.")
    request = read_json(job.folder / "request.json") or {}
    reward = checked(request.get("reward") or {})
    real = job.folder / "reference" / "video.mp4"
    return face_jobs.heat_map(runs_dir, job.folder, real if real.is_file() else None, reward, {"job": job.id})


def _heat_of_sample(runs_dir: Path, sample: Sample, reference: Sample | None) -> FaceJob:
    run = RunFolder(sample.folder.parents[2])
    reward = checked(run_reward(run).model_dump(mode="json"))
    real = (reference or sample).video
    return face_jobs.heat_map(runs_dir, sample.folder, real, reward, {"run": run.id, "step": sample.step})


def _run_name(run: RunFolder) -> str:
    return str((read_json(run.run_info) or {}).get("name") or run.id)


def _typed(value: object) -> str:
    text = str(value or "").strip()[:PATH_LIMIT]
    return str(located(text).absolute()) if text else ""


def _whole(value: object) -> object:
    try:
        return int(str(value).strip())
    except ValueError:
        return value
