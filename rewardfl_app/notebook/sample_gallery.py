"""The newest videos of a run, as they come."""

from __future__ import annotations

import base64
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
_NOTHING = "The first videos are those of the untrained model; they come before the first step."


class Gallery(LiveBox):
    """The videos of the newest evaluation, with the similarity of each and its change from the base model."""

    def __init__(self, run: Run, count: int = 6) -> None:
        self.run = run
        self.count = count
        self._names = SampleNames(run.folder)
        self.view = widgets.HTML()
        super().__init__([self.view], _SECONDS)

    @property
    def newest(self) -> list[Sample]:
        """The samples that are shown."""
        steps = list(self._names.steps)
        return samples_of(self.run.folder, steps[-1])[: self.count] if steps else []

    def _look(self) -> bool:
        """Whether the run goes on."""
        going = not self.run.state.is_finished  # looked at first: what was written before is seen below
        if self._names.look() or not self.view.value:
            self.view.value = self._shown()
        return going

    def _shown(self) -> str:
        samples = self.newest
        if not samples:
            return style.note(_NOTHING)
        cards = "".join(self._card(sample) for sample in samples)
        grid = "display:grid;grid-template-columns:repeat(auto-fill,minmax(140px,1fr));gap:12px;max-width:960px"
        return f'<b>{escape(_title(samples[0].step))}</b><div style="{grid};margin-top:6px">{cards}</div>'

    def _card(self, sample: Sample) -> str:
        try:
            address = style.data_address("video/mp4", clips.film([sample.video]))
        except DataError as error:
            return style.note(str(error), style.BAD)
        prompt = escape(str(sample.load_faces().get("prompt") or sample.name), quote=True)
        return (
            f'<div style="font-size:12px;line-height:1.35"><video autoplay loop muted playsinline title="{prompt}" '
            f'style="width:100%;border-radius:8px" src="{address}"></video>'
            f'<div>{escape(self._similarity(sample))}</div><div style="color:{style.INK}">{prompt}</div></div>'
        )

    def _similarity(self, sample: Sample) -> str:
        reward = number(sample.load_faces().get("reward"))
        if reward is None:
            return "no face to score"
        base = {other.name: other for other in samples_of(self.run.folder, BASELINE_STEP)}.get(sample.name)
        before = None if base is None or not sample.step else number(base.load_faces().get("reward"))
        return f"similarity {reward:.3f}" + ("" if before is None else f" ({reward - before:+.3f})")

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = {**(super()._repr_mimebundle_(**kwargs) or {}), "text/plain": f"gallery({self.run.id!r})"}
        try:
            blocks = [Block(self._similarity(sample), clips.stills(sample.video, 3, 96)) for sample in self.newest]
        except DataError:
            return bundle
        if not blocks:
            return bundle
        rows = [blocks[at : at + 3] for at in range(0, len(blocks), 3)]
        sheet = contact_sheet.png(rows, [(_title(self.newest[0].step), style.AFTER)])
        return {**bundle, "image/png": base64.b64encode(sheet).decode("ascii")}


def gallery(run: Run, count: int = 6) -> Gallery:
    """The newest evaluation videos of a run, `count` of them, replaced when newer ones are rendered."""
    return Gallery(run, count)


def _title(step: int | None) -> str:
    return f"after {step} steps" if step else "the untrained model"
