"""Rows as a cell shows them."""

from __future__ import annotations

from rewardfl_app.api.table import Table

ROWS = [
    {"name": "<b>", "value": 0.12345, "count": 3, "sure": True},
    {"name": "c", "value": None, "count": 4, "sure": 0},
]


def test_a_table_is_a_list_that_shows_itself() -> None:
    table = Table(ROWS)
    assert table == ROWS and table.column("count") == [3, 4] and table[0]["count"] == 3
    assert table.only("count", "name") == [{"count": 3, "name": "<b>"}, {"count": 4, "name": "c"}]
    shown = table._repr_html_()
    assert "&lt;b&gt;" in shown and "<b>" not in shown
    assert "0.123" in shown and "<td>–</td>" in shown and "<td>yes</td>" in shown and "<th>value</th>" in shown
    assert "<td style='text-align:left;white-space:nowrap'>c</td>" in shown
    assert repr(table).splitlines()[0].split() == ["name", "value", "count", "sure"]


def test_an_empty_and_a_long_one() -> None:
    assert Table()._repr_html_() == repr(Table()) == "no rows"
    long = Table({"frame": n} for n in range(100))
    assert "40 more rows" in long._repr_html_() and long._repr_html_().count("<td>") == 60
    assert isinstance(long[:3], Table) and long[:3].column("frame") == [0, 1, 2]


def test_a_column_has_as_many_digits_throughout() -> None:
    table = Table([{"gb": 4.2081, "share": 0.5}, {"gb": 33.8, "share": 1.0}, {"gb": None, "share": 0.25}])
    assert [line.split() for line in repr(table).splitlines()[1:]] == [
        ["4.2", "0.500"],
        ["33.8", "1.000"],
        ["–", "0.250"],
    ]
