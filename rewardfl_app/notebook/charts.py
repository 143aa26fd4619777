"""Lines in a chart, to be looked into in a live notebook, and as a still picture elsewhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from rewardfl_app.notebook import chart_picture, style

_COLOURS = (style.AFTER, style.JUDGE, *(style.RUNS[place] for place in (1, 3, 4, 0)))
_HEIGHT = 360

# Places along the axis and the values there.
Points = tuple[Sequence[float], Sequence[float]]


class Chart:
    """A plotly figure, `figure`, that shows itself with its still picture."""

    def __init__(self, figure: go.Figure) -> None:
        self.figure = figure

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return {
            "application/vnd.plotly.v1+json": json.loads(self.figure.to_json()),
            "image/png": base64.b64encode(chart_picture.png(self.figure)).decode("ascii"),
            "text/plain": repr(self),
        }

    def __repr__(self) -> str:
        return f"Chart({', '.join(trace.name for trace in self.figure.data)})"


def lines(title: str, curves: Mapping[str, Points], colours: Sequence[str] = _COLOURS, dots: bool = False) -> Chart:
    """The curves by name; `dots` marks each point. The axis begins at 0."""
    figure = make_subplots(1, 1, subplot_titles=[title])
    mode = "lines+markers" if dots else "lines"
    for place, (name, (xs, ys)) in enumerate(curves.items()):
        colour = colours[place % len(colours)]
        look = {"line": {"color": colour, "width": 2.4}, "marker": {"size": 8}}
        figure.add_trace(go.Scatter(x=list(xs), y=list(ys), name=name, mode=mode, showlegend=True, **look))
    figure.update_layout(
        template="none",
        height=_HEIGHT,
        margin={"l": 46, "r": 14, "t": 70, "b": 36},
        font={"color": style.INK, "size": 12},
        legend={"orientation": "h", "x": 0, "y": 1.12, "yanchor": "bottom", "xanchor": "left"},
        hovermode="x unified",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_annotations(font={"size": 13}, yshift=6)
    figure.update_xaxes(gridcolor=style.GRID, zeroline=False, rangemode="tozero")
    figure.update_yaxes(gridcolor=style.GRID, zeroline=False)
    return Chart(figure)
