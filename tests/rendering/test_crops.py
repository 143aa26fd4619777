from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from painted_faces import BLUE, RED, ColourRecogniser, paint, painted_pack
from PIL import Image

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.rendering import crops
from rewardfl_app.rendering.crops import CropSheet
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.rewards.identity import IdentityReward

CLIP = paint([[(10, 20, RED), (60, 30, BLUE)]] * 9 + [[], [(30, 8, BLUE)]])


def _report() -> dict[str, Any]:
    scorer = Scorer(IdentityReward(painted_pack(), RewardConfig()), cast(Any, ColourRecogniser()), torch.device("cpu"))
    seen = scorer.observe(CLIP)
    known = scorer.reference_of(scorer.observe(paint([[(10, 20, RED)]])), is_clip=False)
    return scorer.measure_seen(seen, known).report(fps=8, height=64, width=96)


def _cell(sheet: np.ndarray, number: int) -> np.ndarray:
    row, column = divmod(number, crops.COLUMNS)
    return sheet[row * 112 : (row + 1) * 112, column * 112 : (column + 1) * 112]


def test_each_face_lies_where_the_report_says(tmp_path: Path) -> None:
    report = _report()
    sheet = CropSheet(report)
    for start in range(0, len(CLIP), 4):  # chunk after chunk
        sheet.cut(CLIP[start : start + 4], start)
    sheet.save(tmp_path)
    assert report["crops"] == {"file": "crops.jpg", "size": 112, "columns": 16}
    pixels = np.asarray(Image.open(tmp_path / "crops.jpg"))
    assert pixels.shape == (2 * 112, 16 * 112, 3)
    faces = [face for frame in report["frames"] for face in frame["faces"]]
    assert [face["crop"] for face in faces] == list(range(19))
    for face in faces:
        centre = _cell(pixels, face["crop"])[50:70, 46:66].reshape(-1, 3).mean(0) / 127.5 - 1
        wanted = RED if face["bbox"][0] == 10 else BLUE
        assert centre == pytest.approx(wanted, abs=0.06)


def test_of_too_many_faces_the_least_similar_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "LARGEST", 4)
    report = _report()
    faces = [face for frame in report["frames"] for face in frame["faces"]]
    for number, face in enumerate(faces):
        face["similarity"] = None if number % 2 else 1.0 - 0.01 * number
    CropSheet(report)
    cut = [number for number, face in enumerate(faces) if face["crop"] is not None]
    assert cut == [12, 14, 16, 18] and [faces[n]["crop"] for n in cut] == [0, 1, 2, 3]


def test_a_clip_without_faces_has_no_sheet(tmp_path: Path) -> None:
    report: dict[str, Any] = {"frames": [{"frame": 0, "faces": []}]}
    sheet = CropSheet(report)
    sheet.cut(torch.zeros(1, 3, 64, 96))
    sheet.save(tmp_path)
    assert report["crops"] is None and list(tmp_path.iterdir()) == []
