"""The tables of the report, as HTML."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any

from offramp.inference.baselines.models import model_of
from offramp.inference.evaluation.results import GOALS, REFERENCE
from offramp.inference.evaluation.scores import HIGHER_IS_BETTER
from offramp.inference.forecast import CLASSES

TABLE_2 = (("accuracy", "accuracy"), ("precision", "macro precision"), ("recall", "macro recall"), ("f1", "macro F1"),
           *((f"auc_{name.lower()}", f"AUC {name}") for name in CLASSES))  # fmt: skip
TABLE_3 = (("mae_ms", "MAE, ms"), ("rmse_ms", "RMSE, ms"))
CALIBRATION = (
    ("ece", "ECE"),
    ("log_loss", "log loss"),
    ("coverage_q90", "truths at or below<br>the 0.9 quantile"),
    ("coverage_q99", "at or below<br>the 0.99 quantile"),
)
LABELS = dict((*TABLE_2, *TABLE_3, *CALIBRATION))
PAIRED = ("accuracy", "f1", "mae_ms", "rmse_ms", "ece")
SHORT = (("accuracy", "accuracy"), ("f1", "F1"), ("mae_ms", "MAE, ms"))
PUBLISHED_NAMES = {"mae_ms": "mae", "rmse_ms": "rmse"}
BEST_RIVALS = 3
"""Rivals that are shown by kind of source."""


def number(value: float | None, score: str = "", *, signed: bool = False) -> str:
    """Return a score for a cell: three digits behind the point, one of milliseconds; a dash for none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:{'+' if signed else ''}.{1 if score.endswith('_ms') else 3}f}"


def length(ms: int) -> str:
    """Return a length of time as one says it."""
    return f"{ms} ms" if ms < 1_000 else f"{ms / 1_000:g} s"


