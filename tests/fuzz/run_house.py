"""A runs folder with everything that can lie in one, and the page over it: all that a browser may ask of it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hostile
import pytest
from fake_runs import write_clips
from gradio.routes import ORJSONResponse
from page_run import FakeRun
from PIL import Image

from rewardfl_app.config import presets
from rewardfl_app.data import manifest
from rewardfl_app.data.findings import Findings, RowReport
from rewardfl_app.data.manifest import RowProblem
from rewardfl_app.runs import best, changes, control, previews, queue_file, video_values, votes
from rewardfl_app.runs.changes import Change
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.previews import PreviewFolder, PreviewRequest
from rewardfl_app.runs.status import Status, write_status
from rewardfl_app.supervisor import data_checks, device_lock, export_jobs, face_jobs, placement, process
from rewardfl_app.supervisor.freeze import with_embedded_scorers
from rewardfl_app.supervisor.run_state import state
from rewardfl_app.ui.app import build_app
from rewardfl_app.ui.session import PARTS, Session

# Functions of the page that start a program or change what they are told to; what they read the others read, too.
DOING = frozenset(
    "train.start_run train.find_faces train.stop_finding monitor-top.set_live monitor-top.resume_with "
    "faces.start_score faces.start_again faces.start_heat faces.end_job faces.load_examples compare.start "
    "runs.act runs.describe runs.make_passport runs.start_export runs.remove_export playground.keep_picture "
    "playground.draw_person playground.start_preview playground.end_preview playground.free_device".split()
)
PROGRAMS = (
    *("REWARDFL_TRAINER", "REWARDFL_PREVIEWER", "REWARDFL_SCORER", "REWARDFL_RENDERER", "REWARDFL_DATA_CHECKER"),
    "REWARDFL_EXPORTER",
)
FACE_JOB = "20260101-101010-001-0a0a"
NEIGHBOUR = "the good neighbour"
# Short, because the page reads the settings of a run a dozen times.
SETTINGS = "model:\n  model_name: pocket\ntrain:\n  max_steps: 20\ndeepspeed:\n  num_processes: 1\n"


class House:
    """The runs folder: `ended` and `going` are damaged by the tests, `waiting` is queued, and the neighbours are well.

    One neighbour goes on, so that nothing that waits is ever started; the other has ended.
    """

    def __init__(self, folder: Path, environment: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.runs_dir = folder / "runs"
        (self.runs_dir / ".state").mkdir(parents=True)
        self.settle(environment)
        self.clips = write_clips(self.runs_dir / "clips")
        self.ended = _furnished(self.runs_dir, "ended")
        self.ended.status("completed", 20)
        self.ended.finish()
        self.going = _furnished(self.runs_dir, "going")
        self.neighbour = _furnished(self.runs_dir, NEIGHBOUR)
        self.neighbour.status("completed", 20)
        self.neighbour.finish()
        busy = FakeRun(self.runs_dir, "busy neighbour", prompts=("one",))
        busy.folder.config.write_text(SETTINGS)
        busy.status("training", 1)
        with device_lock.claim(busy.folder, placement.of(busy.folder).devices):
            pass  # it has the device, as long as this process lives
        self.waiting = RunFolder.create(self.runs_dir, "waiting")
        self.waiting.config.write_text(SETTINGS)
        write_status(self.waiting, Status("queued", total=3))
        queue_file.write(self.runs_dir, [self.waiting])
        self.preview = _preview(self.runs_dir, self.ended.folder)
        self.scored = _scored(self.runs_dir, self.ended.folder)
        self.check = _checked(self.runs_dir, self.clips)

    def settle(self, environment: pytest.MonkeyPatch) -> None:
        """Whatever a damaged file makes the page start ends at once (and its case fails); devices are this folder's."""
        for name in PROGRAMS:
            environment.setenv(name, "false")
        environment.setenv(device_lock.STATE_VARIABLE, str(self.runs_dir / ".state"))

    def run_files(self) -> list[Path]:
        """Every file of the runs that the tests damage, pictures left out."""
        return [path for run in (self.ended, self.going) for path in _files(run.folder.path)]

    def job_files(self) -> list[Path]:
        """Every file beside the runs: the queue, the Playground's, the scored videos', the checks of the clips."""
        places = [self.preview, self.scored, self.check, self.waiting.path]
        beside = [PreviewFolder.of(self.runs_dir).process, PreviewFolder.of(self.runs_dir).worker]
        found = sorted((self.runs_dir / data_checks.FOLDER).glob("faces_*.jsonl"))
        return [self.runs_dir / queue_file.NAME, *beside, *found, *(file for place in places for file in _files(place))]

    @contextmanager
    def instead(self, path: Path, content: bytes | Callable[[Path], None]) -> Iterator[None]:
        """Something else in place of a file, until the block ends."""
        kept = self.folder / "kept"
        shutil.move(path, kept)
        try:
            if callable(content):
                content(path)
            else:
                path.write_bytes(content)
            yield
        finally:
            hostile.remove(path)
            shutil.move(kept, path)
            self._wait_again()

    def _wait_again(self) -> None:
        """A waiting run whose files cannot be read fails when its turn comes."""
        for path in (self.waiting.exit, self.waiting.process):
            path.unlink(missing_ok=True)
        if queue_file.waiting(self.runs_dir) != [self.waiting]:
            queue_file.write(self.runs_dir, [self.waiting])


