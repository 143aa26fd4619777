"""The chart by itself, in a real browser: zoom, keys, intervals, gaps."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rewardfl_app.ui import theme

pytestmark = pytest.mark.browser

PAGE = """<!doctype html><html lang="en"><head><title>chart</title>
<style>%(css)s .ch { width: 640px; height: 300px; }</style></head>
<body><main><div id="tools"></div><div class="ch" id="one"></div><div class="ch" id="two"></div></main>
<script>%(shared)s
const group = new RFL.ChartGroup();
document.getElementById("tools").append(group.toolbar());
const charts = ["one", "two"].map(id => new RFL.Chart(document.getElementById(id), group));
const steps = Array.from({length: 101}, (_, i) => i);
const loss = {label: "loss", role: "after", x: steps, t: steps.map(s => 2 * s)};
const chart = {title: "Loss", help: "", unit: "", digits: 2, floor: null, lines: [], marks: []};
const data = (y, more) => ({...chart, series: [{...loss, y, ...more}]});
const end = side => steps.map(s => s < 10 ? 1 - s / 100 + 0.1 * side : s === 50 ? 0.5 + 0.4 * side : null);
charts[0].update(data(steps.map(s => s / 100)));
charts[1].update(data(steps.map(s => s >= 40 && s < 60 ? null : 1 - s / 100),
  {color: "rgb(200, 10, 10)", dash: true, band: [end(-1), end(1)]}));
</script></body></html>"""


@pytest.fixture
def page(watched: Any) -> Any:
    """Two charts of 101 steps in one group."""
    shared = "\n".join(theme.asset(name) for name in ("shared.js", "chart_parts.js", "chart_group.js", "chart.js"))
    css = theme.asset("page.css") + theme.asset("chart.css")
    watched.page.set_content(PAGE % {"shared": shared, "css": css})
    watched.page.wait_for_selector("#two .ch-line")
    return watched.page


def _range(page: Any) -> Any:
    return page.evaluate("group.range")


def test_the_buttons_zoom_move_and_show_all_in_every_chart(page: Any) -> None:
    assert page.get_by_label("Show everything").is_disabled()
    page.get_by_label("Zoom in").click()
    assert _range(page) == [25, 75]
    page.get_by_label("Later").click()
    assert _range(page) == [50, 100]
    page.get_by_label("Later").click()
    assert _range(page) == [50, 100]  # not beyond the data
    assert page.locator(".ch-plot.zoomed").count() == 2
    page.get_by_label("Zoom out").click()
    assert _range(page) is None and page.locator(".ch-plot.zoomed").count() == 0


def test_a_drag_zooms_and_a_drag_with_shift_moves(page: Any) -> None:
    box = page.locator("#one .ch-plot").bounding_box()
    across = [box["x"] + share * box["width"] for share in (0.3, 0.6)]
    page.mouse.move(across[0], box["y"] + 60)
    page.mouse.down()
    page.mouse.move(across[1], box["y"] + 60, steps=3)
    page.mouse.up()
    low, high = _range(page)
    assert 20 < low < 35 and 50 < high < 65
    page.keyboard.down("Shift")
    page.mouse.move(across[1], box["y"] + 60)
    page.mouse.down()
    page.mouse.move(across[0], box["y"] + 60, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    moved = _range(page)
    assert moved[0] > low + 5 and moved[1] - moved[0] == pytest.approx(high - low)
    page.mouse.dblclick(across[0], box["y"] + 60)
    assert _range(page) is None


def test_new_data_keep_the_zoom_and_the_crosshair(page: Any) -> None:
    page.get_by_label("Zoom in").click()
    page.locator("#one .ch-plot").focus()
    page.keyboard.press("Home")
    page.evaluate("charts[0].update(data(steps.map(s => s / 50)))")
    assert _range(page) == [25, 75]
    assert "0.50" in page.locator("#one .ch-tip").inner_text()  # step 25 of the new data


def test_the_keys_read_the_points_and_zoom(page: Any) -> None:
    page.locator("#one .ch-plot").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.locator("#one [role=status]").inner_text() == "step 1 loss 0.01"
    assert page.locator("#two .ch-cross").get_attribute("visibility") == "visible"
    page.keyboard.press("+")
    assert _range(page)[1] - _range(page)[0] == 50
    page.keyboard.press("Shift+ArrowRight")
    assert _range(page)[0] > 10
    page.keyboard.press("0")
    assert _range(page) is None
    page.keyboard.press("End")
    assert "step 100" in page.locator("#one [role=status]").inner_text()


def test_intervals_are_areas_and_gaps_are_gaps(page: Any) -> None:
    line = page.locator("#two path.ch-line")
    assert len(re.findall("M", line.get_attribute("d"))) == 2
    assert line.get_attribute("stroke") == "rgb(200, 10, 10)" and line.get_attribute("stroke-dasharray")
    assert page.locator("#two .ch-interval").count() == 1 and page.locator("#two .ch-whisker").count() == 1
    page.locator("#two .ch-plot").focus()
    page.keyboard.press("Home")
    assert "(0.90 to 1.10)" in page.locator("#two .ch-tip").inner_text()


def test_colours_of_runs_do_not_change_when_one_is_added(page: Any) -> None:
    one, two = (page.evaluate(f"RFL.runColors({ids})") for ids in ('["b", "a"]', '["b", "a", "c"]'))
    assert two["a"] == one["a"] and two["b"] == one["b"] and len(set(two.values())) == 3
