"""The clips page by page: pictures, sizes, the faces found, and every problem by its row."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import eventually

from rewardfl_app.data import video
from rewardfl_app.pocket import paths
from rewardfl_app.supervisor import data_checks
from rewardfl_app.ui import dataset_check
from rewardfl_app.ui.dataset_view import PAGE_SIZE

FAKE_CHECKER = Path(__file__).resolve().parents[1] / "supervisor" / "fake_checker.py"


def _table(folder: Path, *rows: str) -> Path:
    for index, name in enumerate(("a.mp4", "b.mp4")):
        video.write(folder / name, np.full((5, 32, 48, 3), 40 + 90 * index, np.uint8), 8)
    path = folder / "metadata.csv"
    path.write_text("\n".join(["video,prompt", *rows]))
    return path


def _request(path: Path | str, **more: Any) -> dict[str, Any]:
    values = {
        "model.model_name": "wan2_2",
        "data.metadata_path": str(path),
        "reward.reward_model_path": str(paths.FACE_PACK),
        "reward.det_size": "96",
        "train.max_steps": "wrong meanwhile",
    }
    return {"values": values, **more}


def test_every_row_is_shown_with_what_is_wrong(tmp_path: Path) -> None:
    path = _table(tmp_path, "a.mp4,one", "none.mp4,two", "b.mp4,<b>three</b>", ",four", "text.mp4,five")
    (tmp_path / "text.mp4").write_text("no video")
    shown = dataset_check.view(_request(path), tmp_path)
    assert (shown["num_rows"], shown["num_problems"], shown["error"]) == (5, 3, None)
    first, missing, third, empty, text = shown["rows"]
    assert (first["size"], first["num_frames"], first["problems"], first["faces"]) == ("48 x 32", 5, [], None)
    assert first["picture"].startswith("data:image/jpeg;base64,") and third["prompt"] == "<b>three</b>"
    assert "does not exist" in missing["problems"][0] and missing["picture"] is None
    assert "video is empty" in empty["problems"][0] and "is no video" in text["problems"][0]
    assert len(text["problems"]) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "does not exist"), ("video,caption\na.mp4,x\n", "no column prompt"), ("", "no column")],
)
def test_a_table_that_is_none_is_one_sentence(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "metadata.csv"
    if content is not None:
        path.write_text(content)
    shown = dataset_check.view(_request(path), tmp_path)
    assert words in shown["error"] and shown["rows"] == []


def test_pages_of_many_clips(tmp_path: Path) -> None:
    path = _table(tmp_path, *(f"a.mp4,number {index}" for index in range(60)), "none.mp4,missing")
    last = dataset_check.view(_request(path, page=9), tmp_path)
    assert (last["page"], last["num_pages"], last["num_rows"]) == (2, 3, 61)
    assert [row["row"] for row in last["rows"]] == list(range(2 * PAGE_SIZE + 1, 62))
    wrong = dataset_check.view(_request(path, page=2, only_problems=True), tmp_path)
    assert [row["row"] for row in wrong["rows"]] == [61] and wrong["num_shown"] == 1 and wrong["page"] == 0


def test_faces_are_shown_once_they_were_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(data_checks.CHECKER_VARIABLE, shlex.join([sys.executable, str(FAKE_CHECKER), "done"]))
    request = _request(_table(tmp_path, "a.mp4,one", "b.mp4,two"))
    assert dataset_check.view(request, tmp_path)["check"] is None
    assert dataset_check.start(request, tmp_path)["check"]
    eventually(lambda: (dataset_check.progress(request, tmp_path) or {})["finished"])
    shown = dataset_check.view(request, tmp_path)
    assert (shown["check"]["state"], shown["num_looked"], shown["num_found"]) == ("done", 2, 2)
    faces = shown["rows"][1]["faces"]
    assert faces == {
        "boxes": [[0.2, 0.2, 0.7, 0.8]], "size": 30.0, "score": 0.9, "people": 1, "num_looked": 9, "num_seen": 9,
    }  # fmt: skip
    smaller = {**request, "values": {**request["values"], "reward.det_size": "64"}}
    assert dataset_check.view(smaller, tmp_path)["num_looked"] == 0


def test_without_a_face_pack_it_says_what_to_give(tmp_path: Path) -> None:
    request = _request(_table(tmp_path, "a.mp4,one"))
    del request["values"]["reward.reward_model_path"]
    assert dataset_check.view(request, tmp_path)["pack_problem"] == dataset_check.NO_PACK
    assert dataset_check.start(request, tmp_path) == {"error": dataset_check.NO_PACK}
    request["values"]["reward.reward_model_path"] = "/no/such/pack"
    assert "does not exist" in dataset_check.start(request, tmp_path)["error"]


def test_the_embedded_clips_are_rendered_and_shown(tmp_path: Path) -> None:
    shown = dataset_check.view({"values": {"model.model_name": "pocket", "data.metadata_path": ""}}, tmp_path)
    assert shown["embedded"] and shown["error"] is None and shown["num_rows"] > len(shown["rows"]) == PAGE_SIZE
    assert shown["pack_problem"] is None and shown["rows"][0]["picture"] and shown["rows"][0]["prompt"]
