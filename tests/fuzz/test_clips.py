"""metadata.csv and the videos it names, damaged: what comes out is rows, frames, problems or a DataError."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path

import hostile
import numpy as np
import pytest
from budget import Tally, drawn
from damage import Cut, cuts, damaged
from fake_runs import write_clips
from guard import guarded
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rewardfl_app.config import presets
from rewardfl_app.data import container, image, inspection, manifest, video
from rewardfl_app.data.errors import DataError
from rewardfl_app.data.findings import Findings
from rewardfl_app.supervisor import data_checks, preflight
from rewardfl_app.ui import media
from rewardfl_app.ui.dataset_view import describe

ROWS = (
    "video,prompt\na.mp4,one\n",
    "video,prompt\n\"a.mp4,one\n",
    "video,prompt,video\na.mp4,one,b.mp4\n",
    "video,prompt,input_image\na.mp4,one,a.mp4\n",
    "video;prompt\na.mp4;one\n",
    "video,prompt\n" + "a.mp4," + "x" * 200_000 + "\n",
    "video,prompt\n" + "../" * 3000 + "etc/passwd,one\n",
    "video,prompt\n/dev/zero,one\n/dev/stdin,two\n/proc/self/mem,three\n.,four\n..,five\n",
    "video,prompt\n" + "x" * 300 + ".mp4,one\n",
    "video,prompt\npipe.mp4,one\n",
    "video,prompt\na\0.mp4,one\n",
    "video,prompt\na.mp4\n",
    "video,prompt\na.mp4,one,two,three\n",
    "video,prompt\n" + "a.mp4,one\n" * 300,
    ",".join(f"c{index}" for index in range(5000)) + "\n",
    "video,prompt\rb.mp4,one\r",
)  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two clips, an image and a pipe; the CSV is written by the tests."""
    folder = tmp_path_factory.mktemp("runs")
    write_clips(folder)
    Image.new("RGB", (16, 16), "grey").save(folder / "still.png")
    hostile.ODD_FILES["a pipe"](folder / "pipe.mp4")
    look_at_table(folder / "metadata.csv")
    return folder


def look_at_table(path: Path) -> None:
    """Everything that reads a table of clips."""
    with contextlib.suppress(DataError):
        rows, problems = manifest.read_usable(path)
        assert rows or problems
    with contextlib.suppress(DataError):
        manifest.read(path)
    for problem in preflight.table_problems("data.metadata_path", path, 5, 4):
        assert str(path.name) in problem.message
    describe(str(path), path.parent, None)


def look_at_video(path: Path) -> None:
    """Everything that reads a video."""
    for read in (video.probe, lambda path: video.read(path, 2, 16, 16), lambda path: list(video.stream(path, 4))):
        with contextlib.suppress(DataError):
            read(path)
    media.thumbnail(path, 16)
    image.is_still(path)
    with contextlib.suppress(OSError):
        container.why_unreadable(path, "no reason")
    manifest.row_problems([manifest.Row(1, path, "someone", path, path)], 5)


@pytest.mark.parametrize("kind", hostile.ODD_FILES)
def test_tables_and_videos_that_are_no_file(kind: str, tmp_path: Path) -> None:
    for name, look in (("metadata.csv", look_at_table), ("a.mp4", look_at_video), ("a.png", look_at_video)):
        hostile.ODD_FILES[kind](tmp_path / name)
        with guarded(tmp_path):
            look(tmp_path / name)
            with pytest.raises(DataError, match=name):
                manifest.read(tmp_path / name) if name.endswith("csv") else video.probe(tmp_path / name)


def test_texts_that_are_no_table_and_no_video(clips: Path, tmp_path: Path) -> None:
    for text in [*hostile.TEXTS, *(row.encode() for row in ROWS)]:
        (clips / "metadata.csv").write_bytes(text)
        (tmp_path / "a.mp4").write_bytes(text)
        (tmp_path / "a.png").write_bytes(text)
        with guarded(clips):
            look_at_table(clips / "metadata.csv")
            look_at_video(tmp_path / "a.mp4")
            look_at_video(tmp_path / "a.png")


def test_damaged_tables(clips: Path) -> None:
    path, ran = clips / "metadata.csv", Tally("manifest")
    whole = b'\xef\xbb\xbfvideo,prompt,input_image\r\na.mp4,"one, two",still.png\r\nb.mp4,three,\r\n'

    @drawn("manifest")
    @given(cuts(16))
    def case(by: list[Cut]) -> None:
        ran.one()
        path.write_bytes(damaged(whole, by))
        with guarded(clips):
            look_at_table(path)

    case()
    ran.check()


def test_tables_of_any_text(clips: Path) -> None:
    path, ran = clips / "metadata.csv", Tally("manifest text")
    cell = st.one_of(
        st.sampled_from(["a.mp4", "b.mp4", "pipe.mp4", "still.png", "", "..", "/", "~"]), st.text(max_size=30)
    )
    name = st.sampled_from(["video", "prompt", "input_image", "end_image", ""]) | st.text(max_size=10)

    @drawn("manifest text")
    @given(
        st.lists(name, max_size=5), st.lists(st.lists(cell, max_size=5), max_size=4), st.booleans(), st.text(max_size=9)
    )
    def case(header: list[str], rows: list[list[str]], needed: bool, rest: str) -> None:
        ran.one()
        text = io.StringIO()
        csv.writer(text).writerows([["video", "prompt", *header] if needed else header, *rows])
        path.write_bytes((text.getvalue() + rest).encode("utf-8", "surrogatepass"))
        with guarded(clips):
            look_at_table(path)

    case()
    ran.check()


def test_damaged_videos(tmp_path: Path, moving_bars: np.ndarray) -> None:
    path, ran = tmp_path / "a.mp4", Tally("video")
    video.write(path, moving_bars[:5, ::2, ::2], 8)
    whole = path.read_bytes()
    look_at_video(path)

    @drawn("video")
    @given(cuts(200))
    def case(by: list[Cut]) -> None:
        ran.one()
        path.write_bytes(damaged(whole, by))
        with guarded(tmp_path):
            look_at_video(path)

    case()
    ran.check()


def test_what_was_found_before_is_damaged(tmp_path: Path) -> None:
    """The findings of earlier looks at the clips, with every field of them hostile."""
    table = write_clips(tmp_path, ("a.mp4",))
    reward = presets.preset("pocket").reward.model_copy(update={"reward_model_path": str(tmp_path)})
    path = data_checks.findings_path(tmp_path, reward)
    path.parent.mkdir()
    inspection.inspect(table, findings=Findings(path))
    (record,) = (line for line in path.read_text().splitlines())
    for _, text in hostile.json_variants(json.loads(record)):
        path.write_bytes(text.encode("utf-8", "surrogatepass") + b"\n")
        with guarded(tmp_path):
            describe(str(table), tmp_path, reward)
            inspection.inspect(table, findings=Findings(path))