class Page:
    """The page over a house; `read` asks it everything."""

    def __init__(self, house: House) -> None:
        self._house = house
        blocks = build_app(house.runs_dir)
        self.functions = {
            f"{block.elem_id}.{function.__name__}": function
            for block in blocks.blocks.values()
            for function in getattr(block, "server_fns", [])
        }
        self._session = Session(house.runs_dir)

    def read(self, run: str, settings: bool = True) -> None:
        """Everything that a page which looks at a run asks for, made into what goes over the wire.

        settings: also what depends on the run's configuration and takes the longest.
        """
        for session in (self._session, Session(self._house.runs_dir)):
            session.choose(run)
            for part in PARTS:
                session.forget(part)
            for value in session.update():
                ORJSONResponse._render(value)
        for name, request in [*self._requests(run), *(self._settings_requests(run) if settings else ())]:
            try:
                ORJSONResponse._render(self.functions[name](request))
            except Exception as error:
                error.add_note(f"{name}({request})")
                raise
        state(RunFolder(self._house.runs_dir / run))
        self._neighbour_is_shown()

    def asked(self) -> set[str]:
        """The functions that `read` asks."""
        return {name for name, _ in [*self._requests(""), *self._settings_requests("")]}

    def _settings_requests(self, run: str) -> Iterator[tuple[str, dict[str, Any]]]:
        values = {"data.metadata_path": str(self._house.clips), "model.model_name": "pocket"}
        yield "train.review", {"values": values, "source": f"run:{run}"}
        yield "train.load_source", {"source": f"run:{run}"}
        yield "monitor-top.load_settings", {"run": run}
        yield "faces.check_form", {"pack": "run", "run": run}
        yield "runs.load_difference", {"runs": [run, self._house.neighbour.folder.id]}
        yield "playground.load_model", {"model": f"run:{run}"}
        yield "playground.load_picture", {"model": f"run:{run}", "picture": "evaluation:0"}

    def _requests(self, run: str) -> Iterator[tuple[str, dict[str, Any]]]:
        values = {"data.metadata_path": str(self._house.clips), "model.model_name": "pocket"}
        neighbour = self._house.neighbour.folder.id
        yield "train.list_sources", {"source": f"run:{run}"}
        yield "train.load_clips", {"values": values, "page": 0}
        yield "train.finding", {"values": values}
        for step in (20, 0, "real"):
            yield "faces.load_clips", {"run": run, "step": step}
        yield "faces.load_job", {"job": FACE_JOB}
        yield "faces.job_picture", {"job": FACE_JOB}
        for one, other in ((run, run), (neighbour, run)):
            sides = {"a": {"run": one, "step": 0}, "b": {"run": other, "step": 20}}
            yield "compare.load_pairs", sides
            yield "compare.vote", {**sides, "do": "look", "reveal": True}
        yield "compare.look", {"run": run, "job": "0a0a0a0a0a0a0a0a"}
        yield "compare.look", {"run": run, "job": "0b0b0b0b0b0b0b0b"}
        yield "runs.load_rows", {}
        yield "runs.load_details", {"run": run}
        yield "runs.load_exports", {"run": run}
        yield "monitor-charts.load_curves", {"run": run}
        yield "runs.load_curves", {"runs": [run, neighbour]}
        yield "runs.weigh", {"runs": [run, neighbour]}
        yield "playground.load_models", {}
        yield "playground.load_results", {"ids": [self._house.preview.name]}

    def _neighbour_is_shown(self) -> None:
        rows = {row["id"]: row for row in self.functions["runs.load_rows"]({})["rows"]}
        shown = rows[self._house.neighbour.folder.id]
        assert (shown["name"], shown["state"], shown["step"]) == (NEIGHBOUR, "completed", 20)


