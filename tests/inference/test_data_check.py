"""The clips of a metadata.csv looked at one by one: what each is, who is in it, and what training could not use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rewardfl_app.data import video
from rewardfl_app.data.errors import DataError
from rewardfl_app.data.inspection import inspect
from rewardfl_app.inference.__main__ import main
from rewardfl_app.pocket import paths
from rewardfl_app.runs.jsonfile import read_json

Frames = NDArray[np.uint8]


@pytest.fixture
def folder(tmp_path: Path, portrait: Frames, stranger: Frames) -> Path:
    """Clips of all kinds, good rows first."""
    video.write(tmp_path / "good.mp4", portrait, 8)
    video.write(tmp_path / "both.mp4", np.concatenate([portrait, stranger], axis=2), 25)
    late = portrait.copy()
    late[:3] = 128
    video.write(tmp_path / "late.mp4", late, 8)
    video.write(tmp_path / "grey.mp4", np.full((5, 64, 64, 3), 128, np.uint8), 8)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "good.mp4").read_bytes()[:-1500])
    (tmp_path / "text.mp4").write_text("no video")
    Image.fromarray(portrait[0]).save(tmp_path / "face.png")
    Image.new("RGB", (64, 64), "gray").save(tmp_path / "grey.png")
    return tmp_path


def table(folder: Path, *rows: str) -> Path:
    (folder / "metadata.csv").write_text("\n".join(["video,prompt,input_image", *rows]))
    return folder / "metadata.csv"


def check(path: Path, findings: Path | None = None) -> dict[str, Any]:
    """The process's own answer."""
    reward = {"reward_model_path": str(paths.FACE_PACK), "det_size": 96}
    request = path.parent / "request.json"
    asked = {"metadata": str(path), "reward": reward, "out": str(path.parent)}
    request.write_text(json.dumps(asked if findings is None else {**asked, "findings": str(findings)}))
    assert main(["data-check", "--request", str(request)]) == 0
    return read_json(path.parent / "data_check.json") or {}


def test_good_rows_are_described(folder: Path) -> None:
    report = check(table(folder, "good.mp4,a,", "both.mp4,b,", "late.mp4,c,face.png"))
    assert report["problems"] == [] and report["faces"] is True
    one, two, given = report["rows"]
    assert (one["row"], one["height"], one["width"], one["num_frames"], one["fps"]) == (1, 64, 64, 17, 8.0)
    assert 15 < one["face_size"] < 64 and one["det_score"] > 0.5 and one["people"] == 1 and one["face_rate"] == 1.0
    assert (two["width"], two["fps"], two["people"]) == (128, 25.0, 2)
    assert given["face_size"] > 15 and given["face_rate"] < 1.0
    assert len(one["boxes"]) == 1 and len(two["boxes"]) == 2 and one["num_looked"] == 9
    assert all(
        0 <= low < high <= 1
        for x0, y0, x1, y1 in [*one["boxes"], *given["boxes"]]
        for low, high in ((x0, x1), (y0, y1))
    )


def test_rows_that_were_looked_at_before_are_taken_from_the_findings(folder: Path) -> None:
    findings = folder / "faces.jsonl"
    first = check(table(folder, "good.mp4,a,", "grey.mp4,b,"), findings)
    written = findings.read_text()
    assert len(written.splitlines()) == 2
    second = check(table(folder, "grey.mp4,b,", "good.mp4,a,"), findings)
    assert findings.read_text() == written
    assert second["rows"][1] == {**first["rows"][0], "row": 2} and second["problems"][0]["row"] == 1


def test_every_problem_is_listed_by_row_and_column(folder: Path) -> None:
    rows = (
        "good.mp4,a,", "none.mp4,b,", "text.mp4,c,", "cut.mp4,d,", "late.mp4,e,", "grey.mp4,f,",
        "good.mp4,g,grey.png", "good.mp4,h,text.mp4", ",i,",
    )  # fmt: skip
    report = check(table(folder, *rows))
    told = [(problem["row"], problem["field"]) for problem in report["problems"]]
    assert told == [(2, "video"), (3, "video"), (4, "video"), (5, "video"), (6, "video"), (7, "input_image"),
                    (8, "input_image"), (9, "video")]  # fmt: skip
    messages = {problem["row"]: problem["message"] for problem in report["problems"]}
    for row, words in {
        2: "does not exist",
        3: "is no video: it holds text",
        4: "damaged after",
        5: "No face was found in the first frame of",
        6: "nor in any of 5 frames",
        7: "No face was found in the input image",
        8: "is no image",
        9: "the column video is empty",
    }.items():
        assert words in messages[row], messages[row]
    assert [row["row"] for row in report["rows"]] == [1, 3, 4, 5, 6, 7, 8]


def test_without_a_pack_files_alone_are_checked(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = inspect(table(folder, "grey.mp4,a,", "text.mp4,b,"), advance=lambda *far: seen.append(far)).content()
    assert report["faces"] is False and [problem["row"] for problem in report["problems"]] == [2]
    assert report["rows"][0]["num_frames"] == 5 and report["rows"][0]["people"] is None
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(("content", "words"), [("video\na.mp4\n", "no column prompt"), ("video,prompt\n", "no rows")])
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "metadata.csv").write_text(content)
    with pytest.raises(DataError, match=words):
        inspect(tmp_path / "metadata.csv")


@pytest.mark.parametrize(
    ("content", "words"), [({"metadata": "x.csv"}, "does not name reward"), ({"pack": 1}, "There is no pack")]
)
def test_bad_requests_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: dict[str, Any], words: str
) -> None:
    (tmp_path / "request.json").write_text(json.dumps(content))
    assert main(["data-check", "--request", str(tmp_path / "request.json")]) == 2
    assert words in capsys.readouterr().err
