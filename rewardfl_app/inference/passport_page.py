"""The page of a passport: facts and clips as one HTML text; every text from outside is escaped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from rewardfl_app.config import family
from rewardfl_app.inference.passport_charts import Line, Point, chart
from rewardfl_app.inference.passport_facts import Facts
from rewardfl_app.inference.report_charts import interval_bar
from rewardfl_app.inference.report_page import OTHERS, TILES
from rewardfl_app.runs import alarm
from rewardfl_app.runs.alarm import Record
from rewardfl_app.runs.change import number

if TYPE_CHECKING:
    from rewardfl_app.inference.passport import Clip

EXPERTS = {"dit": "the high-noise expert", "dit2": "the low-noise expert"}
# key in metrics.jsonl, title; drawn where it was measured
CURVES = (
    ("eval/reward", "Reward"),
    ("eval/judge", "Judge"),
    ("eval/motion", "Motion, %"),
    ("loss", "Loss"),
    ("kl", "KL"),
    ("learning_rate", "Learning rate"),
)
_KINDS = {"eval/reward": "is", "eval/judge": "judge", "eval/motion": "motion"}
_TEMPLATE = Path(__file__).with_name("passport_page.html")


def render(facts: Facts, clips: Sequence[Clip]) -> str:
    """The whole page."""
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(facts.name),
        what=_what(facts),
        tone=_verdict(facts)[0],
        sentence=escape(_verdict(facts)[1]),
        notes=_notes(facts),
        tiles="".join(_tile(facts, *tile) for tile in TILES),
        clips=_clips(facts, clips),
        curves=_curves(facts),
        measures=_measures(facts),
        differences=_differences(facts),
        settings=_settings(facts),
        data=_clip_counts(facts) + _files("Lists of clips", facts.info.get("data")),
        weights=_weights(facts.info),
        versions=_versions(facts.info),
        licences="".join(f"<li>{escape(text)}</li>" for text in facts.licences),
        reproduce=_reproduce(facts),
        yaml=escape(facts.yaml),
        footer=escape(f"Run {facts.id}. {facts.state} Written {_date(time.time())} from the files of the run."),
    )


def _what(facts: Facts) -> str:
    values = {setting.field: setting.value for setting in facts.settings}
    experts = [EXPERTS.get(name, name) for name in values["model.trainable_models"].split(",") if name]
    how = f"LoRA of rank {values['lora.lora_rank']}" if values["lora.lora_base_model"] else "All weights"
    at = f"after {facts.step} steps" if facts.step is not None else f"{facts.steps_made} steps made, not evaluated"
    kind = family.FAMILIES.get(facts.model)
    model = f"<b>{escape(kind.title if kind else facts.model)}</b>"
    of = f"<b>{escape(' and '.join(experts))}</b> of " if kind is None or kind.is_mixture else ""
    parts = [
        f"{how} on {of}{model}",
        f"<b>{escape(at)}</b>",
        f"trained towards {escape(values['reward.rewards'])}",
    ]
    created = number(facts.info.get("created"))
    if created is not None:
        parts.append(f"started {_date(created)}")
    return ", ".join(parts)


def _verdict(facts: Facts) -> tuple[str, str]:
    if facts.evaluation is None:
        return "neutral", "This run has no evaluation after training, so nothing is known of what it came to."
    if facts.alarm is not None:
        return "warning", facts.alarm.sentence
    if facts.best is not None and facts.best.step == facts.step:
        return "good", f"The best step of the run by the rule. {facts.best.why}"
    if facts.best is not None:
        return "neutral", f"Not the best step of the run by the rule, which is step {facts.best.step}: {facts.best.why}"
    return "neutral", "No step of this run is the best by the rule: identity up, 95% of the motion left, no alarm."


def _notes(facts: Facts) -> str:
    tags = facts.info.get("tags")
    names = "".join(f"<span>{escape(str(tag))}</span>" for tag in tags) if isinstance(tags, list) else ""
    notes = str(facts.info.get("notes") or "")
    parent = facts.info.get("parent")
    fork = f"<p>Made from run {escape(str(parent))}.</p>" if parent else ""
    text = f"<p>{escape(notes)}</p>" if notes else ""
    return f'<div class="notes">{f"<p>{names}</p>" if names else ""}{text}{fork}</div>' if names or text or fork else ""


def _tile(facts: Facts, name: str, title: str, unit: str, digits: int, note: str) -> str:
    gain = alarm.gain(facts.evaluation, name) if facts.evaluation else None
    if facts.evaluation is None or gain is None:
        body = '<p class="delta none">not measured</p>'
    else:
        before, after = (number(facts.evaluation.get(f"eval/{name}{part}")) for part in ("_baseline", ""))
        body = (
            f'<p class="delta">{_signed(gain.value, digits)}<small>{unit}</small></p>'
            f'<p class="from">{_value(before, digits)} &rarr; <b>{_value(after, digits)}</b>{unit}</p>'
            f"{interval_bar(gain.value, gain.low, gain.high)}"
            f'<p class="note">{_interval(gain.low, gain.high, digits, unit)}</p>'
        )
    return f'<div class="tile {name}"><h3>{title}</h3>{body}<p class="note">{escape(note)}</p></div>'


def _clips(facts: Facts, clips: Sequence[Clip]) -> str:
    if not clips:
        return "" if facts.step is None else '<p class="muted">The evaluation videos are no longer there.</p>'
    return "".join(_clip(clip) for clip in clips)


def _clip(clip: Clip) -> str:
    prompt = escape(clip.prompt, quote=True)
    about = f"Before on the left, after on the right: {prompt}"
    if clip.video is None:
        shown = f'<img src="{clip.poster}" alt="{about}">'
    else:
        playing = "controls muted loop playsinline preload"
        shown = f'<video src="{clip.video}" poster="{clip.poster}" {playing} aria-label="{about}"></video>'
    seed = "" if clip.seed is None else f"seed {clip.seed}, "
    scores = f"reward {_value(clip.before, 3)} &rarr; <b>{_value(clip.after, 3)}</b>"
    return (
        f'<article>{shown}<div class="sides"><span class="before">before</span><span class="after">after</span></div>'
        f'<p class="rank">{escape(clip.rank)}</p><p>{escape(clip.prompt)}</p>'
        f'<p class="note">{seed}{scores}</p></article>'
    )


def _curves(facts: Facts) -> str:
    started = facts.alarm.since if facts.alarm else None
    figures = []
    for key, title in CURVES:
        evaluated = key.startswith("eval/")
        points = _points(facts.evaluations if evaluated else facts.training, key)
        kind = _KINDS.get(key, "is")
        lines = [Line(title, kind, points, dots=evaluated)]
        if evaluated and points and (before := _baseline(facts.evaluations, key)) is not None:
            lines.insert(0, Line("before", "was", [Point(0, before), Point(points[-1].step, before)]))
        marks = (facts.step, started) if evaluated else (None, None)
        picture = chart(lines, f"{title} over the steps", *marks)
        if picture:
            figures.append(f'<figure class="{kind}"><figcaption>{title}</figcaption>{picture}</figure>')
    return "".join(figures) or '<p class="muted">Nothing was measured yet.</p>'


def _points(records: Sequence[Record], key: str) -> list[Point]:
    found = []
    for record in records:
        value, before = number(record.get(key)), number(record.get(f"{key}_baseline"))
        low, high = (number(record.get(f"{key}_gain_{end}")) for end in ("low", "high"))
        if value is None:
            continue
        if before is None or low is None or high is None:
            found.append(Point(record["step"], value))
        else:
            found.append(Point(record["step"], value, before + low, before + high))
    return found


def _baseline(evaluations: Sequence[Record], key: str) -> float | None:
    known = [value for record in evaluations if (value := number(record.get(f"{key}_baseline"))) is not None]
    return known[-1] if known else None


def _measures(facts: Facts) -> str:
    record = facts.evaluation
    if record is None:
        return ""
    known = {name: (title, unit, digits, note) for name, title, unit, digits, note in (*TILES, *OTHERS)}
    names = dict.fromkeys([*known, *(key[5:-5] for key in record if key.startswith("eval/") and key.endswith("_gain"))])
    rows = []
    for name in names:
        gain = alarm.gain(record, name)
        if gain is None:
            continue
        title, unit, digits, note = known.get(name, (name.replace("_", " ").replace("/", ": "), "", 3, ""))
        before, after = (number(record.get(f"eval/{name}{part}")) for part in ("_baseline", ""))
        rows.append(
            f"<tr><th>{escape(title)}<small>{escape(note)}</small></th><td>{_value(before, digits)}{unit}</td>"
            f"<td>{_value(after, digits)}{unit}</td><td>{_signed(gain.value, digits)}</td>"
            f"<td>{_ends(gain.low, gain.high, digits)}</td></tr>"
        )
    head = "<thead><tr><th></th><th>before</th><th>after</th><th>change</th><th>95% interval</th></tr></thead>"
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>" if rows else ""


def _differences(facts: Facts) -> str:
    rows = "".join(
        f"<tr><th><code>{escape(setting.field)}</code></th><td>{_said(setting.preset)}</td><td><b>{_said(setting.value)}</b></td></tr>"
        for setting in facts.settings
        if setting.differs
    )
    against = f"the preset {facts.preset}" if facts.preset else "the defaults"
    changed = "".join(f"<li>{escape(sentence)}</li>" for sentence in facts.changes)
    live = f"<h3>Changed on the way</h3><ul>{changed}</ul>" if changed else ""
    if not rows:
        return f'<p class="muted">Every setting is that of {escape(against)}.</p>{live}'
    head = f"<thead><tr><th>Setting</th><th>{escape(against)}</th><th>this run</th></tr></thead>"
    return f"<table>{head}<tbody>{rows}</tbody></table>{live}"


def _settings(facts: Facts) -> str:
    return "".join(
        f"<tr{' class=other' if s.differs else ''}><th><code>{escape(s.field)}</code></th>"
        f"<td>{_said(s.value)}</td></tr>"
        for s in facts.settings
    )


def _clip_counts(facts: Facts) -> str:
    said = [f"{count} clips to {purpose}" for purpose, count in facts.num_clips.items()]
    return f"<p>{' and '.join(said)}.</p>" if said else ""


def _weights(info: dict[str, Any]) -> str:
    origin = str(info.get("origin") or "")
    said = f"<p>From the Hugging Face cache: <code>{escape(origin)}</code></p>" if origin else ""
    return said + _files("Weights", info.get("weights"))


def _files(title: str, found: object) -> str:
    """Names, sizes and hashes; of a path only its last two parts, which say what it is and not where it lies."""
    entries = list(found.values()) if isinstance(found, dict) else found if isinstance(found, list) else []
    rows = []
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        name = "/".join(Path(str(entry.get("path") or "")).parts[-2:])
        mark = (
            str(entry.get("sha256") or "") or f"changed {_date(number(entry.get('modified')))}, too large to be hashed"
        )
        rows.append(
            f"<tr><th>{escape(name)}</th><td>{_bytes(number(entry.get('bytes')))}</td><td><code>{escape(mark)}</code></td></tr>"
        )
    if not rows:
        return f'<p class="muted">{escape(title)}: nothing was noted.</p>'
    head = f"<thead><tr><th>{escape(title)}</th><th>size</th><th>SHA-256</th></tr></thead>"
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"


def _versions(info: dict[str, Any]) -> str:
    versions = info.get("versions")
    found = versions if isinstance(versions, dict) else {}
    said = ", ".join(f"{escape(str(name))} {escape(str(version))}" for name, version in found.items())
    return f"<p>{said or 'Not noted.'}</p>"


def _reproduce(facts: Facts) -> str:
    git = facts.info.get("git")
    code = "<li>Install this package in the version below.</li>"
    if isinstance(git, dict) and git.get("revision"):
        changed = " (files had been changed since that revision)" if git.get("changed") else ""
        code = f"<li>Check out revision <code>{escape(str(git['revision']))}</code> of the code{changed}.</li>"
    steps = [
        "Save the settings at the end of this page as <code>config.yaml</code>. Of paths only the last two names stand "
        "there: put in where your own copies are.",
        "Run <code>python -m rewardfl_app train config.yaml</code>. With the same versions on the same machine it "
        "gives the same numbers.",
    ]
    if facts.changes:
        steps.append("The settings are those at the end; what was changed on the way is listed above with its step.")
    return f"<ol>{code}{''.join(f'<li>{step}</li>' for step in steps)}</ol>"


def _said(text: str) -> str:
    return escape(text) if text else '<span class="muted">empty</span>'


def _interval(low: float | None, high: float | None, digits: int, unit: str) -> str:
    if low is None or high is None:
        return "one video: no interval"
    return f"95% interval {_signed(low, digits)} to {_signed(high, digits)}{unit}"


def _ends(low: float | None, high: float | None, digits: int) -> str:
    return "&ndash;" if low is None or high is None else f"{_signed(low, digits)} to {_signed(high, digits)}"


def _value(value: float | None, digits: int) -> str:
    return "&ndash;" if value is None else f"{value:.{digits}f}".replace("-", "&minus;")


def _signed(value: float, digits: int) -> str:
    text = f"{abs(value):.{digits}f}"
    return ("" if float(text) == 0.0 else "+" if value > 0 else "&minus;") + text


def _bytes(size: float | None) -> str:
    if size is None:
        return "&ndash;"
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


def _date(unix: float | None) -> str:
    return "at an unknown time" if unix is None else time.strftime("%d %B %Y, %H:%M UTC", time.gmtime(unix))