def _furnished(runs_dir: Path, name: str) -> FakeRun:
    """A run with every file that a run can have; this process plays its trainer."""
    made = FakeRun(runs_dir, name, total=20, prompts=("one", "two"))
    run = made.folder
    run.config.write_text(SETTINGS)
    made.baseline()
    for step in range(1, 21):
        made.step(step)
        if step % 10 == 0:
            made.checkpoint(step)
    made.evaluate(20)
    for step in (0, 20):
        measures: dict[str, float | None] = {"reward": 0.6 + step / 100, "judge": 0.7, "motion": None}
        one = video_values.VideoValues(measures, {"similarity_curve": [0.5, None, 0.6]})
        video_values.write(run, step, {"row_000": one, "row_001": one})
    best.write(run, best.Best(20, "The judge is up.", {"judge": 0.8, "judge_gain": 0.1}))
    changes.record(run, Change(5, "train.learning_rate", 5e-4, 1e-4))
    done = control.request(run, "save_now")
    control.acknowledge(run, done, "A checkpoint was saved.")
    control.request(run, "set_field", field="train.learning_rate", value=1e-4)
    contest = votes.Contest(run.id, 0, run.id, 20)
    ballot = votes.next_ballot(run, contest, ["row_000", "row_001"])
    votes.vote(run, contest, ["row_000", "row_001"], ballot.number, "left")
    write_json_atomic(run.failure, {"cause": "data", "sentence": "Row 1 cannot be read.", "next_step": "Mend it."})
    write_json_atomic(run.path / "start_token.json", {"token": "0a0a"})
    run.log.write_text("step 1\rstep 2\nerror: something\n")
    info = read_json(run.run_info) or {}
    write_json_atomic(
        run.run_info, {**info, "notes": "a note", "tags": ["one", "two"], "parent": "gone", "archived": False}
    )
    for job, kind, state_word in (("0a" * 8, "film", "done"), ("0b" * 8, "videos", "working")):
        folder = run.comparisons / job
        folder.mkdir(parents=True)
        write_json_atomic(
            folder / "job.json", {"kind": kind, "created": 1.0, "run": run.path, "step": 20, "name": None}
        )
        write_json_atomic(folder / "status.json", _account(state_word))
        write_json_atomic(folder / "process.json", _process("comparison", alive=kind == "videos"))
        (folder / "log.txt").write_text("error: no frame\n")
        (folder / "report.html").write_text("<p>report</p>")
    for kind, state_word in (("diffusers", "done"), ("merged", "working")):
        out = run.exports / f"step_000020_{kind}"
        folder = run.exports / export_jobs.JOBS / out.name
        folder.mkdir(parents=True)
        write_json_atomic(folder / "request.json", {"checkpoint": "20", "format": kind, "out": out})
        write_json_atomic(folder / "status.json", _account(state_word))
        write_json_atomic(folder / "process.json", _process("exporter", alive=kind == "merged"))
        (folder / "log.txt").write_text("error: no room\n")
        if state_word == "done":
            out.mkdir()
            write_json_atomic(out / "export.json", {})
            (out / "transformer_2.safetensors").write_bytes(b"0")
    return made


