"""The page of an arena: what each policy would have brought, with pictures, as one HTML file that loads no other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from offramp.inference.evaluation.report import STYLE
from offramp.stream.arena.contest import RIVAL, Contest
from offramp.stream.arena.episode import BOUND
from offramp.stream.arena.measures import SURE_BLOCKS
from offramp.stream.arena.places import numbers_of
from offramp.stream.arena.report.charts import distributions, episode, means, trials
from offramp.stream.arena.report.columns import FELT, TOOK, TUNED, Column, Row, mean, settings_text

OWN_STYLE = """body{overflow-wrap:anywhere}nav a{white-space:normal}table{overflow-wrap:normal}
.wrap svg{display:block;width:100%;min-width:680px;height:auto}details{margin:.6em 0}
summary{cursor:pointer;color:#00528a}td{white-space:nowrap}td.words{white-space:normal;min-width:16em}
"""
SAFE = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What the page may load: nothing, and no script runs in it, whatever stands in a name."""
WORDS = (
    ("Delay", "of a packet: its wait in the queue, its transmission and the way itself; a lost packet counts as a "
     "fixed time that the scenario names. The interval is what the mean might have been had other stretches "
     "of time come."),
    ("late, congested", "share of the packets above the link's budget, and of the time in which some packet waited for "
     "longer than that on the watched link."),
    ("in time", "share of the requests that were served before their deadline; a dash where nothing has one."),
    ("the bound", f"{BOUND}: who knows every packet to come, and moves greedily. What a policy is over it is what "
     "better decisions could still win; near bound is the share of 5 s blocks within 5 % of it."),
    ("moves, back, flaps", "flows moved, given back, and moved again within 5 s of that, a minute; refused and failed "
     "are commands, broken are connections that a move made begin anew."),
)  # fmt: skip


def page(contests: Sequence[Contest], run: Mapping[str, str]) -> str:
    """Return the page; run: what was run, by name: command line, versions."""
    titles = [escape(contest.scenario.name) for contest in contests]
    links = [f'<a href="#s{number}">{title}</a>' for number, title in enumerate(titles)]
    body = [
        "<h1>What each policy would have brought</h1>",
        f"<nav>{' '.join(links)} <a href='#words'>words</a> <a href='#run'>what was run</a></nav>",
        *(overview(contests) if len(contests) > 1 else ()),
    ]
    for number, (title, contest) in enumerate(zip(titles, contests, strict=True)):
        body += [f'<h2 id="s{number}">{title}</h2>', *section(contest)]
    meant = "".join(f"<dt>{escape(word)}</dt><dd>{escape(meaning)}</dd>" for word, meaning in WORDS)
    ran = "".join(f"<dt>{escape(name)}</dt><dd><code>{escape(value)}</code></dd>" for name, value in run.items())
    body += [f'<h2 id="words">Words</h2><dl>{meant}</dl>', f'<h2 id="run">What was run</h2><dl>{ran}</dl>']
    return "\n".join([
        "<!DOCTYPE html>", '<html lang="en"><head><meta charset="utf-8"><title>offramp arena</title>',
        f'<meta http-equiv="Content-Security-Policy" content="{SAFE}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}{OWN_STYLE}</style></head><body>", *body, "</body></html>\n",
    ])  # fmt: skip


def overview(contests: Sequence[Contest]) -> Iterable[str]:
    """Return the means of all scenarios in one table."""
    policies = contests[0].policies
    lines = [[escape(each.scenario.name), *(mean(each.row(name)) for name in policies)] for each in contests]
    return "<h2>All scenarios</h2>", table(["mean delay, ms", *policies], lines)


def section(contest: Contest) -> Iterable[str]:
    """Yield what is told of a scenario."""
    scenario = contest.scenario
    rows = {name: contest.row(name) for name in contest.policies}
    standings = {name: contest.standing(name) for name in contest.policies}
    first, budget_ms = next(iter(rows.values())), scenario.link.budget_ms
    yield f"<p>{escape(about(contest))}</p>"
    if first["blocks"] < SURE_BLOCKS:
        few = f"{first['blocks']} blocks of 5 s, fewer than {SURE_BLOCKS}: the intervals are too narrow to rely on"
        yield f'<p class="warning">{few}.</p>'
    yield f'<div class="verdict">{verdict(rows)}</div>'
    rings = "; rings: as set, before tuning" if contest.trials else ""
    yield means(rows, f"Mean delay of a packet, lost ones counted, with its 95 % interval{rings}.")
    yield columns_table(rows, FELT)
    yield columns_table(rows, TOOK)
    yield distributions(
        {name: each.quantiles_ms for name, each in standings.items()},
        f"How many packets a delay is not above. A lost packet counts as {scenario.network.lost_ms:g} ms.",
    )
    yield episode(
        {name: each.first for name, each in standings.items()}, list(numbers_of(scenario.site)), budget_ms,
        "The same traffic under each policy, the first episode: queue of the watched link (area) and of where flows "
        "can go (lines), the largest of each stretch; below, flows that take another place.",
    )  # fmt: skip
    yield classes_table(rows)
    if contest.trials:
        yield from tuning(contest, rows)


def about(contest: Contest) -> str:
    """Return what a scenario is in a sentence."""
    scenario, link = contest.scenario, contest.scenario.link
    told = f"{scenario.about[:1].upper()}{scenario.about[1:]}. " if scenario.about else ""
    number = f"{contest.seeds} episodes" if contest.seeds > 1 else "One episode"
    return (
        f"{told}{number} of {scenario.seconds:g} s. Commands are carried out {scenario.network.command_ms:g} ms after "
        f"the bin that they are of. The link {link.name} has {link.capacity_bps / 1e6:g} Mbit/s up, and its "
        f"users accept {link.budget_ms:g} ms."
    )


def verdict(rows: Mapping[str, Row]) -> str:
    """Return who is best, and what each brings against the first policy."""
    first, *others = (row for name, row in rows.items() if name != BOUND)
    if not others:
        return f"<p>{escape(first['policy'])}: {escape(mean(first))} ms.</p>"
    best = min((first, *others), key=lambda row: float(row["mean_ms"]))
    name = escape(best["policy"])
    lines = "".join(f"<li>{escape(_brought(row, first['policy']))}</li>" for row in others)
    return f"<p><b>{name}</b> has the least mean delay: {best['mean_ms']:.2f} ms.</p><ul>{lines}</ul>"


def _brought(row: Row, against: str) -> str:
    middle, low, high = row["difference_ms"]
    if low <= 0 <= high:
        return f"{row['policy']}: no difference to {against} shown ({low:+.2f} to {high:+.2f} ms)"
    ends = sorted((abs(low), abs(high)))
    word = "less" if middle < 0 else "more"
    return f"{row['policy']}: {abs(middle):.2f} ms {word} than {against} ({ends[0]:.2f} to {ends[1]:.2f})"


def columns_table(rows: Mapping[str, Row], columns: Sequence[Column]) -> str:
    """Return a table of some columns."""
    lines = [[escape(name), *(escape(each.shown(row)) for each in columns)] for name, row in rows.items()]
    return table(["policy", *(each.title for each in columns)], lines)


def classes_table(rows: Mapping[str, Row]) -> str:
    """Return what the users of each class felt; nothing where there is one class alone."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row["classes"]))
    if len(names) < 2:
        return ""
    lines = [
        [escape(name), escape(policy), *(escape(each.shown(row["classes"][name])) for each in FELT)]
        for name in names
        for policy, row in rows.items() if name in row["classes"]
    ]  # fmt: skip
    return f"<h3>By class of traffic</h3>{table(['class', 'policy', *(each.title for each in FELT)], lines)}"


def tuning(contest: Contest, rows: Mapping[str, Row]) -> Iterable[str]:
    """Yield what tuning brought, and every trial of it."""
    yield "<h3>Tuning</h3>"
    yield columns_table(rows, TUNED)
    if RIVAL not in rows:
        yield f'<p class="note">No ratios, as {RIVAL} is not among the policies.</p>'
    if any(len(row["trials"]) > 1 for row in rows.values()):
        yield trials(
            contest,
            f"Each dot is one of {contest.trials} trials, on seeds of their own; ringed: the best, which is what is "
            "shown above; white: as set.",
        )
    lines = [
        [escape(name), str(number), f"{trial['mean_ms']:.3f}", escape(settings_text(trial["settings"]) or "as set")]
        for name, row in rows.items()
        for number, trial in enumerate(row["trials"])
    ]
    all_of = table(["policy", "trial", "mean ms", "settings"], lines, words=(3,))
    yield f"<details><summary>All {len(lines)} trials</summary>{all_of}</details>"


def table(heads: Sequence[str], lines: Iterable[Sequence[str]], words: Sequence[int] = ()) -> str:
    """Return a table that is scrolled where the page is narrow.

    heads: plain; lines: cells that are HTML already; words: columns of text.
    """
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    rows = []
    for cells in lines:
        marked = ((" class=words" if at in words else "", cell) for at, cell in enumerate(cells))
        rows.append(f"<tr>{''.join(f'<td{kind}>{cell}</td>' for kind, cell in marked)}</tr>")
    body = f"<thead><tr>{top}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="wrap" tabindex="0"><table>{body}</table></div>'
