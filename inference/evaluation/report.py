"""The report: one HTML page that needs no other file, with the figures inside it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from inference.evaluation.results import GOALS, REFERENCE
from inference.evaluation.scores import HIGHER_IS_BETTER
from inference.forecast import CLASSES
from inference.rivals.models import model_of

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#1a1a1a}
table{border-collapse:collapse;margin:1em 0;font-size:13px}
th,td{padding:3px 9px;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}th{border-bottom:2px solid #666;vertical-align:bottom}
td small{color:#666;white-space:nowrap}.best{font-weight:700}
.wrap{overflow-x:auto}img{max-width:100%;height:auto}figure{margin:1.5em 0}figcaption{color:#444;font-size:13px}
.verdict{background:#f3f6fa;border-left:4px solid #0072B2;padding:.6em 1em}code{background:#f2f2f2;padding:0 3px}
"""
TABLE_2 = (("accuracy", "accuracy"), ("precision", "macro precision"), ("recall", "macro recall"), ("f1", "macro F1"),
           *((f"auc_{name.lower()}", f"AUC {name}") for name in CLASSES))  # fmt: skip
TABLE_3 = (("mae_ms", "MAE, ms"), ("rmse_ms", "RMSE, ms"))
CALIBRATION = (
    ("ece", "ECE"),
    ("log_loss", "log loss"),
    ("coverage_q90", "truths ≤ 0.9 quantile"),
    ("coverage_q99", "≤ 0.99"),
)
PUBLISHED_NAMES = {"mae_ms": "mae", "rmse_ms": "rmse"}


class Picture(NamedTuple):
    """A figure on the page: its file, the section it stands in, and what it shows."""

    path: Path
    section: str
    caption: str


def page(results: Mapping[str, Any], pictures: Sequence[Picture], notes: Sequence[str]) -> str:
    """Return the page: verdict, tables 2 and 3 beside what was published, figures by section, notes."""
    parts = [
        f"<h1>Evaluation {results['horizon_ms']} ms ahead</h1>", about(results), verdict(results),
        "<h2>Classes (table 2)</h2>", score_table(results, TABLE_2), *_shown(pictures, "classes"),
        "<h2>Delay (table 3)</h2>", score_table(results, TABLE_3), *_shown(pictures, "delay"),
        *_titled("Against the hybrid, pair by pair", difference_table(results)),
        "<h2>By kind of source</h2>", kind_table(results),
        "<h2>Calibration</h2>", score_table(results, CALIBRATION), *_shown(pictures, "calibration"),
        *_titled("Over the horizon", horizon_table(results), *_shown(pictures, "horizons")),
        *_titled("What the forecasts rest on", *_shown(pictures, "importance")),
        "<h2>What a forecast costs</h2>", cost_table(results), *_shown(pictures, "cost"),
        "<h2>The data</h2>", *_shown(pictures, "data"),
        "<h2>Edge-IIoTset</h2>", *_shown(pictures, "edge"), *(f"<p>{escape(note)}</p>" for note in notes),
        "<h2>How it was done</h2>", method(results), settings_table(results),
    ]  # fmt: skip
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>offramp evaluate</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )


def _titled(title: str, *parts: str) -> list[str]:
    """Return parts under a title, nothing where they are all empty."""
    return [f"<h2>{title}</h2>", *parts] if any(parts) else []


def _shown(pictures: Sequence[Picture], section: str) -> list[str]:
    out = []
    for picture in pictures:
        if picture.section == section:
            data = base64.b64encode(picture.path.read_bytes()).decode()
            out.append(
                f'<figure><img alt="{escape(picture.caption)}" src="data:image/png;base64,{data}">'
                f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
            )
    return out


def about(results: Mapping[str, Any]) -> str:
    """Return what was tested on."""
    test, (low, high) = results["test"], results["thresholds_ms"]
    return (
        f"<p>{test['forecasts']:,} forecasts on {test['series']:,} series of {test['sources']} sources that no model "
        f"was trained or tuned on. Target: the largest queueing delay of the next {results['horizon_ms']} ms; "
        f"Medium from {low:.3g} ms, High from {high:.3g} ms. Intervals: 95 %, moving block bootstrap of "
        f"{test['blocks']} blocks of {test['block_s']:g} s. Data set <code>{results['fingerprint'][:16]}</code>; "
        f"made by <code>{escape(results['command'])}</code>.</p>"
    )


def verdict(results: Mapping[str, Any]) -> str:
    """Return who wins, in words: nothing is softened where it is a rival."""
    lines = []
    for score, winner in results["winners"].items():
        best, ties = winner["best"], winner["not_clearly_worse"]
        also = (
            f"; not clearly worse: {', '.join(model_of(n).title for n in ties)}"
            if ties
            else "; all others are clearly worse"
        )
        lines.append(f"<li>{LABEL.get(score, score)}: best is <b>{model_of(best).title}</b>{also}</li>")
    return f'<div class="verdict"><p><b>{escape(summary(results))}</b></p><ul>{"".join(lines)}</ul></div>'


LABEL = dict((*TABLE_2, *TABLE_3, *CALIBRATION))


