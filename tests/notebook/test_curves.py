from __future__ import annotations

import base64
import io
import tracemalloc
from typing import Any

import comm
import fake_runs
import pytest
from PIL import Image
from written_runs import Start, WrittenRun

from rewardfl_app.notebook import style, watch


def line(curves: Any, label: str) -> Any:
    return next(trace for trace in curves.figure.data if trace.name == label and "lines" in trace.mode)


def test_it_moves_while_the_run_goes_on_and_rests_with_it(start: Start) -> None:
    run = start("slow")
    curves = watch(run)
    fake_runs.eventually(lambda: len(line(curves, "loss").x) > 3)
    seen = len(line(curves, "loss").x)
    fake_runs.eventually(lambda: len(line(curves, "loss").x) > seen)
    assert "training" in curves.children[0].value
    run.stop()
    run.wait()
    fake_runs.eventually(lambda: not curves.ticker.is_running)
    assert list(line(curves, "loss").x) == [record["step"] for record in run.updates]
    assert "stopped" in curves.children[0].value


def test_a_closed_one_does_not_read_on(start: Start) -> None:
    curves = watch(start("slow"))
    assert curves.ticker.is_running
    curves.close()
    fake_runs.eventually(lambda: not curves.ticker.is_running)


def test_reward_and_judge_have_the_colours_and_intervals_of_the_page(written: WrittenRun) -> None:
    written.evaluations(3)
    curves = watch(written.run)
    reward, judge = line(curves, "reward"), line(curves, "judge, never trained on")
    assert reward.line.color == style.AFTER and judge.line.color == style.JUDGE
    assert list(reward.x) == list(judge.x) == [0, 10, 20, 30]
    bands = [trace for trace in curves.figure.data if trace.fill == "toself" and len(trace.x)]
    assert len(bands) == 3 and all(len(band.x) == 6 for band in bands)  # reward, judge, motion
    before = line(curves, "before training")
    level = written.run.evaluations[-1]["eval/reward_baseline"]
    assert before.line.color == style.BEFORE and list(before.x) == [0, 30] and list(before.y) == [level, level]


def test_an_update_leaves_the_zoom_alone(written: WrittenRun) -> None:
    written.steps(1, 5)
    curves = watch(written.run)
    curves.figure.plotly_relayout({"xaxis.range": [2, 4]})  # as the browser reports a zoom
    sent: list[Any] = []
    curves.figure.observe(lambda change: sent.append(change["new"]), ["_py2js_relayout", "_py2js_addTraces"])
    written.steps(6, 9)
    curves.ticker.look()
    assert list(line(curves, "loss").x) == list(range(1, 10))
    assert tuple(curves.figure.layout.xaxis.range) == (2, 4) and sent == []


def test_nothing_is_sent_while_nothing_is_new(written: WrittenRun) -> None:
    written.steps(1, 5)
    curves = watch(written.run)
    sent: list[Any] = []
    curves.figure.observe(lambda change: sent.append(change["new"]), "_py2js_restyle")
    curves.ticker.look()
    assert sent == []
    written.steps(6, 6)
    curves.ticker.look()
    assert len([message for message in sent if message]) == 1


def test_a_page_that_is_loaded_again_gets_what_is_there_now(written: WrittenRun) -> None:
    curves = watch(written.run)
    written.steps(1, 40)
    curves.ticker.look()
    state = curves.figure.get_state()
    places = [place for place, trace in enumerate(curves.figure.data) if trace.name == "loss"]
    sent = state["_widget_data"][places[0]]["x"]
    assert sent["shape"] == (40,) if isinstance(sent, dict) else len(sent) == 40


def test_a_page_is_told_of_a_whole_figure_at_once(written: WrittenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[dict[str, Any]] = []
    create = comm.create_comm

    def recorded(**told: Any) -> Any:
        opened.append(told)
        return create(**told)

    monkeypatch.setattr(comm, "create_comm", recorded)
    curves = watch(written.run)
    states = [told["data"]["state"] for told in opened]
    (state,) = [state for state in states if "_widget_data" in state]
    assert len(state["_widget_data"]) == len(curves.figure.data) > 0 and state["_config"]["responsive"]
    assert "xaxis3" in state["_widget_layout"]


def test_several_runs_lie_over_each_other(written: WrittenRun, runs_dir: Any) -> None:
    other = WrittenRun.create(runs_dir, "<b>other</b>")
    written.evaluations(2)
    other.evaluations(3)
    curves = watch(written.run, other.run)
    named = [trace for trace in curves.figure.data if trace.showlegend]
    assert [trace.name for trace in named] == ["written", "&lt;b&gt;other&lt;/b&gt;"]
    assert [trace.line.color for trace in named] == list(style.RUNS[:2])
    assert [len(trace.x) for trace in named] == [3, 4]
    assert "<b>other" not in curves.children[0].value
    with pytest.raises(ValueError, match="at least one"):
        watch()


def test_a_still_picture_goes_with_it(written: WrittenRun) -> None:
    written.steps(1, 30)
    written.evaluations(3)
    bundle = watch(written.run)._repr_mimebundle_()
    assert bundle["text/plain"] == f"watch({written.run.id!r})"
    assert "application/vnd.jupyter.widget-view+json" in bundle
    picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).convert("RGB")
    drawn = {colour for _, colour in picture.getcolors(picture.width * picture.height) or []}
    for colour in (style.AFTER, style.JUDGE):
        wanted = tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))
        assert any(sum(abs(a - b) for a, b in zip(wanted, seen, strict=True)) < 24 for seen in drawn)


def test_a_long_watch_keeps_no_memory(written: WrittenRun) -> None:
    curves = watch(written.run)
    for step in range(1, 60):
        written.steps(step, step)
        curves.ticker.look()
    tracemalloc.start()
    for _ in range(60):  # the same file again and again: as many points, only newer
        written.run.folder.metrics.write_text("")
        written.steps(1, 60)
        curves.ticker.look()
    early, _ = tracemalloc.get_traced_memory()
    for _ in range(120):
        written.run.folder.metrics.write_text("")
        written.steps(1, 60)
        curves.ticker.look()
    late, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert late - early < 300_000
