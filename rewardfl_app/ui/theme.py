"""Look of the page: theme, style sheet and shared scripts, all served by the app itself, nothing from outside."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import gradio as gr
from gradio.themes.utils import colors, sizes
from gradio.themes.utils.fonts import LocalFont

ASSETS = Path(__file__).parent / "assets"
STYLES = (
    "page.css",
    "chart.css",
    "hacking.css",
    "train.css",
    "train_memory.css",
    "dataset.css",
    "monitor.css",
    "ab_player.css",
    "compare.css",
    "faces.css",
    "runs.css",
    "playground.css",
)
# Run before any component: what several pages share.
SCRIPTS = (
    "shared.js",
    "route.js",
    "upload.js",
    "chart_parts.js",
    "chart_group.js",
    "chart.js",
    "hacking.js",
    "monitor_curves.js",
    "monitor_settings.js",
    "overlay.js",
    "player.js",
    "ab_curve.js",
    "ab_stage.js",
    "ab_player.js",
)

# IBM Plex Sans comes with Gradio and is served by the app, so the page looks the same where Inter is not installed.
FONT = ("Inter", LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif")
FONT_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")

ACCENT = colors.Color(
    name="iris",
    c50="#f1f1fe",
    c100="#e4e4fd",
    c200="#cdcdfb",
    c300="#adadf6",
    c400="#8b8bf0",
    c500="#6a6ae6",
    c600="#5b5bd6",
    c700="#4a49b5",
    c800="#3d3d92",
    c900="#333474",
    c950="#1f1f47",
)
SLATE = colors.Color(
    name="slate",
    c50="#f7f8fa",
    c100="#eef0f4",
    c200="#e2e5ec",
    c300="#cbd0db",
    c400="#98a0b1",
    c500="#697184",
    c600="#4b5365",
    c700="#343b4b",
    c800="#1d222d",
    c900="#141821",
    c950="#0d1017",
)


@cache
def asset(name: str) -> str:
    """Text of a file of the assets folder.

    Raises:
        FileNotFoundError: the package was installed without its assets.
    """
    return (ASSETS / name).read_text(encoding="utf-8")


def theme() -> gr.themes.Base:
    """The Gradio theme; colours of the page's own components are the custom properties of assets/page.css."""
    return gr.themes.Base(
        primary_hue=ACCENT,
        secondary_hue=ACCENT,
        neutral_hue=SLATE,
        text_size=sizes.text_md,
        radius_size=sizes.radius_lg,
        font=FONT,
        font_mono=FONT_MONO,
    ).set(
        body_background_fill="#f5f6f9",
        body_background_fill_dark="#0d1017",
        body_text_color="#171b26",
        body_text_color_dark="#e8ebf2",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_shadow="none",
        layout_gap="0px",
    )


def css() -> str:
    """The style sheet of the whole page."""
    return "\n".join(asset(name) for name in STYLES)


def head() -> str:
    """Scripts that run before any component: the shared functions, the chart and the video overlay."""
    scripts = "\n".join(asset(name) for name in SCRIPTS)
    return f"<script>\n{scripts}\n</script>"
