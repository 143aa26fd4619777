"""metadata.csv: what is accepted, and how each mistake is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rewardfl_app.data import manifest, video
from rewardfl_app.data.errors import DataError


@pytest.fixture
def folder(tmp_path: Path, moving_bars: NDArray[np.uint8]) -> Path:
    """A folder with two clips and a picture."""
    (tmp_path / "clips").mkdir()
    video.write(tmp_path / "clips" / "a.mp4", moving_bars, 8)
    video.write(tmp_path / "b.mp4", moving_bars[:5], 8)
    Image.fromarray(moving_bars[0]).save(tmp_path / "a.png")
    return tmp_path


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "metadata.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_rows_are_read_with_quotes_commas_and_a_byte_order_mark(folder: Path) -> None:
    text = 'video,prompt\r\nclips/a.mp4,"She says ""hi"", then\nsmiles – größer"\r\n\r\nb.mp4,plain\r\n'
    rows = manifest.read(write(folder, text, "utf-8-sig"))
    assert [row.index for row in rows] == [1, 2]
    assert rows[0].prompt == 'She says "hi", then\nsmiles – größer'
    assert rows[0].video == folder / "clips" / "a.mp4"
    assert rows[0].input_image is None
    manifest.check_rows(rows, num_frames=5)


def test_optional_columns_and_absolute_paths(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    clip, picture = folder / "b.mp4", folder / "a.png"
    text = f"prompt, video ,input_image,end_image,note\np,{clip},{picture},,x\nq,{clip},,,\n"
    rows = manifest.read(write(elsewhere, text))
    assert rows[0].video == clip
    assert [row.input_image for row in rows] == [picture, None]
    assert rows[0].end_image is None
    manifest.check_rows(rows)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("file,prompt\nb.mp4,p\n", "has no column video; columns found: file, prompt"),
        ("a;b\n1;2\n", "has no column video and no column prompt; columns found: a;b"),
        ("", "columns found: none"),
        ("video,prompt\n", "has no rows"),
        ("video,prompt\nb.mp4,p\nnone.mp4,p\n", r"Row 2: the file .*none\.mp4 of column video does not exist"),
        ("video,prompt\nclips,p\n", "Row 1: the file .* is a folder"),
        ("video,prompt\n,p\n", "Row 1: the column video is empty"),
        ("video,prompt\nb.mp4,one, two\n", "Row 1: it has more values .* quotes"),
        ("video,prompt\nb.mp4\n", "Row 1: it has fewer values"),
        ("video,prompt,input_image\nb.mp4,p,none.png\n", "Row 1: the file .*none.png of column input_image"),
        ('video,prompt\nb.mp4,"open\n', "cannot be read as CSV"),
    ],
)
def test_mistakes_are_told_with_their_row(text: str, part: str, folder: Path) -> None:
    with pytest.raises(DataError, match=part) as caught:
        manifest.read(write(folder, text))
    assert str(folder / "metadata.csv") in str(caught.value)


def test_missing_file_and_other_encodings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        manifest.read(tmp_path / "metadata.csv")
    with pytest.raises(DataError, match="is not UTF-8"):
        manifest.read(write(tmp_path, "video,prompt\nb.mp4,größer\n", "latin-1"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        manifest.read(tmp_path / "folder.csv")


def test_a_file_that_is_no_csv_is_not_told(tmp_path: Path) -> None:
    for name in (".env", "passwd"):
        (tmp_path / name).write_text("KEY=secret\n")
        with pytest.raises(DataError, match="must end with .csv") as caught:
            manifest.read(tmp_path / name)
        assert "secret" not in str(caught.value)
    (tmp_path / "keys.csv").write_text("root:secret:0\n")
    with pytest.raises(DataError, match="columns found: none") as caught:
        manifest.read(tmp_path / "keys.csv")


def test_a_column_can_be_made_necessary(folder: Path) -> None:
    path = write(folder, "video,prompt\nb.mp4,p\n")
    with pytest.raises(DataError, match="no column end_image"):
        manifest.read(path, needed_columns=("end_image",))
    path = write(folder, "video,prompt,end_image\nb.mp4,p,\n")
    with pytest.raises(DataError, match="Row 1: the column end_image is empty"):
        manifest.read(path, needed_columns=("end_image",))


def test_all_bad_rows_are_counted(folder: Path) -> None:
    text = "video,prompt\n" + "".join(f"none{i}.mp4,p\n" for i in range(5)) + "b.mp4,p\n"
    with pytest.raises(manifest.ManifestError, match="And 2 more rows") as caught:
        manifest.read(write(folder, text))
    assert [problem.row for problem in caught.value.problems] == [1, 2, 3, 4, 5]


def test_unreadable_and_short_files_are_told_by_row(folder: Path) -> None:
    (folder / "broken.mp4").write_bytes(b"not a video")
    (folder / "broken.png").write_bytes(b"not a picture")
    text = "video,prompt,input_image\nclips/a.mp4,p,\nbroken.mp4,p,\nb.mp4,p,\nclips/a.mp4,p,broken.png\n"
    rows = manifest.read(write(folder, text))
    problems = manifest.row_problems(rows, num_frames=17)
    assert [problem.row for problem in problems] == [2, 3, 4]
    assert "broken.mp4 is no video: it holds text" in problems[0].message
    assert "has 5 frames, but data.num_frames is 17" in problems[1].message
    assert "broken.png is no image" in problems[2].message
    with pytest.raises(manifest.ManifestError, match=r"metadata\.csv: Row 2"):
        manifest.check_rows(rows)


def test_files_that_rows_share_are_told_for_each_row(folder: Path) -> None:
    rows = manifest.read(write(folder, "video,prompt\nclips/a.mp4,p\nb.mp4,p\nb.mp4,q\nclips/a.mp4,q\nb.mp4,r\n"))
    assert [problem.row for problem in manifest.row_problems(rows, num_frames=17)] == [2, 3, 5]


def test_a_file_that_many_rows_share_is_not_opened_for_each(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = manifest.read(write(folder, "video,prompt\n" + "clips/a.mp4,p\n" * 200))
    opened, probe = [], manifest.video.probe
    monkeypatch.setattr(manifest.video, "probe", lambda path: opened.append(path) or probe(path))
    assert manifest.row_problems(rows) == []
    assert 1 <= len(opened) <= manifest._NUM_READERS  # those that begin at the same moment do not know of each other


def test_real_metadata(real_faces: Path) -> None:
    rows = manifest.read(real_faces / "metadata.csv")
    assert rows[0].prompt.startswith("A woman is smiling")
    manifest.check_rows(rows, num_frames=81)
