"""The passport: one file, offline, true to the run, and safe to open."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from page_run import FakeRun

from rewardfl_app.cli import app as cli
from rewardfl_app.config import presets
from rewardfl_app.config.schema import Config
from rewardfl_app.inference import passport
from rewardfl_app.inference.passport import PassportError
from rewardfl_app.runs import about, alarm, best
from rewardfl_app.runs.metrics import current, is_evaluation, read_all

HOSTILE = '<img src=x onerror="window.hacked=1">'


class Links(HTMLParser):
    """Every address of a page, every tag, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.page = page
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            value or "" for name, value in attrs if name in ("src", "href", "poster", "srcset", "action")
        ]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data

    def codes(self, first: str, last: str) -> list[str]:
        """The pieces of code between two headings."""
        part = self.page.partition(f"<h2>{first}</h2>")[2].partition(f"<h2>{last}</h2>")[0]
        return re.findall("<code>(.*?)</code>", part)


@pytest.fixture
def trained(tmp_path: Path) -> FakeRun:
    """A run with three evaluation videos, evaluated at steps 10 and 20."""
    run = FakeRun(tmp_path, "a better face", total=20, prompts=("one", "two", HOSTILE))
    run.baseline()
    for step in range(1, 21):
        run.step(step)
        if step % 10 == 0:
            run.evaluate(step)
            run.checkpoint(step)
    run.finish(sentence="Completed all 20 steps.")
    return run


def _page(run: FakeRun, settings: Config | None = None, **options: Any) -> Links:
    out = run.folder.path.parent / "passport.html"
    assert passport.build(run.folder, settings or presets.preset("pocket"), out, **options) == out
    return Links(out.read_text(encoding="utf-8"))


def test_it_asks_for_nothing_outside_and_runs_nothing(trained: FakeRun) -> None:
    about.update(trained.folder, name=HOSTILE, notes=HOSTILE, tags=[HOSTILE])
    page = _page(trained)
    assert page.addresses and all(address.startswith("data:") for address in page.addresses)
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) >= 4  # name, notes, tag and prompt stand there as text


def test_it_shows_the_pairs_that_gained_most_and_least(trained: FakeRun) -> None:
    page = _page(trained)
    assert page.tags.count("video") == 3
    for words in ("gained most", "in the middle", "gained least", "one", "two"):
        assert words in page.text


def test_its_numbers_are_those_of_the_run(trained: FakeRun) -> None:
    page = _page(trained)
    last = [record for record in current(read_all(trained.folder.metrics)) if is_evaluation(record)][-1]
    gain = alarm.gain(last, "judge")
    assert gain is not None
    assert f"+{gain.value:.3f}" in page.text and "after 20 steps" in page.text
    assert page.tags.count("figure") >= 5


def test_it_is_about_the_best_step_or_the_one_that_is_named(trained: FakeRun) -> None:
    records = [record for record in current(read_all(trained.folder.metrics)) if is_evaluation(record)]
    chosen = best.choose(records[:2])
    assert chosen is not None and chosen.step == 10
    best.write(trained.folder, chosen)
    assert "after 10 steps" in _page(trained).text
    other = _page(trained, step=20).text
    assert "after 20 steps" in other and "which is step 10" in other
    with pytest.raises(PassportError, match="no evaluation of step 15"):
        _page(trained, step=15)


def test_it_says_what_differs_from_the_preset_and_how_to_do_it_again(trained: FakeRun) -> None:
    config = presets.preset("pocket")
    changed = config.model_copy(update={"train": config.train.model_copy(update={"learning_rate": 1e-3})})
    page = _page(trained, changed)
    assert page.codes("What is different from the preset", "What it was made of") == ["train.learning_rate"]
    assert "python -m rewardfl_app train config.yaml" in page.text and "learning_rate: 0.001" in page.text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pocket", "on the low-noise expert of the pocket family"),
        ("wan22_i2v_a14b", "on the low-noise expert of Wan2.2-I2V-A14B"),
        ("wan22_5b_24gb", "LoRA of rank 32 on Wan2.2-TI2V-5B"),
    ],
)
def test_a_family_is_named_and_compared_with_its_own_preset(trained: FakeRun, name: str, words: str) -> None:
    page = _page(trained, presets.preset(name))
    assert words in " ".join(page.text.split())
    assert page.codes("What is different from the preset", "What it was made of") == []


def test_where_things_lay_is_nobodys_business(trained: FakeRun) -> None:
    config = presets.preset("wan22_i2v_a14b")
    reward = config.reward.model_copy(update={"reward_model_path": "/home/somebody/secret/antelopev2"})
    page = _page(trained, config.model_copy(update={"reward": reward}))
    assert "secret/antelopev2" in page.text and "/home/somebody" not in page.text
    assert "non-commercial research only" in page.text


def test_a_run_without_an_evaluation_says_so(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "ended early")
    run.finish("failed", "The GPU ran out of memory.", "Lower the resolution.", 1)
    page = _page(run)
    assert "no evaluation after training" in page.text and "The GPU ran out of memory." in page.text
    assert "video" not in page.tags


def test_the_command_writes_it(trained: FakeRun, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "given" / "passport.html"
    arguments = ["passport", trained.folder.id, "--runs-dir", str(tmp_path), "--out"]
    assert cli.main([*arguments, str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out) and out.stat().st_size > 10_000
    assert cli.main([*arguments, str(tmp_path / "passport.txt")]) == 2
    assert "must end with .html" in capsys.readouterr().err
