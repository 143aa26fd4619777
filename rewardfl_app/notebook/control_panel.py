"""The control panel of a run: state, time left, stop, save, resume, settings; and the start of a new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from rewardfl_app.api.run import Run
from rewardfl_app.api.starting import RUNS_DIR, Source, configure, list_runs, start
from rewardfl_app.config import changes as config_changes
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.config.schema import Config
from rewardfl_app.notebook import asked, style, ticker
from rewardfl_app.notebook.live_box import LiveBox
from rewardfl_app.notebook.settings_form import SettingsForm, basic_fields, beside, editor, entered, help_of
from rewardfl_app.runs import changes as changes_file
from rewardfl_app.runs.changes import Change
from rewardfl_app.runs.folder import RunError
from rewardfl_app.runs.status import read_status
from rewardfl_app.supervisor.run_state import RunState

_SECONDS = 0.5
_NUM_RUNS = 50
_NEW = "A new run …"


class Panel(LiveBox):
    """One run at a time: `run`, None while a new one is being set up. Everything it shows is read from the folder."""

    def __init__(self, run: Run | None, config: Config, runs_dir: Path) -> None:
        self.run = run
        self._config = config
        self._runs_dir = runs_dir
        self._runs: dict[str, Run] = {}
        self._is_filling = False  # a change of a widget is ours then, not the reader's
        self._settings: dict[str, Any] = {}
        self._written: list[Change] = []
        self.runs = widgets.Dropdown(description="Run", layout={"width": "min(560px, 80%)"})
        self.again = self._button("Look again", "Read the list of runs again.", self._look_again)
        self.head = widgets.HTML()
        self.bar = widgets.FloatProgress(min=0, max=1, layout={"width": "min(680px, 98%)", "height": "14px"})
        self.message = widgets.HTML()
        stop = "Finish this step, save a checkpoint, end. Resume goes on from there."
        self.stop = self._button("Stop", stop, lambda: self._current.stop())
        now = "End at once without saving: what came after the last checkpoint is lost."
        self.stop_now = self._button("Stop now", now, lambda: self._current.stop(now=True))
        save = "Save a checkpoint after this step and go on."
        self.save = self._button("Save now", save, lambda: self._current.save())
        self.resume = self._button("Resume", "Go on from the last checkpoint.", self._resume)
        self.field = widgets.Dropdown(description="Setting", layout={"width": "300px"})
        self.value = widgets.HBox()
        self.change = self._button("Change", "", self._change)
        self.help = widgets.HTML()
        self.receipts = widgets.HTML()
        self.name = widgets.Text(placeholder="what to call it", layout={"width": "300px"})
        self.form = SettingsForm(config, basic_fields())
        self.start = self._button("Start", "Start training; it goes on without this notebook.", self._start)
        self.start.button_style = "primary"
        self.problem = widgets.HTML()
        self.runs.observe(self._on_run, "value")
        self.field.observe(self._on_field, "value")
        self._running = widgets.VBox(
            [
                self.head,
                self.bar,
                self.message,
                widgets.HBox([self.stop, self.stop_now, self.save, self.resume], layout={"flex_flow": "row wrap"}),
                widgets.HBox([self.field, self.value, self.change], layout={"flex_flow": "row wrap"}),
                self.help,
                self.receipts,
            ]
        )
        named = widgets.HBox([widgets.HTML("Name", layout={"width": "170px"}), self.name], layout={"grid_gap": "10px"})
        self._new = widgets.VBox([named, self.form, self.start])
        top = widgets.HBox([self.runs, self.again], layout={"flex_flow": "row wrap"})
        super().__init__([top, self._running, self._new, self.problem], _SECONDS)
        self._list()
        self._show()

    # What it shows

    def _list(self) -> None:
        """The runs to choose from, newest first, and a new one."""
        found = list_runs(self._runs_dir)[:_NUM_RUNS]
        if self.run is not None and self.run.id not in [run.id for run in found]:
            found.insert(0, self.run)
        self._runs = {run.id: run for run in found}
        self._is_filling = True
        try:
            self.runs.options = [*((f"{run.name}  ({run.id})", run.id) for run in found), (_NEW, "")]
            self.runs.value = "" if self.run is None else self.run.id
        finally:
            self._is_filling = False

    def _show(self) -> None:
        """Another run, or none: what belongs to it, and whether it goes on."""
        self._running.layout.display = "none" if self.run is None else ""
        self._new.layout.display = "" if self.run is None else "none"
        self._settings = {}
        if self.run is not None and self.ticker.look():
            self.ticker.start()

    def _look(self) -> bool:
        """Whether the run goes on."""
        run = self.run
        if run is None:
            return False
        state = run.state
        name = f"<b>{escape(run.name)}</b> &nbsp;{style.pill(state.state)} &nbsp;{escape(style.progress(state))}"
        self.head.value = f'<div style="font-size:14px">{name}</div>'
        self.bar.value = state.step / state.total if state.total else 0.0
        self.bar.style.bar_color = style.state_colour(state.state)
        self.message.value = _message(run, state)
        waits = state.state == "queued"
        for button in (self.stop, self.stop_now, self.save):
            button.disabled = state.is_finished or waits or state.state == "stopping"
        self.stop_now.disabled = state.is_finished or waits
        self.resume.disabled = not state.is_finished or state.state == "completed"
        self._show_settings(run, state)
        self.receipts.value = asked.shown(run.folder)
        return not state.is_finished

    def _show_settings(self, run: Run, state: RunState) -> None:
        """The live fields with their values as they are now; the input in hand is left alone."""
        ended = state.is_finished
        self.change.description, self.change.disabled = (
            "Resume with this" if ended else "Change",
            state.state == "queued",
        )
        last = "Go on from the last checkpoint with this value."
        self.change.tooltip = last if ended else "Ask the trainer to go on with this value from the next step."
        written = changes_file.read(run.folder)
        if self._settings and written == self._written:
            return
        try:
            config = run.settings
        except (ConfigError, OSError) as error:
            self.field.options, self.help.value = [], style.note(f"Its settings cannot be read: {error}", style.BAD)
            return
        before, kept = self._settings, self.field.value if self._settings else None
        self._written = written
        self._settings = {field: config_changes.value(config, field) for field in _live_fields()}
        self._is_filling = True
        try:
            self.field.options = [(field.partition(".")[2], field) for field in self._settings]
            self.field.value = kept or next(iter(self._settings))
        finally:
            self._is_filling = False
        if self.field.value not in before or before[self.field.value] != self._settings[self.field.value]:
            self._edit(self.field.value)

    def _edit(self, field: str) -> None:
        self.value.children = [editor(field, self._settings[field])]
        self.help.value = style.note(help_of(field))

    # What it does

    @property
    def _current(self) -> Run:
        if self.run is None:
            raise RunError("Choose a run first.")
        return self.run

    def _on_run(self, change: Any) -> None:
        with self.ticker.lock:
            if not self._is_filling and change["new"] is not None:
                self.run = self._runs.get(change["new"])
                self.problem.value = ""
                self._show()

    def _on_field(self, change: Any) -> None:
        with self.ticker.lock:
            if not self._is_filling and change["new"]:
                self._edit(change["new"])

    def _look_again(self) -> None:
        self._list()
        self._show()

    def _start(self) -> None:
        if self.run is not None:  # pressed twice
            return
        self.form.tell({})
        self.run = start(self._config, self.form.changed, name=self.name.value.strip() or None, runs_dir=self._runs_dir)
        self._look_again()

    def _resume(self, changes: Mapping[str, object] | None = None) -> None:
        self._current.resume(changes)
        ticker.wake()

    def _change(self) -> None:
        field, new = self.field.value, entered(self.value.children[0])
        if self._current.state.is_finished:
            self._resume({field: new})
        else:
            self._current.set(field, new)

    def _button(self, text: str, tooltip: str, act: Callable[[], object]) -> widgets.Button:
        button = widgets.Button(description=text, tooltip=tooltip, layout={"width": "auto", "align_self": "flex-start"})
        button.on_click(lambda pressed: self._do(act))
        return button

    def _do(self, act: Callable[[], object]) -> None:
        """What a button does; why it cannot be done is said below, and beside the field it is about."""
        with self.ticker.lock:
            self.problem.value = ""
            try:
                act()
            except ConfigError as error:
                fields, rest = beside(error)
                if self.run is None:
                    self.form.tell(fields)
                elsewhere = [text for field, text in fields.items() if self.run or field not in self.form.editors]
                told = [text for text in (rest, *elsewhere) if text]
                self.problem.value = "".join(style.note(text, style.BAD) for text in told)
            except (RunError, OSError) as error:
                text = str(error)
                self.problem.value = style.note(text[:1].upper() + text[1:], style.BAD)
            self.ticker.look()
            self.ticker.start()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**kwargs) or {}
        if self.run is None:
            return {**bundle, "text/plain": "panel()"}
        return {**bundle, "text/plain": f"panel({self.run.id!r})", "text/html": self.run._repr_html_()}


def panel(
    run: Run | None = None,
    *,
    source: Source = "pocket",
    changes: Mapping[str, Any] | None = None,
    runs_dir: str | Path = RUNS_DIR,
) -> Panel:
    """Controls of a run; without one, of the newest, or of a new run where there is none yet.

    A new run begins with the settings of `source` and `changes` (see `configure`). Raises ConfigError.
    """
    folder = Path(runs_dir).expanduser().absolute() if run is None else run.path.parent
    config = configure(source, changes)
    if run is None:
        run = next(iter(list_runs(folder)), None)
    return Panel(run, config, folder)


def _live_fields() -> list[str]:
    """Those that people change most come first."""
    live = config_changes.live_fields()
    basic = [field for field in basic_fields() if field in live]
    return [*basic, *(field for field in live if field not in basic)]


def _message(run: Run, state: RunState) -> str:
    """What it does, or how it ended and what to do next; and the alarm."""
    if state.exit is None:
        told = style.note(state.message) if state.message else ""
    else:
        failed = state.state in ("failed", "lost")
        told = style.note(state.message, style.BAD if failed else style.INK)
        if state.state != "completed":
            told += style.note(str(state.exit.get("next_step") or ""))
    status = read_status(run.folder)
    return told + (style.note(status.alarm, style.WARN) if status and status.alarm else "")
