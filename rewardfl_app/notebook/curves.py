"""The curves of runs while they go on: one plotly figure that is updated in place, so that a zoom stays."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
from plotly.serializers import custom_serializers
from plotly.subplots import make_subplots

from rewardfl_app.api.run import Run
from rewardfl_app.notebook import chart_picture, style
from rewardfl_app.notebook.live_box import LiveBox
from rewardfl_app.notebook.measures import Measures
from rewardfl_app.runs.status import read_status

_SECONDS = 1.0


@dataclass(frozen=True)
class _Chart:
    """One chart: title, unit, its place in the grid, and its curves as (name in metrics.jsonl, label, colour)."""

    title: str
    unit: str
    column: int
    row: int
    curves: tuple[tuple[str, str, str], ...]


_BELOW = (
    _Chart("Loss", "", 1, 2, (("loss", "loss", style.AFTER),)),
    _Chart("KL from the untrained model", "", 2, 2, (("kl", "KL", style.AFTER),)),
    _Chart("Gradient norm", "", 3, 2, (("grad_norm", "gradient norm", style.AFTER),)),
)
_MOTION = _Chart("Motion of the face", "%", 3, 1, (("eval/motion", "motion", style.AFTER),))
_ONE_RUN = (
    _Chart(
        "Face similarity",
        "",
        1,
        1,
        (
            ("reward", "reward, training batch", style.BATCH),
            ("eval/reward", "reward", style.AFTER),
            ("eval/judge", "judge, never trained on", style.JUDGE),
        ),
    ),
    _MOTION,
    *_BELOW,
)
_SEVERAL_RUNS = (
    _Chart("Reward", "", 1, 1, (("eval/reward", "reward", ""),)),
    _Chart("Judge, never trained on", "", 2, 1, (("eval/judge", "judge", ""),)),
    _MOTION,
    *_BELOW,
)


@dataclass(frozen=True)
class _Trace:
    """What one trace of the figure draws: a curve, its intervals, or the base model's level."""

    measures: Measures
    name: str
    part: str  # "line", "band" or "level"

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        if self.part == "level":
            before, last = self.measures.before(self.name), self.measures.last_step
            return (np.array([]), np.array([])) if before is None else (np.array([0.0, last]), np.array([before] * 2))
        points = self.measures.points(self.name)
        if self.part == "line":
            return points.steps, points.values
        sure = ~np.isnan(points.lows)
        steps, lows, highs = points.steps[sure], points.lows[sure], points.highs[sure]
        return np.concatenate([steps, steps[::-1]]), np.concatenate([lows, highs[::-1]])


class _Figure(go.FigureWidget):
    """A figure whose state is whole whenever a page asks for it. Plotly tells the page of an empty figure first and
    then of its changes; a page that misses one of them, as while its kernel restarts, shows nothing ever after."""

    def __init__(self, figure: go.Figure) -> None:
        self._is_made = False
        super().__init__(figure)
        self._config = {"responsive": True, "displaylogo": False}
        self._is_made = True
        self.open()

    def open(self) -> None:
        """Tell the page of this widget."""
        if self._is_made:
            super().open()

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """What the page gets of these traits, of all of them without a key."""
        state = super().get_state(key, drop_defaults)
        if key is None:
            to_json = custom_serializers["to_json"]
            state |= {"_widget_data": to_json(self._data, self), "_widget_layout": to_json(self._layout, self)}
        return state


class _Width(anywidget.AnyWidget):
    """Makes the figure beside it as wide as the cell: plotly draws before the cell has a width, and looks again only
    when the window's changes."""

    _esm = """
    export default {render({el}) {
        const look = () => {
            const plot = el.parentElement?.querySelector(".js-plotly-plot");
            if (plot?.clientWidth && plot._fullLayout && plot._fullLayout.width !== plot.clientWidth)
                window.dispatchEvent(new Event("resize"));
        };
        const watching = setInterval(look, 400);
        return () => clearInterval(watching);
    }};
    """


