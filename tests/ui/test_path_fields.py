"""Whatever readable file a path field names, none of its lines comes back: not beside the field, not in a log."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_process import AppProcess
from page_run import FakeRun

from rewardfl_app.config import presets
from rewardfl_app.config.problems import section_fields
from rewardfl_app.config.schema import Config

MARK = "MARKER5f1c0de"
FIELDS = sorted(
    f"{section}.{field}"
    for section, fields in section_fields().items()
    for field in fields
    if "path" in field or field == "hostfile"
)
FAMILIES = ("pocket", "wan22_i2v_a14b", "wan22_5b_24gb")  # of one family, presets differ in numbers alone
CONTENTS = {
    ".env": f"API_KEY={MARK}\nSECRET={MARK}\n",
    "id_rsa": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{MARK}\n{MARK}\n-----END OPENSSH PRIVATE KEY-----\n",
    "token": MARK,
    "list.json": json.dumps([MARK, f"/{MARK}/x", [MARK], MARK]),
    "mapping.json": json.dumps({MARK: MARK, "weight_map": {MARK: MARK}}),
    "torn.json": f'{{"{MARK}": "{MARK}',
    "secrets.csv": f"API_KEY={MARK}\nSECRET={MARK},{MARK}\n",
    "quoted.csv": f'"{MARK}\n{MARK}',
    "hosts": f"{MARK}\nlocalhost slots={MARK}\n",
    "settings.yaml": f"password: {MARK}\n{MARK}: [\n",
    "pack.onnx": f"{MARK}\n",
    "model.safetensors": f"\x20\0\0\0\0\0\0\0{{'{MARK}': {MARK}}}",
}


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A folder of secrets in many forms; the folder itself looks like a face pack, a tokenizer and a set of weights."""
    folder = tmp_path / "private"
    folder.mkdir()
    for name, content in CONTENTS.items():
        (folder / name).write_text(content)
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(CONTENTS["mapping.json"])
    return folder


@pytest.fixture
def functions(runs_dir: Path) -> Iterator[Any]:
    """Calls a function of the page's server by its name."""
    run = FakeRun(runs_dir, "mine", prompts=("one",))
    run.baseline()
    run.finish()
    trainer = f"{shutil.which('false')}"
    with AppProcess(runs_dir, REWARDFL_TRAINER=trainer, REWARDFL_SCORER=trainer) as app:
        web = httpx.Client(base_url=app.address, timeout=60)
        web.get("/")
        components = web.get("/config").json()["components"]
        ids = {name: one["id"] for one in components for name in one["props"].get("server_fns") or []}

        def call(name: str, request: Any) -> str:
            content = {"component_id": ids[name], "fn_name": name, "session_hash": "x", "data": request}
            answer = web.post("/gradio_api/component_server", json=content)
            assert answer.status_code == 200, f"{name} of {str(request)[:200]}: {answer.text[:300]}"
            return answer.text

        yield call


def test_the_fields_are_found() -> None:
    assert {"data.metadata_path", "model.model_paths", "deepspeed.hostfile", "reward.judge_model_path"} <= set(FIELDS)
    names = {preset: presets.preset(preset).model.model_name for preset in presets.names()}
    assert {names[preset] for preset in FAMILIES} == set(names.values())


def _values(preset: str) -> dict[str, Any]:
    config: Config = presets.preset(preset)
    nested = config.model_dump(mode="json")
    return {f"{section}.{name}": value for section, fields in nested.items() for name, value in fields.items()}


@pytest.mark.parametrize("preset", FAMILIES)
def test_no_field_of_the_train_page_gives_a_file_away(preset: str, functions: Any, private: Path) -> None:
    told = set()
    for field in FIELDS:
        for path in (*sorted(private.iterdir()), private):
            request = {"values": {**_values(preset), field: str(path)}, "source": f"preset:{preset}", "name": "x"}
            for function in ("review", "start_run", "load_clips", "find_faces", "finding"):
                answer = functions(function, request)
                assert MARK not in answer, f"{function}, {field}={path.name}: {answer[:300]}"
                if path.name in answer and '"problems": []' not in answer:
                    told.add(field)
    assert told, "no field said a word: the files were not looked at"


def test_no_field_of_the_other_pages_gives_a_file_away(functions: Any, private: Path) -> None:
    for path in (*sorted(private.iterdir()), private):
        form = {"pack": "folder", "folder": str(path), "judge": str(path), "example": 0, "det_size": str(path)}
        requests = [("check_form", form), ("start_score", form), ("start_score", {**form, "reference": str(path)})]
        requests += [("start_score", {**form, "example": None, "video": {"path": str(path), "name": "x.mp4"}})]
        requests += [("keep_picture", {"file": {"path": str(path), "name": "x.png"}})]
        requests += [("load_picture", {"picture": str(path), "model": str(path)})]
        requests += [("load_source", {"source": f"run:{path}"}), ("load_source", {"source": str(path)})]
        for name, request in requests:
            answer = functions(name, request)
            assert MARK not in answer, f"{name}, {path.name}: {answer[:300]}"


def test_no_file_of_a_run_that_was_refused_holds_a_line_of_it(functions: Any, private: Path, runs_dir: Path) -> None:
    for field in FIELDS:
        for path in sorted(private.iterdir()):
            functions("start_run", {"values": {**_values("pocket"), field: str(path)}, "source": "preset:pocket"})
    for path in runs_dir.rglob("*"):
        assert not path.is_file() or MARK.encode() not in path.read_bytes(), path
