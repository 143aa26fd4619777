"""Names, notes, tags and the archive: kept in run.json beside what others write there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rewardfl_app.runs import about, archive
from rewardfl_app.runs.about import AboutError
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "first")


def test_what_is_given_changes_and_the_rest_stays(run: RunFolder) -> None:
    created = (read_json(run.run_info) or {})["created"]
    info = about.update(run, name="  Less\nKL ", tags=["good", " good ", "", "kl"])
    assert (info["name"], info["tags"], info["created"]) == ("Less KL", ["good", "kl"], created)
    info = about.update(run, notes="one  \r\n<img src=x onerror=alert(1)>\x00\n")
    assert info["notes"] == "one\n<img src=x onerror=alert(1)>" and info["name"] == "Less KL"
    assert read_json(run.run_info) == info


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": " \n"}, "The name is empty"),
        ({"name": "x" * 121}, "121 characters"),
        ({"notes": "x" * 10_001}, "10001 characters"),
        ({"tags": ["x" * 41]}, "41 characters"),
        ({"tags": [str(number) for number in range(21)]}, "21 tags"),
        ({"tags": ["a,b"]}, "comma"),
    ],
)
def test_what_cannot_be_kept_changes_nothing(run: RunFolder, values: dict[str, object], words: str) -> None:
    before = read_json(run.run_info)
    with pytest.raises(AboutError, match=words):
        about.update(run, **values)  # type: ignore[arg-type]
    assert read_json(run.run_info) == before


def test_writers_at_the_same_time_keep_each_others_words(run: RunFolder) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: about.put(run, **{f"key{number}": number}), range(40)))
    assert {f"key{number}" for number in range(40)} <= set(read_json(run.run_info) or {})


def test_a_run_is_put_away_and_taken_out(run: RunFolder) -> None:
    assert not archive.is_archived(run)
    archive.archive(run)
    assert archive.is_archived(run) and run.exists()
    archive.unarchive(run)
    assert not archive.is_archived(run)


def test_a_run_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AboutError):
        archive.archive(RunFolder(tmp_path / "gone"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(AboutError, match=r"no readable run\.json"):
        archive.archive(RunFolder(tmp_path / "empty"))


def test_the_size_counts_files_and_follows_no_links(run: RunFolder, tmp_path: Path) -> None:
    before = archive.num_bytes(run)
    (tmp_path / "outside.bin").write_bytes(bytes(5000))
    (run.samples / "deep").mkdir()
    (run.samples / "deep" / "video.mp4").write_bytes(bytes(300))
    (run.path / "link").symlink_to(tmp_path / "outside.bin")
    assert 300 <= archive.num_bytes(run) - before < 2000
