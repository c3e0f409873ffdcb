"""The charts of a contest: means with their intervals, distributions of the delay, an episode, trials of the tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.stream.arena.contest import SHARES, Contest
from offramp.stream.arena.episode import BOUND, Outcome
from offramp.stream.arena.report.svg import (
    FAINT,
    INK,
    Axis,
    along,
    area,
    circle,
    line,
    path,
    picture,
    text,
    thinned,
    up,
)

WIDTH, LEFT, RIGHT = 960, 130, 940
COLOURS = ("#7F7F7F", "#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
"""Okabe and Ito's, which the colour-blind can tell apart; the bound is black."""
DASHES = ("", "6 3", "2 2")
COLUMNS = 600
"""Points of a line over time: more cannot be told apart on the page."""
LONG = 24
"""Characters of a name that a picture has room for."""
AWAY, BACK = "#D55E00", "#009E73"

Rows = Mapping[str, Mapping[str, Any]]


class Look(NamedTuple):
    """How a policy is drawn in every chart."""

    colour: str
    dash: str


def looks(policies: Sequence[str]) -> dict[str, Look]:
    """Return the look of each policy."""
    others = [name for name in policies if name != BOUND]
    found = {
        name: Look(COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)])
        for number, name in enumerate(others)
    }
    return found | {BOUND: Look("#000000", "2 2")}


def means(rows: Rows, caption: str) -> str:
    """Return the mean delay of each policy as a dot with its interval; as set, where it was tuned, as a ring."""
    every = [each for row in rows.values() for each in (row, row.get("as_set")) if each is not None]
    axis = Axis(0.0, max(each["high_ms"] for each in every) * 1.02 + 1e-9, LEFT, RIGHT - 150)
    look, parts, bottom = looks(list(rows)), [], 10 + 30 * len(rows)
    parts.append(along(axis, 6, bottom, "mean delay of a packet, ms"))
    for number, (name, row) in enumerate(rows.items()):
        y, colour = 25.0 + 30 * number, look[name].colour
        parts.append(text(LEFT - 10, y + 4, name, anchor="end", size=13))
        for one, shift, filled in ((row.get("as_set"), 6.0, False), (row, 0.0, True)):
            if one is None or (not filled and not row["settings"]):
                continue
            at = y + shift
            parts.append(line(axis.at(one["low_ms"]), at, axis.at(one["high_ms"]), at, colour, 2 if filled else 1))
            parts.append(
                circle(axis.at(one["mean_ms"]), at, 5 if filled else 4, colour if filled else "#fff", edge=colour)
            )
        parts.append(
            text(RIGHT, y + 4, f"{row['mean_ms']:.2f} ({row['low_ms']:.2f}, {row['high_ms']:.2f})", anchor="end")
        )
    return picture(WIDTH, bottom + 38, parts, caption)


def distributions(quantiles_ms: Mapping[str, NDArray[np.float64]], caption: str) -> str:
    """Return the share of the packets that a delay is not above, a line for each policy."""
    least = max(min(float(each[0]) for each in quantiles_ms.values()), 0.01)
    most = max(max(float(each[-1]) for each in quantiles_ms.values()), least * 2)
    across, height = Axis(least, most, 60, RIGHT, log=True), Axis(0.0, 1.0, 330, 40)
    parts = [along(across, 40, 330, "delay of a packet, ms"), up(height, 60, RIGHT, "{:.0%}".format)]
    look = looks(list(quantiles_ms))
    step = (RIGHT - 60) / len(quantiles_ms)
    for number, (name, values) in enumerate(quantiles_ms.items()):
        at, (colour, dash) = 60 + number * step, look[name]
        parts.append(line(at, 16, at + 26, 16, colour, 3, dash) + text(at + 32, 20, name))
        parts.append(path(map(across.at, values), map(height.at, SHARES), colour, width=2, dash=dash))
    return picture(WIDTH, 370, parts, caption)