def with_interval(one: Mapping[str, float], score: str, *, signed: bool = False) -> str:
    """Return a score and its interval below it."""
    text = number(one["value"], score, signed=signed)
    if math.isfinite(one["low"]):
        low, high = (number(one[end], score, signed=signed) for end in ("low", "high"))
        text += f"<br><small>{low}, {high}</small>"
    return text


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, groups: Sequence[tuple[str, int]] = (),
    words: Collection[int] = (),
) -> str:  # fmt: skip
    """Return an HTML table of cells that are HTML already.

    groups: titles over columns, and how many they span; words: columns of words, which stand to the left.
    """
    kind = ['<{0} class="words">' if i in words else "<{0}>" for i in range(len(head))]
    over = "".join(f'<th colspan="{span}" class="over">{title}</th>' for title, span in groups)
    top = "".join(kind[i].format("th") + f"{cell}</th>" for i, cell in enumerate(head))
    body = "".join(
        "<tr>" + "".join(kind[i].format("td") + f"{cell}</td>" for i, cell in enumerate(row)) + "</tr>" for row in rows
    )
    above = f"<tr>{over}</tr>" if over else ""
    return (
        f'<div class="wrap" tabindex="0"><table><thead>{above}<tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def score_table(results: Mapping[str, Any], scores: Sequence[tuple[str, str]]) -> str:
    """Return scores with intervals by model, and below them what was published where there is something."""
    models = results["models"]
    best = {key: _best(models, key) for key, _ in scores if not key.startswith("coverage")}
    rows, published = [], False
    for name, model in models.items():
        cells = [escape(model["title"])]
        for key, _ in scores:
            text = with_interval(model["scores"][key], key)
            text = f'<span class="best">{text}</span>' if best.get(key) == name else text
            theirs = model["published"].get(PUBLISHED_NAMES.get(key, key))
            if theirs is not None:
                text, published = f'{text}<br><small class="published">published {theirs:.3f}</small>', True
            cells.append(text)
        rows.append(cells)
    note = "<p>Bold: the best. Below a score its 95 % interval"
    note += ", then what was published of other data." if published else "."
    return f"{note}</p>" + table(["model", *(label for _, label in scores)], rows)


def _best(models: Mapping[str, Any], score: str) -> str | None:
    """Return the model with the best value of a score; None where none has one."""
    values = {name: m["scores"][score]["value"] for name, m in models.items()}
    values = {name: value for name, value in values.items() if math.isfinite(value)}
    return (max if score in HIGHER_IS_BETTER else min)(values, key=values.__getitem__) if values else None


def difference_table(results: Mapping[str, Any]) -> str:
    """Return each rival's score minus the hybrid's, paired."""
    rows = []
    for name, found in results["differences"].items():
        cells = [escape(model_of(name).title)]
        for key in PAIRED:
            one, sign = found[key], 1 if key in HIGHER_IS_BETTER else -1
            clear = one["low"] > 0 or one["high"] < 0
            mark = "" if not clear else " ▲" if sign * one["value"] > 0 else " ▼"
            cells.append(with_interval(one, key, signed=True).replace("<br>", f"{mark}<br>", 1))
        cells += ["overlap" if found[key]["overlap"] else "apart" for key in GOALS]
        rows.append(cells)
    note = (
        "<p>Rival minus hybrid, on the same draws of the bootstrap. ▲: the rival is clearly better, ▼: clearly worse "
        "(0 is outside the interval of the difference). The last columns tell whether the two models' own intervals "
        "overlap, which is the harder test.</p>"
    )
    head = ["rival", *(LABELS[key] for key in PAIRED), *(f"intervals of<br>{LABELS[key]}" for key in GOALS)]
    return note + table(head, rows) if rows else ""


def best_rivals(results: Mapping[str, Any], most: int = BEST_RIVALS) -> list[str]:
    """Return the rivals with the best macro F1, and that with the best MAE where it is none of them."""
    rivals = {name: m["scores"] for name, m in results["models"].items() if not name.startswith(REFERENCE)}
    chosen = sorted(rivals, key=lambda name: -rivals[name]["f1"]["value"])[:most]
    nearest = min(rivals, key=lambda name: rivals[name]["mae_ms"]["value"], default=None)
    return chosen if nearest is None or nearest in chosen else [*chosen, nearest]


def kind_table(results: Mapping[str, Any]) -> str:
    """Return accuracy, macro F1 and MAE of the hybrid and the best rivals by kind of source."""
    shown = [name for name in (REFERENCE,) if name in results["models"]] + best_rivals(results)
    rows = []
    for kind, one in results["kinds"].items():
        values = [{key: one["models"][name][key] for key, _ in SHORT} for name in shown]
        rows.append([escape(kind), f"{one['forecasts']:,}", *_short_cells(values)])
    note = (
        "<p>The hybrid and the rivals with the best macro F1 and MAE over all. Bold: the best of those shown. A kind "
        "of few forecasts, or of one recording, says little by itself; results.json has all models.</p>"
    )
    return note + table(["kind", "forecasts", *_short_head(shown)], rows, groups=_groups(shown))


def horizon_table(results: Mapping[str, Any]) -> str:
    """Return accuracy, macro F1 and MAE by horizon."""
    if len(results["horizons"]) < 2:
        return ""
    shown = list(results["horizons"][0]["models"])
    rows = []
    for row in results["horizons"]:
        low, high = row["thresholds_ms"]
        values = [{key: row["models"][name][key]["value"] for key, _ in SHORT} for name in shown]
        rows.append([length(row["horizon_ms"]), f"{low:.3g}, {high:.3g}", *_short_cells(values)])
    note = "<p>Each horizon has classes and forecasters of its own. Bold: the best.</p>"
    return note + table(["horizon", "classes from, ms", *_short_head(shown)], rows, groups=_groups(shown))


def _groups(names: Sequence[str]) -> list[tuple[str, int]]:
    return [("", 2), *((escape(model_of(name).title), len(SHORT)) for name in names)]


def _short_head(names: Sequence[str]) -> list[str]:
    return [label for _ in names for _, label in SHORT]


def _short_cells(values: Sequence[Mapping[str, float]]) -> list[str]:
    """Return cells of some models, the best of each score in bold."""
    best = {key: (max if key in HIGHER_IS_BETTER else min)(one[key] for one in values) for key, _ in SHORT}
    return [
        f'<span class="best">{number(one[key], key)}</span>' if one[key] == best[key] else number(one[key], key)
        for one in values for key, _ in SHORT
    ]  # fmt: skip


def cost_table(results: Mapping[str, Any]) -> str:
    """Return costs of forecasts and of training."""
    rows = [
        [escape(model["title"]), *(f"{model['cost'][key]:.3g}" for key in ("cpu_us", "energy_mj", "window_ms")),
         f"{model['fit_cpu_s']:,.0f}"] for model in results["models"].values()
    ]  # fmt: skip
    source = next(iter(results["models"].values()))["cost"]["energy_source"]
    note = (
        "<p>CPU time and energy are of one forecast among thousands made in one call, the wait is for one window of "
        f"64 bins alone. Energy: {escape(str(source))}.</p>"
    )
    head = [
        "model",
        "CPU time<br>a forecast, µs",
        "energy<br>a forecast, mJ",
        "wait for<br>one window, ms",
        "training,<br>CPU s",
    ]
    return note + table(head, rows)


def settings_table(results: Mapping[str, Any]) -> str:
    """Return the settings that the validation part chose."""
    rows = [[escape(one["title"]), escape(in_words(one["settings"])) or "-"] for one in results["models"].values()]
    return table(["model", "settings chosen on the validation part"], rows, words=(1,))


def in_words(settings: Mapping[str, Any]) -> str:
    """Return settings as `name value`, those of a part in brackets behind its name."""
    return ", ".join(
        f"{key} ({in_words(value)})" if isinstance(value, Mapping) else f"{key} {value}"
        for key, value in settings.items()
    )
