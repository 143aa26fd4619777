"""Charts and memory bars of the notebooks, as pictures."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from rewardfl_app import check
from rewardfl_app.notebook import style
from rewardfl_app.notebook.charts import lines
from rewardfl_app.notebook.memory_bars import memory_bars


def has(picture: Image.Image, colour: str) -> bool:
    """Whether many pixels have this colour."""
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return bool((np.abs(np.asarray(picture.convert("RGB")).astype(int) - wanted).max(-1) < 12).sum() > 100)


def test_lines_come_as_a_figure_and_as_a_picture() -> None:
    chart = lines("Similarity", {"one": ([0, 1, 2], [1.0, 0.9, 0.8]), "two": ([0, 2], [0.5, 0.4])}, dots=True)
    shown = chart._repr_mimebundle_()
    assert [trace["name"] for trace in shown["application/vnd.plotly.v1+json"]["data"]] == ["one", "two"]
    assert list(chart.figure.data[1].y) == [0.5, 0.4] and shown["text/plain"] == "Chart(one, two)"
    picture = Image.open(io.BytesIO(base64.b64decode(shown["image/png"])))
    assert has(picture, style.AFTER) and has(picture, style.JUDGE)


def test_the_memory_of_several_plans_beside_each_other() -> None:
    plans = {"fits": check("wan22_80gb", device_gb=80, host_gb=256), "small": check("wan22_80gb", device_gb=40)}
    both, one = memory_bars(plans), memory_bars({"small": plans["small"]}, columns=1)
    assert both.width > 1.9 * one.width and both.height == one.height
    assert has(both, style.GOOD) and has(both, style.BAD) and has(both, style.AFTER)
    assert not has(one, style.GOOD) and has(one, style.BAD)


def test_where_the_memory_is_not_known_there_is_no_line() -> None:
    assert memory_bars({"pocket": check("pocket")}).height > 0
    assert memory_bars({}).height > 0