class Curves(LiveBox):
    """The curves of one run, or of several over each other, while they go on. `figure` is plotly's."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        self._measures = [Measures(run.folder) for run in self.runs]
        self._traces: list[_Trace] = []
        self._header = widgets.HTML()
        self._first = True
        self.figure = self._figure()
        super().__init__([self._header, self.figure, _Width()], _SECONDS)

    def _look(self) -> bool:
        """Whether a run goes on."""
        states = [run.state for run in self.runs]  # looked at first: what was written before is read below
        news = [measures.read() for measures in self._measures]
        changed = {id(measures) for measures, new in zip(self._measures, news, strict=True) if new or self._first}
        self._first = False
        places = [place for place, trace in enumerate(self._traces) if id(trace.measures) in changed]
        if places:
            drawn = [self._traces[place].points() for place in places]
            # One message for all traces; the layout, and so the reader's zoom, is left alone.
            self.figure.plotly_restyle({"x": [x for x, _ in drawn], "y": [y for _, y in drawn]}, places)
        self._header.value = self._told(states)
        return not all(state.is_finished for state in states)

    def _told(self, states: Sequence[Any]) -> str:
        rows = ""
        for place, (run, state) in enumerate(zip(self.runs, states, strict=True)):
            colour = style.RUNS[place % len(style.RUNS)] if len(self.runs) > 1 else style.AFTER
            dot = f'<span style="color:{colour}">●</span>'
            rows += (
                f'<div style="font-size:13px;line-height:1.7">{dot} <b>{escape(run.name)}</b> &nbsp;'
                f"{style.pill(state.state)} &nbsp;{escape(style.progress(state))}</div>"
            )
            status = read_status(run.folder)
            if status is not None and status.alarm:
                rows += style.note(status.alarm, style.WARN)
        return rows

    def _figure(self) -> go.FigureWidget:
        several = len(self.runs) > 1
        charts = _SEVERAL_RUNS if several else _ONE_RUN
        top = [{}, {}, {}] if several else [{"colspan": 2}, None, {}]
        titles = [f"{chart.title}, {chart.unit}" if chart.unit else chart.title for chart in charts]
        grid = make_subplots(2, 3, specs=[top, [{}, {}, {}]], subplot_titles=titles, vertical_spacing=0.17)
        for chart in charts:
            for place, measures in enumerate(self._measures):
                for name, label, colour in chart.curves:
                    run_colour = style.RUNS[place % len(style.RUNS)]
                    self._draw(grid, chart, measures, name, label, run_colour if several else colour)
        if several:
            for place, run in enumerate(self.runs):  # the legend names each run once
                for trace, drawn in zip(self._traces, grid.data, strict=True):
                    if trace.measures is self._measures[place]:
                        told = trace.name == "eval/reward" and trace.part == "line"
                        drawn.update(legendgroup=run.id, name=escape(run.name), showlegend=told)
        grid.update_layout(
            autosize=True,
            height=500,
            margin={"l": 46, "r": 14, "t": 64, "b": 36},
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            font={"color": style.INK, "size": 12},
            legend={
                "orientation": "h",
                "traceorder": "normal",
                "x": 0,
                "y": 1.14,
                "yanchor": "bottom",
                "xanchor": "left",
            },
            hovermode="x unified",
            uirevision="kept",
        )
        grid.update_annotations(font={"size": 13}, yshift=6)
        lines = {"gridcolor": style.GRID, "zeroline": False, "linecolor": style.GRID}
        grid.update_xaxes(**lines, rangemode="tozero", tickformat="d")
        grid.update_yaxes(**lines, nticks=6)
        return _Figure(grid)

    def _draw(self, grid: go.Figure, chart: _Chart, measures: Measures, name: str, label: str, colour: str) -> None:
        """Add the traces of one curve, still empty."""
        evaluated = name.startswith("eval/")
        at = {"row": chart.row, "col": chart.column}
        named = chart.title == "Face similarity"

        def add(part: str, **look: Any) -> None:
            self._traces.append(_Trace(measures, name, part))
            grid.add_trace(go.Scatter(x=[], y=[], **look), **at)

        if evaluated:
            band = {"fill": "toself", "fillcolor": _faded(colour), "line": {"width": 0}}
            add("band", mode="lines", hoverinfo="skip", showlegend=False, **band)
            dashed = {"color": colour if len(self.runs) > 1 or name == "eval/judge" else style.BEFORE, "dash": "dash"}
            add(
                "level",
                mode="lines",
                name="before training",
                showlegend=named and name == "eval/reward",
                line={**dashed, "width": 1.3},
            )
        line = {"color": colour, "width": 2.4 if evaluated else 1.4}
        marks = {"size": 7, "color": colour}
        add(
            "line",
            mode="lines+markers" if evaluated else "lines",
            name=label,
            showlegend=named,
            line=line,
            marker=marks,
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**kwargs) or {}
        still = base64.b64encode(chart_picture.png(self.figure)).decode("ascii")
        named = ", ".join(repr(run.id) for run in self.runs)
        return {**bundle, "text/plain": f"watch({named})", "image/png": still}


def watch(*runs: Run) -> Curves:
    """The curves of a run while it goes on; of several runs, over each other."""
    if not runs:
        raise ValueError("Name at least one run to watch.")
    return Curves(runs)


def _faded(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},.14)"