def summary(results: Mapping[str, Any]) -> str:
    """Return in a sentence how the hybrid stands on the goal: macro F1 and MAE better than every rival's."""
    if REFERENCE not in results["models"]:
        return "The hybrid was not among the models; this is a comparison of rivals only."
    said = []
    for score in GOALS:
        sign = 1 if score in HIGHER_IS_BETTER else -1
        rivals = {n: d[score] for n, d in results["differences"].items() if n != "hybrid-paper"}
        beaten_by = [n for n, d in rivals.items() if sign * d["value"] > 0]
        overlapping = [n for n, d in rivals.items() if d["overlap"] and n not in beaten_by]
        if beaten_by:
            said.append(f"on {LABEL[score]} the hybrid loses to {', '.join(model_of(n).title for n in beaten_by)}")
        else:
            far = f"its interval overlaps that of {len(overlapping)} of {len(rivals)} rivals"
            said.append(f"on {LABEL[score]} the hybrid is the best; {far}")
    return "; ".join(said)[0].upper() + "; ".join(said)[1:] + "."


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for a cell; a dash for none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:,.0f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table of cells that are HTML already."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wrap"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def score_table(results: Mapping[str, Any], scores: Sequence[tuple[str, str]]) -> str:
    """Return scores with intervals by model, and what was published beside them where there is something."""
    models = results["models"]
    shows = any(model["published"].get(PUBLISHED_NAMES.get(key, key)) for model in models.values() for key, _ in scores)
    best = {}
    for key, _ in scores:
        values = {
            name: m["scores"][key]["value"] for name, m in models.items() if math.isfinite(m["scores"][key]["value"])
        }
        if values and not key.startswith("coverage"):
            best[key] = (max if key in HIGHER_IS_BETTER else min)(values, key=values.__getitem__)
    rows = []
    for name, model in models.items():
        cells = [escape(model["title"])]
        for key, _ in scores:
            one = model["scores"][key]
            text = number(one["value"])
            if math.isfinite(one["low"]):
                text += f"<br><small>{number(one['low'])}, {number(one['high'])}</small>"
            cells.append(f'<span class="best">{text}</span>' if best.get(key) == name else text)
            if shows:
                cells.append(number(model["published"].get(PUBLISHED_NAMES.get(key, key))))
        rows.append(cells)
    head = ["model"]
    for _, label in scores:
        head += [label, "<small>published,<br>other data</small>"] if shows else [label]
    return table(head, rows)


def difference_table(results: Mapping[str, Any]) -> str:
    """Return each rival's score minus the hybrid's, paired."""
    keys = (
        ("accuracy", "accuracy"),
        ("f1", "macro F1"),
        ("mae_ms", "MAE, ms"),
        ("rmse_ms", "RMSE, ms"),
        ("ece", "ECE"),
    )
    rows = []
    for name, found in results["differences"].items():
        cells = [escape(model_of(name).title)]
        for key, _ in keys:
            one = found[key]
            text = f"{one['value']:+.3f}<br><small>{one['low']:+.3f}, {one['high']:+.3f}</small>"
            sign = 1 if key in HIGHER_IS_BETTER else -1
            clear = one["low"] > 0 or one["high"] < 0
            mark = "" if not clear else " ▲" if sign * one["value"] > 0 else " ▼"
            cells.append(text.replace("<br>", f"{mark}<br>", 1))
        rows.append(cells)
    note = (
        "<p>Rival minus hybrid, on the same draws. ▲: the rival is clearly better, ▼: clearly worse (0 is outside the "
        "interval).</p>"
    )
    return note + table(["rival", *(label for _, label in keys)], rows) if rows else ""


def kind_table(results: Mapping[str, Any]) -> str:
    """Return accuracy and MAE by kind of source."""
    rows = []
    for kind, one in results["kinds"].items():
        cells = [escape(kind), f"{one['forecasts']:,}"]
        cells += [
            f"{number(m['accuracy'])}<br><small>{number(m['mae_ms'], 2)} ms</small>" for m in one["models"].values()
        ]
        rows.append(cells)
    first = next(iter(results["kinds"].values()))["models"]
    return "<p>Accuracy, and MAE below it.</p>" + table(
        ["kind", "forecasts", *(model_of(n).title for n in first)], rows
    )


def horizon_table(results: Mapping[str, Any]) -> str:
    """Return macro F1 and MAE by horizon."""
    if len(results["horizons"]) < 2:
        return ""
    names = list(results["horizons"][0]["models"])
    rows = []
    for row in results["horizons"]:
        low, high = row["thresholds_ms"]
        cells = [f"{row['horizon_ms']} ms", f"{low:.3g}, {high:.3g}"]
        for name in names:
            one = row["models"][name]
            cells.append(f"{number(one['accuracy']['value'])} / {number(one['f1']['value'])}<br>"
                         f"<small>{number(one['mae_ms']['value'], 2)} ms</small>")  # fmt: skip
        rows.append(cells)
    head = ["horizon", "classes from, ms", *(model_of(n).title for n in names)]
    return "<p>Accuracy / macro F1, and MAE below them.</p>" + table(head, rows)


def cost_table(results: Mapping[str, Any]) -> str:
    """Return costs of forecasts and of training."""
    rows = []
    for model in results["models"].values():
        cost = model["cost"]
        rows.append([escape(model["title"]), number(cost["cpu_us"], 1), number(cost["energy_mj"], 4),
                     number(cost["window_ms"], 2), number(model["fit_cpu_s"], 0)])  # fmt: skip
    source = next(iter(results["models"].values()))["cost"]["energy_source"]
    return f"<p>Energy: {escape(str(source))}.</p>" + table(
        [
            "model",
            "CPU time a forecast, µs",
            "energy a forecast, mJ",
            "wait for one window alone, ms",
            "training, CPU s",
        ],
        rows,
    )


def settings_table(results: Mapping[str, Any]) -> str:
    """Return the settings that the validation part chose."""
    return table(["model", "settings chosen"], [
        [escape(one["title"]), f"<small>{escape(str(one['settings']))}</small>"] for one in results["models"].values()
    ])  # fmt: skip


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