def changes(outcome: Outcome) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return when flows took another place, ns [n], and whether it was another than its own link."""
    sent = np.flatnonzero(outcome.place >= 0)
    order = sent[np.argsort(outcome.flow[sent], kind="stable")]
    flow, place = outcome.flow[order], outcome.place[order]
    new = np.flatnonzero((flow[1:] == flow[:-1]) & (place[1:] != place[:-1])) + 1
    return outcome.time_ns[order[new]], place[new] != outcome.link[flow[new]]


def episode(outcomes: Mapping[str, Outcome], places: Sequence[str], budget_ms: float, caption: str) -> str:
    """Return the queues of one episode over time, a strip for each policy, and when flows were moved and came back."""
    thin = {name: thinned(each.queue_ms, COLUMNS) for name, each in outcomes.items()}
    seconds = next(iter(outcomes.values())).seconds
    most = max(max(float(each.max(initial=0.0)) for each in thin.values()), budget_ms) * 1.05
    across, look = Axis(0.0, seconds, LEFT, RIGHT), looks(places)
    parts, top = _legend(places, budget_ms)
    top += 22
    for name, outcome in outcomes.items():
        height, x = Axis(0.0, most, top + 80, top), np.linspace(LEFT, RIGHT, len(thin[name])).tolist()
        parts.append(text(LEFT - 46, top + 44, name, anchor="end", size=13) + up(height, LEFT, RIGHT, most=3))
        parts.append(line(LEFT, height.at(budget_ms), RIGHT, height.at(budget_ms), INK, 0.8, "3 3"))
        for number, place in enumerate(places):
            y = [height.at(float(value)) for value in thin[name][:, number]]
            parts.append(path(x, y, look[place].colour, width=1.2) if number else area(x, y, top + 80, "#0072B2"))
        parts.append(line(LEFT, top + 80, RIGHT, top + 80))
        for at, away in zip(*changes(outcome), strict=True):
            here, high = across.at(float(at) / 1e9), top + (84 if away else 91)
            parts.append(line(here, high, here, high + 6, AWAY if away else BACK, 1.2))
        top += 112
    parts.append(along(across, top - 14, top - 14, "seconds"))
    return picture(WIDTH, top + 26, parts, caption)


def _legend(places: Sequence[str], budget_ms: float) -> tuple[list[str], float]:
    """Return what the colours of an episode mean, and how high that is."""
    look, parts, at, y = looks(places), list[str](), float(LEFT), 12.0
    names = [name if len(name) <= LONG else f"{name[: LONG - 3]}..." for name in places]
    entries = [("#0072B2", f"queue of {names[0]}, ms", 4.0)]
    entries += [(look[place].colour, f"of {name}", 2.0) for place, name in zip(places[1:], names[1:], strict=True)]
    entries += [
        (AWAY, "a flow is moved", 0.0),
        (BACK, "comes back", 0.0),
        (INK, f"dashed: {budget_ms:g} ms accepted", 0.0),
    ]
    for colour, words, thick in entries:
        if at + 30 + 7 * len(words) > RIGHT:
            at, y = float(LEFT), y + 18
        mark = line(at, y, at + 18, y, colour, thick) if thick else line(at + 9, y - 5, at + 9, y + 5, colour, 2)
        parts.append(mark + text(at + 24, y + 4, words))
        at += 44 + 7 * len(words)
    return parts, y


def trials(contest: Contest, caption: str) -> str:
    """Return the mean of each trial of the tuning, a row for each policy; the best one stands out."""
    tried = {name: contest.tried[name] for name in contest.policies if len(contest.tried.get(name, [])) > 1}
    every = [trial.mean_ms for found in tried.values() for trial in found]
    axis = Axis(min(every) * 0.9, max(every) * 1.1, LEFT, RIGHT, log=True)
    look, bottom = looks(contest.policies), 10 + 34 * len(tried)
    parts = [along(axis, 6, bottom, "mean delay on the seeds of tuning, ms (logarithmic)")]
    for number, (name, found) in enumerate(tried.items()):
        y, best = 27.0 + 34 * number, min(trial.mean_ms for trial in found)
        parts.append(text(LEFT - 10, y + 4, name, anchor="end", size=13) + line(LEFT, y, RIGHT, y, FAINT))
        for place, trial in enumerate(found):
            shift = (place * 7 % 15) - 7
            parts.append(circle(axis.at(trial.mean_ms), y + shift, 2.5, look[name].colour, opacity=0.5))
        parts.append(circle(axis.at(best), y, 6, "none", edge=look[name].colour))
        parts.append(circle(axis.at(found[0].mean_ms), y, 4, "#fff", edge="#000"))
    return picture(WIDTH, bottom + 38, parts, caption)
