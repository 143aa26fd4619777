"""The command line as a person uses it: commands in processes of their own, exit codes, one line per error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fake_runs
import numpy as np
import pytest
import yaml
from fake_runs import eventually
from PIL import Image

from rewardfl_app.cli import app
from rewardfl_app.config import presets
from rewardfl_app.data import video
from rewardfl_app.runs import checkpoints
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.metrics import read_all
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.runs.samples import sample_folder, write_faces
from rewardfl_app.supervisor import inference_child, supervisor
from rewardfl_app.supervisor.command import package_environment


@dataclass(frozen=True)
class Told:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


Cli = Callable[..., Told]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """A configuration that is fine; tests spoil it."""
    return fake_runs.mapping(tmp_path / "files")


@pytest.fixture
def shell(tmp_path: Path) -> Cli:
    """Runs `python -m rewardfl_app ...` in tmp_path, as a process of its own, with a stand-in trainer."""

    def run(*arguments: object, behaviour: str = "completes") -> Told:
        ended = subprocess.run(
            [sys.executable, "-m", "rewardfl_app", *map(str, arguments)],
            cwd=tmp_path,
            env=package_environment() | fake_runs.trainer_environment(behaviour),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Told(ended.returncode, ended.stdout, ended.stderr)

    return run


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The same in this process, which saves starting Python."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, behaviour: str = "completes") -> Told:
        for name, value in fake_runs.trainer_environment(behaviour).items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = app.main([str(argument) for argument in arguments])
        return Told(code, *capsys.readouterr())

    return run


def save(settings: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def errors(told: Told) -> list[str]:
    """The lines on standard error, each of which must be an error for people."""
    lines = told.stderr.splitlines()
    assert lines and all(line.startswith("error: ") for line in lines), told.stderr
    return lines


def test_train_prints_progress_and_ends_with_a_summary(shell: Cli, settings: dict[str, Any], tmp_path: Path) -> None:
    told = shell("train", save(settings, tmp_path), "--name", "First try")
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    [run] = list_runs(tmp_path / "runs")
    assert lines[0] == f"run {run.id} in {run.path}" and run.id.endswith("first-try")
    assert any(line.startswith("baseline  reward 0.700  judge 0.800  motion 3.00%") for line in lines)
    assert any(line.startswith("step 2/3  reward 0.7000  loss 0.5000  kl 0.0100") for line in lines)
    assert any(line.startswith("evaluation after step 3  reward 0.800 (+0.100)") for line in lines)
    assert "Completed all 3 steps." in lines[-1] and "reward from 0.700 to 0.800 (+0.100)" in lines[-1]
    assert "103% kept" in lines[-1] and "compare" in lines[-1]


def test_detach_returns_at_once_and_the_run_is_found_again(cli: Cli, settings: dict[str, Any], tmp_path: Path) -> None:
    told = cli("train", save(settings, tmp_path), "--detach", behaviour="slow")
    assert told.returncode == 0
    run = RunFolder(tmp_path / "runs" / told.stdout.strip())
    eventually(lambda: len(read_all(run.metrics)) > 3)

    status = json.loads(cli("status", run.id, "--json").stdout)
    assert status["state"] == "training" and status["id"] == run.id and status["exit"] is None
    assert "training, step" in cli("status", run.path).stdout
    assert json.loads(cli("runs", "--json").stdout)[0]["state"] == "training"

    refused = cli("resume", run.id)
    assert refused.returncode == 2 and "is running" in errors(refused)[0]

    stopped = cli("stop", run.id)
    assert stopped.returncode == 0 and "save a checkpoint" in stopped.stdout
    assert supervisor.wait(run, poll=0.02)["cause"] == "stopped"
    assert cli("stop", run.id).returncode == 0
    table = cli("runs").stdout.splitlines()
    assert table[0].split()[:2] == ["RUN", "STATE"] and table[1].split()[:2] == [run.id, "stopped"]

    resumed = cli("resume", run.id)
    assert resumed.returncode == 0 and "Completed all 3 steps." in resumed.stdout
    assert resumed.stdout.count("baseline") == resumed.stdout.count("step 1/3") == 1


def test_ctrl_c_stops_and_saves_and_is_a_success(settings: dict[str, Any], tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "rewardfl_app", "train", str(save(settings, tmp_path))],
        cwd=tmp_path,
        env=package_environment() | fake_runs.trainer_environment("slow"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run started in the background of a script ignores SIGINT, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    eventually(lambda: [run for run in list_runs(tmp_path / "runs") if len(read_all(run.metrics)) > 3])
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "saving" in err and "Traceback" not in err
    assert "Stopped as asked" in out


@pytest.mark.parametrize(
    ("behaviour", "code", "words"),
    [("crashes", 1, "flux capacitor"), ("bad_data", 2, "row 2"), ("segfaults", 1, "SIGSEGV")],
)
def test_a_run_that_fails_gives_one_line_and_its_code(
    cli: Cli, settings: dict[str, Any], tmp_path: Path, behaviour: str, code: int, words: str
) -> None:
    told = cli("train", save(settings, tmp_path), behaviour=behaviour)
    assert told.returncode == code
    [line] = errors(told)
    assert words in line and "train.log" in line


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        (["train.learning_rat=1"], "train.learning_rat", "did you mean learning_rate"),
        (["train.learning_rate=fast"], "train.learning_rate", "must be a number"),
        (["train.train_batch_size=3"], "train.train_batch_size", "= 1"),
        (["sampling.mid_timestep=1"], "sampling.mid_timestep", "high-noise"),
        (["data.num_frames=16"], "data.num_frames", "4k+1"),
        (["nonsense"], "nonsense", "section.field=value"),
    ],
)
@pytest.mark.parametrize("command", ["train", "check"])
def test_a_wrong_setting_is_named(
    cli: Cli, settings: dict[str, Any], tmp_path: Path, command: str, changes: list[str], field: str, words: str
) -> None:
    told = cli(command, save(settings, tmp_path), *(part for change in changes for part in ("--set", change)))
    assert told.returncode == 2
    [line] = errors(told)
    assert line.startswith(f"error: {field}: ") and words in line
    assert not (tmp_path / "runs").exists() or not list_runs(tmp_path / "runs")


def test_bad_input_ends_the_process_with_code_2_and_no_traceback(
    shell: Cli, settings: dict[str, Any], tmp_path: Path
) -> None:
    told = shell("train", save(settings, tmp_path), "--set", "train.learning_rat=1", "--set", "train.seed=x")
    assert told.returncode == 2 and told.stdout == ""
    assert {line.split(":")[1].strip() for line in errors(told)} == {"train.learning_rat", "train.seed"}
    spoil_video(tmp_path / "files" / "clips")
    told = shell("train", save(settings, tmp_path))
    assert told.returncode == 2 and "row 2" in errors(told)[0]
    assert shell("stop", "nothing").returncode == 2


def test_all_problems_are_told_at_once(cli: Cli, settings: dict[str, Any], tmp_path: Path) -> None:
    told = cli("check", save(settings, tmp_path), "--set", "train.seed=x", "--set", "data.num_frames=6", "--json")
    assert told.returncode == 2 and told.stderr == ""
    problems = json.loads(told.stdout)["problems"]
    assert [problem["field"] for problem in problems] == ["train.seed", "data.num_frames"]
    assert all(problem["message"] for problem in problems)


def test_check_finds_nothing_wrong_with_good_files(shell: Cli, settings: dict[str, Any], tmp_path: Path) -> None:
    told = shell("check", save(settings, tmp_path))
    *plan, last = told.stdout.splitlines()
    assert (told.returncode, last, told.stderr) == (0, "no problem found", "")
    assert "5 frames of 480 x 480" in plan[0] and plan[-1].startswith("It needs ")
    found = json.loads(shell("check", tmp_path / "config.yaml", "--json").stdout)
    assert found["problems"] == [] and found["memory"]["size"] == [5, 480, 480]


@pytest.mark.parametrize("name", presets.names())
def test_check_tells_of_every_preset_what_it_takes_and_what_is_missing(cli: Cli, name: str) -> None:
    told = cli("check", "--preset", name, "--device-memory", "24", "--host-memory", "64", "--json")
    found = json.loads(told.stdout)
    config = presets.preset(name)
    missing = [problem["field"] for problem in found["problems"]]
    needed = ["model.model_paths", "reward.reward_model_path", "data.metadata_path"]
    needed += ["deepspeed.hostfile"] if config.deepspeed.hostfile else []
    assert missing == ([] if name == "pocket" else needed) and told.returncode == (2 if missing else 0)
    memory = found["memory"]
    assert memory["device_gb"] == 24 and memory["host_gb"] == 64 and memory["assumed"]
    assert memory["fits"] == (name in ("pocket", "wan22_5b_24gb"))
    assert memory["processes_per_machine"] == min(config.deepspeed.num_processes, 8)


def test_check_names_the_change_that_makes_it_fit(cli: Cli) -> None:
    told = cli("check", "--preset", "wan22_i2v_a14b", "--device-memory", "80", "--host-memory", "500")
    assert "does not fit. --set " in told.stdout
    change = told.stdout.partition("does not fit. --set ")[2].partition(" makes")[0].split(" --set ")
    assignments = [part for each in change for part in ("--set", each)]
    told = cli("check", "--preset", "wan22_i2v_a14b", *assignments, "--device-memory", "80", "--host-memory", "500")
    assert ": it fits." in told.stdout and told.returncode == 2  # the files are still missing


def spoil_column(clips: Path) -> str:
    (clips / "metadata.csv").write_text("video,text\na.mp4,x\n")
    return "no column prompt"


def spoil_missing(clips: Path) -> str:
    (clips / "b.mp4").unlink()
    return "row 2: "


def spoil_video(clips: Path) -> str:
    (clips / "b.mp4").write_bytes(b"not a video")
    return "row 2: "


@pytest.mark.parametrize("command", ["train", "check"])
@pytest.mark.parametrize("spoil", [spoil_column, spoil_missing, spoil_video])
def test_wrong_data_is_named_by_row(
    cli: Cli, settings: dict[str, Any], tmp_path: Path, command: str, spoil: Callable[[Path], str]
) -> None:
    words = spoil(tmp_path / "files" / "clips")
    told = cli(command, save(settings, tmp_path))
    assert told.returncode == 2
    [line] = errors(told)
    assert line.startswith("error: data.metadata_path: ") and words in line


def test_a_truncated_weight_file_is_named(cli: Cli, settings: dict[str, Any], tmp_path: Path) -> None:
    weights = tmp_path / "files" / "vae.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    told = cli("train", save(settings, tmp_path))
    assert told.returncode == 2 and "vae.safetensors is truncated" in errors(told)[0]


def test_a_runs_folder_that_cannot_be_written(cli: Cli, settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = cli("train", save(settings, tmp_path), "--runs-dir", "file/runs")
    assert told.returncode == 2
    [line] = errors(told)
    assert "cannot be written" in line and "--runs-dir" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "no.yaml"], "no.yaml does not exist"),
        (["train", "--preset", "pockt"], "did you mean pocket"),
        (["train", "config.yaml", "--preset", "pocket"], "give one of them"),
        (["train", "--colour", "blue"], "--colour"),
        (["trian"], "trian"),
        (["status", "nothing"], "nothing"),
        (["resume", "nothing"], "nothing"),
        (["stop", "nothing"], "nothing"),
        (["compare", "nothing", "--out", "o"], "nothing"),
        (["generate", "--image", "i.png", "--prompt", "x", "--out", "o.mp4"], "--run or --preset"),
        (["generate", "--preset", "pocket", "--image", "i.png", "--prompt", "x", "--out", "o.gif"], ".mp4"),
        (["generate", "--preset", "pocket", "--image", "no.png", "--prompt", "x", "--out", "o.mp4"], "no.png"),
    ],
)
def test_wrong_usage_is_one_line(cli: Cli, arguments: list[str], words: str) -> None:
    told = cli(*arguments)
    assert told.returncode == 2
    [line] = errors(told)
    assert words in line


def test_without_runs_there_is_an_empty_list(cli: Cli) -> None:
    told = cli("runs")
    assert told.returncode == 0 and "no runs" in told.stdout
    assert json.loads(cli("runs", "--json").stdout) == []


def test_help_lists_exactly_the_commands_that_exist(cli: Cli) -> None:
    told = cli("--help")
    assert told.returncode == 0
    listed = told.stdout.split("Commands:")[1].splitlines()
    found = [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "]
    known = "train resume stop save set queue status runs check compare passport generate export score data-check "
    assert found == (known + "import-roll download bench").split()


def test_compare_writes_its_three_files(cli: Cli, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "runs", "x")
    for step, reward in ((0, 0.7), (10, 0.8)):
        folder = sample_folder(run, step, "ada")
        video.write(folder / "video.mp4", np.zeros((3, 32, 32, 3), np.uint8), 8)
        write_faces(folder, {"prompt": "p", "seed": 1, "reward": reward, "judge": None, "motion": None, "frames": []})
    told = cli("compare", run.id, "--out", "report")
    assert told.returncode == 0, told.stderr
    assert json.loads((tmp_path / "report" / "report.json").read_text())["mean"]["reward"]["delta"] == pytest.approx(
        0.1
    )
    for name in ("report.html", "side_by_side.mp4"):
        assert (tmp_path / "report" / name).stat().st_size > 0
    refused = cli("compare", run.id, "--checkpoint", "99", "--out", "report")
    assert refused.returncode == 2 and "step 99" in errors(refused)[0]


def test_generate_asks_for_a_checkpoint_that_exists(cli: Cli, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "runs", "x")
    Image.new("RGB", (32, 32)).save(tmp_path / "i.png")
    told = cli("generate", "--run", run.id, "--checkpoint", "7", "--image", "i.png", "--prompt", "x", "--out", "o.mp4")
    assert told.returncode == 2 and "no complete checkpoint" in errors(told)[0]


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts Python code where the inference process is; its arguments are left in arguments.json."""

    def put(code: str) -> None:
        note = f"import json, sys; open({str(tmp_path / 'arguments.json')!r}, 'w').write(json.dumps(sys.argv[1:])); "
        monkeypatch.setattr(
            inference_child, "inference_command", lambda *arguments: [sys.executable, "-c", note + code, *arguments]
        )

    return put


