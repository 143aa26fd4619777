"""The style sheet, as Gradio hands it to the browser."""

from __future__ import annotations

import re

from rewardfl_app.ui import theme

MEDIA = re.compile(r"@media[^{]*\{((?:[^{}]*\{[^{}]*\})*[^{}]*)\}")


def test_rules_of_media_queries_match_something() -> None:
    """Gradio writes its own container before each selector inside @media, and splits selectors at every comma: one that
    names the container itself, or has a list in brackets, would match nothing."""
    inside = [match.group(1) for match in MEDIA.finditer(theme.css())]
    assert len(inside) > 10
    selectors = [rule.strip() for block in inside for rule in re.findall(r"([^{}]+)\{[^{}]*\}", block)]
    broken = [s for s in selectors if ".gradio-container" in s or re.search(r":\w+\([^)]*,", s) or "body" in s]
    assert broken == []


def test_every_file_of_the_theme_is_there_once() -> None:
    for names in (theme.STYLES, theme.SCRIPTS):
        assert len(set(names)) == len(names)
        assert all(theme.asset(name).strip() for name in names)