def _preview(runs_dir: Path, run: RunFolder) -> Path:
    """A request of the Playground that is done, and one that waits."""
    folder = PreviewFolder.of(runs_dir)
    folder.results.mkdir(parents=True)
    picture = runs_dir / "clips" / "picture.png"
    Image.new("RGB", (32, 32), "grey").save(picture)
    about = {"model": "ended", "model_id": f"run:{run.id}", "picture": "person:7"}
    previews.add(folder, PreviewRequest(run.path, "20", "someone smiles", 2), picture)
    made = previews.add(folder, PreviewRequest(run.path, "20", "someone smiles", 1, 1.0, about), picture)
    made.say("done")
    side = {"reward": 0.5, "judge": 0.6, "motion": 5.0, "sharpness": 1.0, "face_rate": 1.0}
    write_json_atomic(
        made.folder / "result.json", {"step": 20, "fps": 8, "num_frames": 17, "base": side, "tuned": None}
    )
    for name in previews.SIDES:
        shutil.copytree(run.samples / "baseline" / "row_000", made.folder / name)
    write_json_atomic(folder.process, _process("previewer"))
    write_json_atomic(folder.worker, {"state": "working", "model": "ended, step 20", "message": ""})
    return made.folder


def _scored(runs_dir: Path, run: RunFolder) -> Path:
    """A video of one's own that was scored."""
    folder = runs_dir / face_jobs.FOLDER / FACE_JOB
    shutil.copytree(run.samples / "baseline" / "row_000", folder)
    about = {"pack": "pocket", "det_size": 128, "reference": "me.png"}
    described = {"kind": "score", "title": "me.mp4", "created": time.time(), "target": folder, "about": about}
    write_json_atomic(folder / "job.json", described)
    write_json_atomic(folder / "status.json", _account("done"))
    write_json_atomic(folder / "process.json", _process("scorer", alive=False))
    (folder / "log.txt").write_text("error: no frame\n")
    return folder


def _checked(runs_dir: Path, clips: Path) -> Path:
    """A look for faces that goes on, and what was found up to now."""
    reward = with_embedded_scorers(presets.preset("pocket")).reward
    folder = data_checks._folder(runs_dir, clips, reward)
    folder.mkdir(parents=True)
    write_json_atomic(folder / "status.json", _account("working"))
    write_json_atomic(folder / "process.json", _process("data-check"))
    (folder / "log.txt").write_text("error: no frame\n")
    found = Findings(data_checks.findings_path(runs_dir, reward))
    for row in manifest.read(clips):
        told = RowReport(row.index, str(row.video), 32, 32, 8.0, 5, 12.5, 0.9, 1, 1.0, 3, [[0.1, 0.2, 0.3, 0.4]])
        found.keep(row, told, [RowProblem(row.index, "the face is small.", "video")])
    return folder


def _account(word: str) -> dict[str, Any]:
    return {"state": word, "done": 3, "total": 5, "message": "Looking for faces", "warning": ""}


def _process(role: str, alive: bool = True) -> dict[str, Any]:
    """The record of this process, or of one that is gone."""
    record = process.describe(os.getpid(), ["test"], role=role, started=time.time() - 1)
    return record if alive else {**record, "start_time": 1}


def _files(folder: Path) -> list[Path]:
    kinds = {".mp4", ".json", ".jsonl", ".yaml", ".log", ".txt", ".safetensors", ""}
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in kinds)
