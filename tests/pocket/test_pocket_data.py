"""The embedded data set is an ordinary metadata.csv with mp4 files, rendered once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from rewardfl_app.data import manifest, video
from rewardfl_app.pocket import pocket_data
from rewardfl_app.pocket.clips import NUM_FRAMES, SIZE


def test_it_is_a_valid_data_set_and_the_people_differ(tmp_path):
    train, evaluation = pocket_data.ensure(tmp_path / "data")
    rows, unseen = manifest.read(train), manifest.read(evaluation)
    assert len(rows) == pocket_data.NUM_TRAIN and len(unseen) == pocket_data.NUM_EVALUATION
    manifest.check_rows(rows + unseen, NUM_FRAMES, train)
    frames = video.read(rows[0].video)
    assert frames.shape == (NUM_FRAMES, SIZE, SIZE, 3)
    first = {video.read(row.video)[0].tobytes() for row in rows + unseen}
    assert len(first) == len(rows) + len(unseen)


def test_a_second_call_renders_nothing_and_a_torn_one_is_repaired(tmp_path):
    folder = tmp_path / "data"
    train, _ = pocket_data.ensure(folder)
    before = train.stat().st_mtime_ns
    pocket_data.ensure(folder)
    assert train.stat().st_mtime_ns == before
    (folder / "version.txt").unlink()
    train.unlink()
    pocket_data.ensure(folder)
    assert manifest.read(train)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert not (folder / "old").exists()


def test_two_callers_at_once_both_get_the_whole_data_set(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: pocket_data.ensure(tmp_path / "data"), range(3)))
    assert len(set(results)) == 1
    assert len(manifest.read(results[0][0])) == pocket_data.NUM_TRAIN
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
