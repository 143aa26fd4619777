"""The app: header, the pages, and the one timer that follows the run folder."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import gradio as gr

from rewardfl_app.runs.control import Kind
from rewardfl_app.ui import (
    compare_page,
    faces_page,
    header,
    monitor_page,
    playground_page,
    run_table,
    runs_page,
    train_page,
)
from rewardfl_app.ui.dataset_view import embedded_clips
from rewardfl_app.ui.session import PARTS, Session

log = logging.getLogger(__name__)

TITLE = "Reward FL"
TICK_SECONDS = 1.0
# Only which run was looked at. A fixed secret keeps it readable after a restart; there is nothing to hide in it.
_PREFERENCES = {"run": None}


def build_app(runs_dir: Path) -> gr.Blocks:
    """The page over a runs folder. All it shows is read from there, so it can be closed and built again at any time."""
    runs_dir = runs_dir.absolute()
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as blocks:
        preferences = gr.BrowserState(_PREFERENCES, storage_key="rewardfl_view", secret="rewardfl-view")
        session_state = gr.State(None)
        bar = header.build()
        with gr.Tabs(selected="train", elem_id="pages"):
            with gr.Tab("Train", id="train", render_children=True):
                train = train_page.build_page(runs_dir)
            with gr.Tab("Monitor", id="monitor", render_children=True):
                monitor = monitor_page.build(runs_dir)
            with gr.Tab("Faces", id="faces", render_children=True):
                faces = faces_page.build(runs_dir)
            with gr.Tab("Compare", id="compare", render_children=True):
                compare = compare_page.build(runs_dir)
            with gr.Tab("Runs", id="runs", render_children=True):
                runs = runs_page.build(runs_dir)
            with gr.Tab("Playground", id="playground", render_children=True):
                playground = playground_page.build(runs_dir)
        parts = [bar, monitor.top, monitor.curves, monitor.sample, monitor.activity, faces, compare]
        parts += [runs, playground, train]
        timer = gr.Timer(TICK_SECONDS)
        follow = [session_state, *parts]
        quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}

        def opened(seen: dict[str, Any] | None) -> tuple[Any, ...]:
            session = Session(runs_dir, _wanted(seen))
            return session, *session.update()

        def tick(session: Session | None, seen: dict[str, Any] | None) -> tuple[Any, ...]:
            if session is None:  # the app was restarted under an open page
                return opened(seen)
            return gr.skip(), *session.update()

        def chosen(session: Session | None, event: gr.EventData) -> tuple[Any, ...]:
            run = str(event.run)
            session = session or Session(runs_dir)
            session.choose(run)
            return {"run": run}, session, *session.update()

        def requested(kind: Kind) -> Any:
            def ask(session: Session | None) -> tuple[Any, ...]:
                if session is None or session.run is None:
                    return gr.skip(), *[gr.skip()] * len(PARTS)
                session.say(monitor_page.ask(session.run, kind))
                return session, *session.update()

            return ask

        def resumed(session: Session | None) -> tuple[Any, ...]:
            if session is None or session.run is None:
                return gr.skip(), *[gr.skip()] * len(PARTS)
            session.say(monitor_page.resume(session.run))
            return session, *session.update()

        def missed(session: Session | None, seen: dict[str, Any] | None) -> tuple[Any, ...]:
            if session is None:
                return opened(seen)
            session.forget("faces")
            return gr.skip(), *session.update()

        blocks.load(opened, preferences, follow, **quiet)
        timer.tick(tick, [session_state, preferences], follow, **quiet)
        bar.choose(chosen, session_state, [preferences, *follow], trigger_mode="multiple", **quiet)
        faces.missed(missed, [session_state, preferences], follow, **quiet)
        bar.stop(requested("stop_and_save"), session_state, follow, **quiet)
        bar.stop_now(requested("stop_now"), session_state, follow, **quiet)
        monitor.top.save_now(requested("save_now"), session_state, follow, **quiet)
        monitor.top.sample_now(requested("sample_now"), session_state, follow, **quiet)
        monitor.top.resume(resumed, session_state, follow, **quiet)
    app: gr.Blocks = blocks
    return app


def _wanted(seen: dict[str, Any] | None) -> str | None:
    run = seen.get("run") if isinstance(seen, dict) else None
    return run if isinstance(run, str) else None


def prepare(runs_dir: Path) -> threading.Thread:
    """Read the runs and render the embedded clips in the background, so that they are there when the page asks."""

    def work() -> None:
        try:
            run_table.table(runs_dir.absolute()).look()
            embedded_clips(runs_dir.absolute())
        except OSError as error:  # the page says so too, where the clips are shown
            log.warning("the runs folder was not prepared: %s", error)

    thread = threading.Thread(target=work, name="prepare", daemon=True)
    thread.start()
    return thread
