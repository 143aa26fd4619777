"""The app: header, the pages, and the one timer that follows the run folder."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from rewardfl_app.runs.control import Kind
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor import reconcile
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
from rewardfl_app.ui.open_pages import OpenPages
from rewardfl_app.ui.session import PARTS

log = logging.getLogger(__name__)

TITLE = "Reward FL"
TICK_SECONDS = 1.0
# Only which run was looked at. A fixed secret keeps it readable after a restart; there is nothing to hide in it.
_PREFERENCES = {"run": None}


def build_app(runs_dir: Path) -> gr.Blocks:
    """The page over a runs folder. All it shows is read from there, so it can be closed and built again at any time."""
    runs_dir = runs_dir.absolute()
    pages = OpenPages(runs_dir)
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as blocks:
        preferences = gr.BrowserState(_PREFERENCES, storage_key="rewardfl_view", secret="rewardfl-view")
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
        quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}

        def opened(seen: dict[str, Any] | None, page: gr.Request) -> tuple[Any, ...]:
            return pages.open(page.session_hash, _wanted(seen)).update()

        def tick(seen: dict[str, Any] | None, page: gr.Request) -> tuple[Any, ...]:
            session = pages.find(page.session_hash)
            return session.update() if session else opened(seen, page)  # None: the app was restarted under a page

        def chosen(page: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
            run = str(event.run)
            session = pages.find(page.session_hash) or pages.open(page.session_hash)
            session.choose(run)
            return {"run": run}, *session.update()

        def requested(kind: Kind) -> Any:
            def ask(page: gr.Request) -> tuple[Any, ...]:
                return told(page, lambda run: monitor_page.ask(run, kind))

            return ask

        def resumed(page: gr.Request) -> tuple[Any, ...]:
            return told(page, monitor_page.resume)

        def told(page: gr.Request, act: Callable[[RunFolder], str]) -> tuple[Any, ...]:
            """Do something with the run that a page shows, and say there what came of it."""
            session = pages.find(page.session_hash)
            if session is None or session.run is None:
                return tuple(gr.skip() for _ in PARTS)
            session.say(act(session.run))
            return session.update()

        def missed(seen: dict[str, Any] | None, page: gr.Request) -> tuple[Any, ...]:
            session = pages.find(page.session_hash)
            if session is None:
                return opened(seen, page)
            session.forget("faces")
            return session.update()

        def closed(page: gr.Request) -> None:
            pages.close(page.session_hash)

        blocks.load(opened, preferences, parts, **quiet)
        blocks.unload(closed)
        timer.tick(tick, preferences, parts, **quiet)
        bar.choose(chosen, None, [preferences, *parts], trigger_mode="multiple", **quiet)
        faces.missed(missed, preferences, parts, **quiet)
        bar.stop(requested("stop_and_save"), None, parts, **quiet)
        bar.stop_now(requested("stop_now"), None, parts, **quiet)
        monitor.top.save_now(requested("save_now"), None, parts, **quiet)
        monitor.top.sample_now(requested("sample_now"), None, parts, **quiet)
        monitor.top.resume(resumed, None, parts, **quiet)
    app: gr.Blocks = blocks
    return app


def _wanted(seen: dict[str, Any] | None) -> str | None:
    run = seen.get("run") if isinstance(seen, dict) else None
    return run if isinstance(run, str) else None


def prepare(runs_dir: Path) -> threading.Thread:
    """Put right what a crash has left, read the runs and render the embedded clips, all in the background, so that they
    are there when the page asks. While the app runs, a run whose watch is lost gets another."""

    def work() -> None:
        try:
            run_table.table(runs_dir.absolute()).look()
            embedded_clips(runs_dir.absolute())
        except OSError as error:  # the page says so too, where the clips are shown
            log.warning("the runs folder was not prepared: %s", error)

    keeping = (runs_dir.absolute(), threading.Event())
    threading.Thread(target=reconcile.keep, args=keeping, name="reconcile", daemon=True).start()
    thread = threading.Thread(target=work, name="prepare", daemon=True)
    thread.start()
    return thread
