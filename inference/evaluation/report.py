"""The report: one HTML page that needs no other file, with the figures inside it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from offramp.inference.evaluation.tables import (
    CALIBRATION,
    TABLE_2,
    TABLE_3,
    cost_table,
    difference_table,
    horizon_table,
    kind_table,
    length,
    score_table,
    settings_table,
)
from offramp.inference.evaluation.verdict import verdict

STYLE = """:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#1a1a1a;background:#fff}
h2{margin-top:2em;border-top:1px solid #ddd;padding-top:.7em}
nav a{margin-right:1em;white-space:nowrap}a{color:#00528a}
table{border-collapse:collapse;margin:.6em 0;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:3px 9px;border-bottom:1px solid #ddd;text-align:right;background:#fff;vertical-align:top}
th{border-bottom:2px solid #666;vertical-align:bottom}th.over{text-align:center;border-bottom:1px solid #666}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;white-space:nowrap}
.words{text-align:left;min-width:9em}
small{color:#555;white-space:nowrap}.best,.best small{font-weight:700}.published{font-style:italic}
.wrap{overflow-x:auto}img{max-width:100%;height:auto}figure{margin:1.5em 0}
figcaption,.note{color:#444;font-size:14px;max-width:52em}
.verdict{background:#f3f6fa;border-left:4px solid #0072B2;padding:.3em 1em}.verdict th,.verdict td{background:#f3f6fa}
.warning{background:#fff4e0;border-left:4px solid #E69F00;padding:.6em 1em}
code{background:#f2f2f2;padding:0 3px;overflow-wrap:anywhere}dt{font-weight:600}dd{margin:0 0 .4em 1.5em}
@media(max-width:700px){figure img{max-width:none;width:760px}th,td{padding:3px 6px}td:first-child{white-space:normal}}
"""
WORDS = (
    ("Class", "how much the link will queue: Normal, Medium or High, by two limits of the delay. Accuracy is the share "
     "of forecasts that name the right one."),
    ("Macro F1", "the mean over the three classes of how well each is found (recall) and how true its forecasts are "
     "(precision): a rare class counts as much as a frequent one. 1 is perfect."),
    ("AUC", "how well the probability of a class tells it from the rest, at all limits: 0.5 is chance, 1 perfect."),
    ("MAE, RMSE", "how far the forecast delay is from the true one, in ms: the mean, and one in which large errors "
     "weigh more. Less is better."),
    ("ECE", "how far stated probabilities are from what came true: 0.05 is five percentage points."),
    ("Interval", "what the score might have been had other stretches of the same recordings been tested. Where two "
     "models' intervals do not overlap the difference is sure; where they do, look at the paired differences."),
)  # fmt: skip


class Picture(NamedTuple):
    """A figure on the page: its file, the section it stands in, and what it shows."""

    path: Path
    section: str
    caption: str


class Section(NamedTuple):
    """A part of the page: the name it is linked by, its title, and what is in it."""

    name: str
    title: str
    parts: Sequence[str]


def page(results: Mapping[str, Any], pictures: Sequence[Picture], notes: Sequence[str]) -> str:
    """Return the page: verdict, tables 2 and 3 beside what was published, figures by section, notes."""
    sections = [each for each in _sections(results, pictures, notes) if any(each.parts)]
    links = " ".join(f'<a href="#{each.name}">{each.title}</a>' for each in sections)
    body = [
        f"<h1>Congestion forecasts {length(results['horizon_ms'])} ahead: the hybrid and its rivals</h1>",
        budget_warning(results), verdict(results), about(results), f"<nav>{links}</nav>", words(),
        *(part for each in sections for part in (f'<h2 id="{each.name}">{each.title}</h2>', *each.parts)),
    ]  # fmt: skip
    return "\n".join([
        '<!DOCTYPE html>', '<html lang="en"><head><meta charset="utf-8"><title>offramp evaluate</title>',
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>',
        "<body>", *body, "</body></html>\n",
    ])  # fmt: skip


def _sections(results: Mapping[str, Any], pictures: Sequence[Picture], notes: Sequence[str]) -> Iterable[Section]:
    """Yield all parts of the page in order; one with nothing in it has empty parts."""

    def shown(section: str) -> list[str]:
        return [figure(picture) for picture in pictures if picture.section == section]

    yield Section("all", "All models at a glance", shown("all"))
    yield Section("classes", "Classes (table 2)", [score_table(results, TABLE_2), *shown("classes")])
    yield Section("delay", "Delay (table 3)", [score_table(results, TABLE_3), *shown("delay")])
    yield Section("pairs", "Against the hybrid, pair by pair", [difference_table(results)])
    yield Section("kinds", "By kind of source", [kind_table(results)])
    yield Section("calibration", "Calibration", [score_table(results, CALIBRATION), *shown("calibration")])
    yield Section("horizons", "Over the horizon", [horizon_table(results), *shown("horizons")])
    yield Section("learning", "Over the training data", shown("learning"))
    yield Section("importance", "What the forecasts rest on", shown("importance"))
    yield Section("cost", "What a forecast costs", [cost_table(results), *shown("cost")])
    yield Section("data", "The data", shown("data"))
    yield Section("edge", "Edge-IIoTset", [*(f"<p>{escape(note)}</p>" for note in notes), *shown("edge")])
    yield Section("method", "How it was done", [method(results), settings_table(results)])


def figure(picture: Picture) -> str:
    """Return a picture with its caption, its file's bytes in the page."""
    data = base64.b64encode(picture.path.read_bytes()).decode()
    caption = escape(picture.caption)
    return (
        f'<figure><div class="wrap" tabindex="0"><img alt="{caption}" src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def budget_warning(results: Mapping[str, Any]) -> str:
    """Return a warning where models were trained with less than the full budget; else nothing."""
    if results["full_budget"]:
        return ""
    budget = results["budget"]
    return (
        '<p class="warning">Trained with less than the full budget (at most '
        f"{budget['rows']:,} rows of a table, {budget['bins']:,} bins and {budget['epochs']} epochs of a network): "
        "networks suffer most from that, so this ranking is not the final one.</p>"
    )


def about(results: Mapping[str, Any]) -> str:
    """Return what was tested on."""
    test, (low, high) = results["test"], results["thresholds_ms"]
    return (
        f"<p>{test['forecasts']:,} forecasts on {test['series']:,} series of {test['sources']} sources that no model "
        f"was trained or tuned on. Target: the largest queueing delay of the next {length(results['horizon_ms'])}; "
        f"Medium from {low:.3g} ms, High from {high:.3g} ms. Intervals: 95 %, moving block bootstrap of "
        f"{test['blocks']} blocks of {test['block_s']:g} s. Data set <code>{results['fingerprint'][:16]}</code>; "
        f"made by <code>{escape(results['command'])}</code>.</p>"
    )


def words() -> str:
    """Return what the page's words mean, folded away."""
    definitions = "".join(f"<dt>{word}</dt><dd>{meaning}</dd>" for word, meaning in WORDS)
    return f"<details><summary>What the words mean</summary><dl>{definitions}</dl></details>"


def method(results: Mapping[str, Any]) -> str:
    """Return how models were compared."""
    return (
        "<p>Every model learned from the training part and was tuned on the validation part; the test part was only "
        "forecast. Tables of features hold every k-th bin up to the budget; support vector machines see at most "
        "their share of it, through a Nystroem map. A forecast of a bin knows that bin and what came before. Intervals "
        "resample stretches of time of whole recordings, because neighbouring forecasts are alike; results.json also "
        "has intervals that resample whole recordings. Published figures are of other data with other labels: they "
        f"stand beside ours, not against them. Seed {results['seed']}.</p>"
    )
