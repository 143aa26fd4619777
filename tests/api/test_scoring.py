"""A video's faces scored in a cell: by the real process, with the embedded pack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rewardfl_app import Score, score
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.data import video
from rewardfl_app.pocket.clips import sample_clip
from rewardfl_app.supervisor.inference_child import InferenceError


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A drawn person, and one who becomes another halfway."""
    folder = tmp_path_factory.mktemp("films")
    one, other = (sample_clip(np.random.default_rng((7, seed))).drawing.images for seed in (0, 3))
    video.write(folder / "one.mp4", one, 8)
    video.write(folder / "changes.mp4", np.concatenate([one[:8], other[8:]]), 8)
    return folder / "one.mp4", folder / "changes.mp4"


def test_a_person_who_becomes_another_scores_lower(films: tuple[Path, Path], tmp_path: Path) -> None:
    steady, changes = score(films[0]), score(films[1], overlay=tmp_path / "new" / "overlay.mp4")
    assert isinstance(steady, Score) and steady.reward is not None and changes.reward is not None
    assert steady.reward > changes.reward + 0.2 and steady.judge is not None
    frames, similarities = steady.curve()
    assert frames == list(range(17)) and similarities[0] == pytest.approx(1.0, abs=1e-3)
    assert [frame["frame"] for frame in steady.frames] == frames
    assert steady.faces.column("similarity") == similarities and min(steady.faces.column("size")) > 16
    assert changes.people == 1 and set(changes.tracks.column("person")) == {0}
    assert len(changes.curve()[0]) == 17  # also where the person is somebody else
    assert steady.overlay is None and changes.overlay == tmp_path / "new" / "overlay.mp4"
    assert video.probe(changes.overlay).num_frames == 17
    shown = steady._repr_html_()
    assert f"{steady.reward:.3f}" in shown and shown.count("<tr>") == 1 + len(steady.tracks)
    assert f"reward={steady.reward}" in repr(steady)


def test_what_is_wrong_is_one_sentence(films: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InferenceError, match=r"text\.mp4"):
        score(tmp_path / "text.mp4")
    with pytest.raises(ConfigError, match="det_siz"):
        score(films[0], settings={"det_siz": 96})
    with pytest.raises(ConfigError, match="reward_model_path"):
        score(films[0], tmp_path / "no pack")
