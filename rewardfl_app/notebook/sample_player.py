"""Before and after: the same sample by the base model and by the trained one, in step."""

from __future__ import annotations

import base64
from html import escape
from typing import Any

import ipywidgets as widgets

from rewardfl_app.api.run import Run
from rewardfl_app.data.errors import DataError
from rewardfl_app.notebook import clips, contact_sheet, style
from rewardfl_app.notebook.contact_sheet import Block
from rewardfl_app.notebook.ticker import Ticker
from rewardfl_app.runs.change import number
from rewardfl_app.runs.sample_names import SampleNames
from rewardfl_app.runs.samples import BASELINE_STEP, Sample, samples_of

_SECONDS = 2.0
_ON_SHEET = 5  # samples
_FRAMES = 5  # of each
_MEASURES = (("reward", "reward", 3, ""), ("judge", "judge", 3, ""), ("motion", "face motion", 2, " %"))
_NOTHING = "The first videos after training come with the first evaluation."


class Player(widgets.VBox):
    """The videos of a run before and after, side by side, with the similarity of each.

    It follows the newest evaluation until another step is chosen.
    """

    def __init__(self, run: Run, step: int | None = None) -> None:
        self.run = run
        self._names = SampleNames(run.folder)
        self._chosen = step
        self._is_filling = False  # a change of a widget is ours then, not the reader's
        self.sample = widgets.Dropdown(description="Sample", layout={"width": "min(620px, 96%)"})
        self.step = widgets.SelectionSlider(
            options=[("–", BASELINE_STEP)],
            description="Step",
            continuous_update=False,
            layout={"width": "min(620px, 96%)"},
        )
        self.view = widgets.HTML()
        for choice in (self.sample, self.step):
            choice.observe(self._on_choice, "value")
        super().__init__([self.step, self.sample, self.view])
        self.ticker = Ticker(self._look, _SECONDS)
        if self.ticker.look():
            self.ticker.start()

    def close(self) -> None:
        """Take the widget away; nothing is read any more."""
        self.ticker.stop()
        super().close()

    def _look(self) -> bool:
        """Whether the run goes on."""
        going = not self.run.state.is_finished  # looked at first: what was written before is seen below
        if self._names.look() or not self.view.value:
            self._show()
        return going

    def _show(self) -> None:
        steps = [step for step in self._names.steps if step != BASELINE_STEP]
        self.step.layout.display = self.sample.layout.display = "" if steps else "none"
        if not steps:
            self.view.value = style.note(_NOTHING)
            return
        step = self._chosen if self._chosen in steps else steps[-1]
        kept = self.sample.value
        self._is_filling = True
        try:
            self.step.options = [(str(known), known) for known in steps]
            self.step.value = step
            pairs = self._pairs(step)
            self.sample.options = [
                (self._title(place, *pair), name) for place, (name, pair) in enumerate(pairs.items())
            ]
            self.sample.value = kept if kept in pairs else next(iter(pairs), None)
        finally:
            self._is_filling = False
        pair = pairs.get(self.sample.value)
        self.view.value = self._film(step, *pair) if pair else style.note("No sample has a video on both sides yet.")

    def _pairs(self, step: int) -> dict[str, tuple[Sample, Sample]]:
        before = {sample.name: sample for sample in samples_of(self.run.folder, BASELINE_STEP)}
        after = samples_of(self.run.folder, step)
        return {sample.name: (before[sample.name], sample) for sample in after if sample.name in before}

    def _title(self, place: int, before: Sample, after: Sample) -> str:
        faces = after.load_faces()
        first, last = number(before.load_faces().get("reward")), number(faces.get("reward"))
        told = "no face" if first is None or last is None else f"{first:.2f} → {last:.2f}"
        return f"{place + 1}. {told}  {faces.get('prompt') or after.name}"

    def _film(self, step: int, before: Sample, after: Sample) -> str:
        try:
            content = clips.film([before.video, after.video])
        except DataError as error:
            return style.note(str(error), style.BAD)
        rows = ""
        first, last = before.load_faces(), after.load_faces()
        for name, title, digits, unit in _MEASURES:
            one, two = number(first.get(name)), number(last.get(name))
            change = "" if one is None or two is None else f"{two - one:+.{digits}f}{unit}"
            cells = (title, _told(one, digits, unit), _told(two, digits, unit), change)
            rows += (
                "<tr>" + "".join(f'<td style="padding:1px 18px 1px 0">{escape(cell)}</td>' for cell in cells) + "</tr>"
            )
        heads = (("before", style.BEFORE), (f"after {step} steps", style.AFTER))
        over = "".join(f'<b style="flex:1;color:{colour}">{escape(text)}</b>' for text, colour in heads)
        return (
            f'<div style="max-width:620px"><div style="display:flex;gap:8px">{over}</div>'
            '<video autoplay loop muted controls playsinline style="width:100%;border-radius:8px" '
            f'src="{style.data_address("video/mp4", content)}"></video>'
            f'<table style="font-size:13px;font-variant-numeric:tabular-nums">{rows}</table></div>'
        )

    def _on_choice(self, change: Any) -> None:
        with self.ticker.lock:
            if self._is_filling or not change["new"]:
                return
            if change["owner"] is self.step:
                self._chosen = change["new"]
            self._show()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = {**(super()._repr_mimebundle_(**kwargs) or {}), "text/plain": f"player({self.run.id!r})"}
        still = self._still()
        return {**bundle, "image/png": base64.b64encode(still).decode("ascii")} if still else bundle

    def _still(self) -> bytes | None:
        step = self.step.value
        pairs = list(self._pairs(step).values())[:_ON_SHEET] if step else []
        try:
            rows = [[_block(before), _block(after)] for before, after in pairs]
        except DataError:
            return None
        heads = (("before", style.BEFORE), (f"after {step} steps", style.AFTER))
        return contact_sheet.png(rows, heads) if rows else None


def player(run: Run, step: int | None = None) -> Player:
    """The evaluation videos of a run before and after training; `step`: the evaluation to begin with."""
    return Player(run, step)


def _block(sample: Sample) -> Block:
    faces = sample.load_faces()
    reward, judge = number(faces.get("reward")), number(faces.get("judge"))
    told = f"similarity {_told(reward, 3)}, judge {_told(judge, 3)}"
    return Block(told, clips.stills(sample.video, _FRAMES, 104))


def _told(value: float | None, digits: int, unit: str = "") -> str:
    return "–" if value is None else f"{value:.{digits}f}{unit}"