GENERATE = ("--image", "i.png", "--prompt", "she smiles; $HOME", "--seed", "5", "--out", "new/o.mp4")


def test_generate_from_a_preset_needs_no_run(cli: Cli, child: Callable[[str], None], tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "i.png")
    child(
        "from pathlib import Path; from rewardfl_app.config import files; folder = Path(sys.argv[3]); "
        "model = files.load(folder / 'config.yaml', check_files=False).model; "
        "assert model.model_paths == str(folder / 'model_paths.json')"
    )
    told = cli("generate", "--preset", "pocket", *GENERATE)
    assert (told.returncode, told.stdout) == (0, f"{tmp_path / 'new' / 'o.mp4'}\n"), told.stderr
    arguments = json.loads((tmp_path / "arguments.json").read_text())
    assert arguments[0] == "generate" and arguments[3:5] == ["--checkpoint", "base"]
    assert arguments[5:] == [
        *("--image", str(tmp_path / "i.png"), "--prompt", "she smiles; $HOME"),
        *("--seed", "5", "--out", str(tmp_path / "new" / "o.mp4")),
    ]


@pytest.mark.parametrize(
    ("code", "exit_code", "words"),
    [
        ("print('error: vae: a is truncated', file=sys.stderr); sys.exit(2)", 2, "vae: a is truncated"),
        ("raise RuntimeError('no luck')", 1, "RuntimeError: no luck"),
    ],
)
def test_what_the_inference_process_says_is_passed_on(
    cli: Cli, child: Callable[[str], None], tmp_path: Path, code: str, exit_code: int, words: str
) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "i.png")
    child(code)
    told = cli("generate", "--preset", "pocket", *GENERATE)
    assert told.returncode == exit_code
    [line] = errors(told)
    assert words in line


def test_compare_renders_the_checkpoint_that_was_never_sampled(
    cli: Cli, child: Callable[[str], None], tmp_path: Path
) -> None:
    run = RunFolder.create(tmp_path / "runs", "x")
    checkpoints.commit(run, 15, checkpoints.begin(run, 15))
    child("sys.exit(0)")
    told = cli("compare", run.id, "--checkpoint", "15", "--out", "report")
    assert json.loads((tmp_path / "arguments.json").read_text()) == [
        *("evaluate", "--run", str(run.path), "--checkpoint", "15"),
    ]
    assert told.returncode == 2 and "no samples of step 15" in told.stderr


def test_the_command_line_loads_no_torch() -> None:
    code = "import sys, rewardfl_app.cli.app; assert not {'torch', 'diffusers', 'deepspeed'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240, env=package_environment())
