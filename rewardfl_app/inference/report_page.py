"""report.html of a comparison: one file that opens offline, videos inside; every text from outside is escaped."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from rewardfl_app.config.secrets import redacted_page
from rewardfl_app.inference.pairs import Pair
from rewardfl_app.inference.report_charts import change_chart, interval_bar, similarity_chart
from rewardfl_app.inference.side_by_side import write_pair
from rewardfl_app.runs.change import mean

# name, title, unit, digits, what it is
TILES = (
    ("reward", "Reward", "", 3, "Cosine similarity of the face to the person, by the recogniser that was trained on"),
    ("judge", "Judge", "", 3, "The same by a second recogniser that was never trained on"),
    ("motion", "Motion", "%", 2, "How far the landmarks of the face travel, in percent of its size"),
)
# The same of what is not judged by itself: where one of these moves with the reward, the reward may have been bought.
OTHERS = (
    ("similarity_drift", "Drift", "", 3, "Similarity at the end of the video minus that at its begin"),
    ("judge_drift", "Drift, judge", "", 3, "The same by the judge"),
    ("frame_motion", "Motion of the picture", "%", 2, "Mean change from frame to frame, of black to white"),
    ("first_frame_distance", "Distance to the first frame", "%", 2, "A frozen video has none"),
    ("face_rate", "Frames with the face", "", 2, "Share of the frames"),
    ("face_size", "Size of the face", " px", 1, "Root of the box's area"),
    ("sharpness", "Sharpness", "", 1, "Variance of the Laplacian of the aligned face"),
    ("yaw_spread", "Turning", "\u00b0", 1, "Standard deviation of the yaw"),
    ("pitch_spread", "Nodding", "\u00b0", 1, "Standard deviation of the pitch"),
)
_TEMPLATE = Path(__file__).with_name("report_page.html")


def write_page(
    path: Path, report: dict[str, Any], pairs: Sequence[Pair], advance: Callable[[int], None] = lambda done: None
) -> None:
    """Write the page of a report (the content of report.json); `advance` is told how many pairs are in it.

    Raises OSError, and VideoError for a video that cannot be read.
    """
    template = Template(_TEMPLATE.read_text(encoding="utf-8"))
    before, after = report["before"], report["after"]
    articles = []
    for row, pair in zip(report["samples"], pairs, strict=True):
        articles.append(_sample(row, pair))
        advance(len(articles))
    same_run = before["run"] == after["run"]
    page = template.substitute(
        title=escape(after["name"]),
        before=escape(before["label"] if same_run else f"{before['name']}, {before['label']}"),
        after=escape(after["label"] if same_run else f"{after['name']}, {after['label']}"),
        run=escape(after["run"]),
        num_samples=escape(_count(report["num_samples"])),
        tone=escape(report["verdict"]["tone"]),
        sentence=escape(report["verdict"]["sentence"]),
        tiles="\n".join(
            _tile(report["mean"].get(name), title, unit, digits, note) for name, title, unit, digits, note in TILES
        ),
        charts="\n".join(_chart(report, name, title, unit, digits) for name, title, unit, digits, _ in TILES),
        others=_others(report, pairs),
        samples="\n".join(articles),
        method=escape(report["method"]),
        confidence=f"{report['confidence']:.0%}",
    )
    path.write_text(redacted_page(page), encoding="utf-8")


def _tile(change: dict[str, Any] | None, title: str, unit: str, digits: int, note: str) -> str:
    kind = title.lower()
    if change is None:
        return (
            f'<div class="tile {kind}"><h3>{title}</h3><p class="delta none">not measured</p>'
            f'<p class="note">{escape(note)}</p></div>'
        )
    low, high = change["low"], change["high"]
    if low is None:
        spread = "one sample: no interval"
    else:
        spread = f"95% interval {_signed(low, digits)} to {_signed(high, digits)}{unit}"
    return (
        f'<div class="tile {kind}"><h3>{title}</h3>'
        f'<p class="delta">{_signed(change["delta"], digits)}<small>{unit}</small></p>'
        f'<p class="from">{change["before"]:.{digits}f} <span>&rarr;</span> '
        f"<b>{change['after']:.{digits}f}</b>{unit}</p>"
        f"{interval_bar(change['delta'], low, high)}"
        f'<p class="spread">{spread}</p><p class="note">{escape(note)}</p></div>'
    )


def _chart(report: dict[str, Any], name: str, title: str, unit: str, digits: int) -> str:
    rows = [
        (row["name"], row[name]["before"], row[name]["after"])
        for row in report["samples"]
        if row[name]["delta"] is not None
    ]
    if not rows:
        return ""
    picture = change_chart(rows, f"{title} of every sample before and after", digits)
    return f'<figure class="{name}"><figcaption>{title}{f", {unit}" if unit else ""}</figcaption>{picture}</figure>'


def _others(report: dict[str, Any], pairs: Sequence[Pair]) -> str:
    """The mean similarity by frame, and a table of the measures that have no tile."""
    before = [_similarities(pair.before_faces) for pair in pairs]
    after = [_similarities(pair.after_faces) for pair in pairs]
    rows = []
    for name, title, unit, digits, note in OTHERS:
        change = report["mean"].get(name)
        if change is None:
            continue
        low, high = change["low"], change["high"]
        before_after = [f"{change[side]:.{digits}f}{unit}" for side in ("before", "after")]
        spread = "" if low is None else f"{_signed(low, digits)} to {_signed(high, digits)}"
        cells = (*before_after, _signed(change["delta"], digits), spread)
        name_cell = f"<th>{title}<small>{escape(note)}</small></th>"
        rows.append(f"<tr>{name_cell}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    head = "<thead><tr><th></th><th>before</th><th>after</th><th>change</th><th>95% interval</th></tr></thead>"
    table = f"<div><table>{head}<tbody>{''.join(rows)}</tbody></table></div>" if rows else ""
    return similarity_chart(_mean_curve(before), _mean_curve(after)) + table


def _mean_curve(curves: Sequence[Sequence[float | None]]) -> list[float | None]:
    frames = range(max(map(len, curves), default=0))
    return [mean([curve[frame] for curve in curves if frame < len(curve)]) for frame in frames]


def _sample(row: dict[str, Any], pair: Pair) -> str:
    values = "".join(
        f"<tr><th>{title}</th><td>{_value(row[name]['before'], digits)}</td>"
        f"<td>{_value(row[name]['after'], digits)}</td><td>{_signed(row[name]['delta'], digits)}</td></tr>"
        for name, title, _, digits, _ in TILES
    )
    chart = similarity_chart(_similarities(pair.before_faces), _similarities(pair.after_faces))
    prompt = escape(str(row.get("prompt") or ""))
    return (
        f'<article><video src="{_clip(pair)}" muted loop playsinline preload="metadata" '
        f'aria-label="Before on the left, after on the right: {prompt}"></video>'
        '<div class="sides"><span class="before">before</span><span class="after">after</span></div>'
        f'<h3>{escape(row["name"])}</h3><p class="prompt">{prompt}</p>'
        f"<table><thead><tr><th></th><th>before</th><th>after</th><th>change</th></tr></thead><tbody>{values}</tbody></table>"
        f"{chart}</article>"
    )


def _similarities(faces: dict[str, Any]) -> list[float | None]:
    """Per frame the highest similarity of a face in it, None where no face was scored."""
    series: list[float | None] = []
    for frame in faces.get("frames") or []:
        scored = [face.get("similarity") for face in frame.get("faces") or []]
        series.append(max((value for value in scored if isinstance(value, int | float)), default=None))
    return series


def _clip(pair: Pair) -> str:
    """The pair as a data URI of an mp4."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "pair.mp4"
        write_pair(clip, pair)
        return "data:video/mp4;base64," + base64.b64encode(clip.read_bytes()).decode("ascii")


def _value(value: object, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "&ndash;"


def _signed(value: object, digits: int) -> str:
    if not isinstance(value, int | float):
        return "&ndash;"
    text = f"{abs(value):.{digits}f}"
    sign = "" if float(text) == 0.0 else ("+" if value > 0 else "&minus;")
    return sign + text


def _count(number: int) -> str:
    return "one sample" if number == 1 else f"{number} samples"
