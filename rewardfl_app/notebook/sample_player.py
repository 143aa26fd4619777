"""Before and after: the same sample by the base model and by what one or several runs trained, in step."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

import ipywidgets as widgets

from rewardfl_app.api.run import Run
from rewardfl_app.data.errors import DataError
from rewardfl_app.notebook import clips, contact_sheet, style
from rewardfl_app.notebook.contact_sheet import Block
from rewardfl_app.notebook.live_box import LiveBox
from rewardfl_app.runs.change import number
from rewardfl_app.runs.sample_names import SampleNames
from rewardfl_app.runs.samples import BASELINE_STEP, Sample, samples_of

_SECONDS = 2.0
_WIDEST = 620  # of the film, pixels
_ON_SHEET = 5  # samples
_MEASURES = (("reward", 3, ""), ("judge", 3, ""), ("motion", 2, " %"))
_NOTHING = "The first videos after training come with the first evaluation."


class Player(LiveBox):
    """The videos before and after, side by side, with the similarity of each.

    It follows the newest evaluation that all of its runs have, until another step is chosen.
    """

    def __init__(self, runs: Sequence[Run], step: int | None = None) -> None:
        self.runs = list(runs)
        self._names = [SampleNames(run.folder) for run in self.runs]
        self._chosen = step
        self._is_filling = False  # a change of a widget is ours then, not the reader's
        wide = {"width": f"min({_WIDEST}px, 96%)"}
        self.sample = widgets.Dropdown(description="Sample", layout=wide)
        self.step = widgets.SelectionSlider(
            options=[("–", BASELINE_STEP)], description="Step", continuous_update=False, layout=wide
        )
        self.view = widgets.HTML()
        for choice in (self.sample, self.step):
            choice.observe(self._on_choice, "value")
        super().__init__([self.step, self.sample, self.view], _SECONDS)

    def _look(self) -> bool:
        """Whether a run goes on."""
        going = not all(run.state.is_finished for run in self.runs)  # first: what was written before is seen below
        news = [names.look() for names in self._names]
        if any(news) or not self.view.value:
            self._show()
        return going

    def _show(self) -> None:
        steps = sorted(set.intersection(*(set(names.steps) for names in self._names)) - {BASELINE_STEP})
        self.step.layout.display = self.sample.layout.display = "" if steps else "none"
        if not steps:
            self.view.value = style.note(_NOTHING)
            return
        step = self._chosen if self._chosen in steps else steps[-1]
        kept, rows = self.sample.value, self._rows(step)
        self._is_filling = True
        try:
            self.step.options = [(str(known), known) for known in steps]
            self.step.value = step
            self.sample.options = [(_title(place, row), name) for place, (name, row) in enumerate(rows.items())]
            self.sample.value = kept if kept in rows else next(iter(rows), None)
        finally:
            self._is_filling = False
        row = rows.get(self.sample.value)
        self.view.value = self._film(step, row) if row else style.note("No sample has a video on every side yet.")

    def _rows(self, step: int) -> dict[str, list[Sample]]:
        """The videos of each sample: of the base model, and of each run after `step`."""
        sides = [samples_of(self.runs[0].folder, BASELINE_STEP), *(samples_of(run.folder, step) for run in self.runs)]
        named = [{sample.name: sample for sample in side} for side in sides]
        return {name: [side[name] for side in named] for name in named[0] if all(name in side for side in named)}

    def _heads(self, step: int) -> list[tuple[str, str]]:
        """What each side is, and its colour."""
        if len(self.runs) == 1:
            return [("before", style.BEFORE), (f"after {step} steps", style.AFTER)]
        colours = style.RUNS * (len(self.runs) // len(style.RUNS) + 1)
        return [
            ("before", style.BEFORE),
            *((run.name, colour) for run, colour in zip(self.runs, colours, strict=False)),
        ]

    def _film(self, step: int, row: Sequence[Sample]) -> str:
        try:
            content = clips.film([sample.video for sample in row])
        except DataError as error:
            return style.note(str(error), style.BAD)
        faces = [sample.load_faces() for sample in row]
        panes = ""
        for place, (text, colour) in enumerate(self._heads(step)):
            told = [f'<b style="color:{colour}">{escape(text)}</b>']
            told += [escape(f"{name} {_change(faces, place, name, digits, unit)}") for name, digits, unit in _MEASURES]
            panes += f'<div style="flex:1;min-width:0;font-size:13px;line-height:1.5">{"<br>".join(told)}</div>'
        return (
            f'<div style="max-width:{max(_WIDEST, 220 * len(row))}px">'
            '<video autoplay loop muted controls playsinline style="width:100%;border-radius:8px" '
            f'src="{style.data_address("video/mp4", content)}"></video>'
            f'<div style="display:flex;gap:8px;font-variant-numeric:tabular-nums">{panes}</div></div>'
        )

    def _on_choice(self, change: Any) -> None:
        with self.ticker.lock:
            if self._is_filling or not change["new"]:
                return
            if change["owner"] is self.step:
                self._chosen = change["new"]
            self._show()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        named = ", ".join(repr(run.id) for run in self.runs)
        bundle = {**(super()._repr_mimebundle_(**kwargs) or {}), "text/plain": f"player({named})"}
        still = self._still()
        return {**bundle, "image/png": base64.b64encode(still).decode("ascii")} if still else bundle

    def _still(self) -> bytes | None:
        step = self.step.value
        rows = list(self._rows(step).values())[:_ON_SHEET] if step else []
        frames = 5 if len(self.runs) == 1 else 3
        try:
            blocks = [[_block(sample, frames) for sample in row] for row in rows]
        except DataError:
            return None
        return contact_sheet.png(blocks, self._heads(step)) if blocks else None


def player(*runs: Run, step: int | None = None) -> Player:
    """The evaluation videos of a run before and after training; of several runs, all of them beside each other.

    step: the evaluation to begin with.
    """
    if not runs:
        raise ValueError("Name at least one run to play.")
    return Player(runs, step)


def _title(place: int, row: Sequence[Sample]) -> str:
    faces = [sample.load_faces() for sample in row]
    values = [number(one.get("reward")) for one in faces]
    told = " → ".join("no face" if value is None else f"{value:.2f}" for value in values)
    return f"{place + 1}.  {told}  {faces[-1].get('prompt') or row[-1].name}"


def _change(faces: Sequence[dict[str, Any]], place: int, name: str, digits: int, unit: str) -> str:
    """A value, and how far it is from that before."""
    before, value = number(faces[0].get(name)), number(faces[place].get(name))
    if value is None:
        return "–"
    change = "" if before is None or place == 0 else f" ({value - before:+.{digits}f})"
    return f"{value:.{digits}f}{unit}{change}"


def _block(sample: Sample, frames: int) -> Block:
    faces = sample.load_faces()
    told = [(name, number(faces.get(name))) for name in ("reward", "judge")]
    text = ", ".join(f"{name} –" if value is None else f"{name} {value:.3f}" for name, value in told)
    return Block(text, clips.stills(sample.video, frames, 104))
