"""The tables that `offramp arena` prints: what users felt, what it took, and what tuning brought."""

from __future__ import annotations

from collections.abc import Sequence

from offramp.cli.show.ledger_text import warn
from offramp.stream.arena.contest import Contest
from offramp.stream.arena.measures import BLOCK_NS, SURE_BLOCKS
from offramp.stream.arena.report.columns import FELT, TOOK, TUNED, Column, Row, settings_text

NAME = 20
"""Width of a policy's name, and of a class of traffic."""
FEW = "*"
"""Marks an interval that rests on too few blocks."""


def print_tables(contest: Contest, *, by_class: bool) -> None:
    """Play a contest and print its tables, the rows of the first one as they are known."""
    scenario, seeds, rows = contest.scenario, contest.seeds, list[Row]()
    network, budget_ms, block_s = scenario.network, scenario.link.budget_ms, BLOCK_NS / 1e9
    about = f"; {scenario.about}" if scenario.about else ""
    print(f"{scenario.name}: {seeds} episode{'s' if seeds > 1 else ''} of {scenario.seconds:g} s{about}")
    print(f"commands take {network.command_ms:g} ms; late: over {budget_ms:g} ms")
    print(head(FELT))
    for policy in contest.policies:
        row = contest.row(policy)
        if not rows and row["blocks"] < SURE_BLOCKS:
            few = f"{row['blocks']} blocks of {block_s:g} s, fewer than {SURE_BLOCKS}: intervals ({FEW}) are too narrow"
            warn(f"{scenario.name}: {few}{'; ask for more --seeds' if scenario.varies else ''}")
        mark = FEW if row["blocks"] < SURE_BLOCKS else ""
        rows.append(row)
        print(line(policy, row, FELT, mark), flush=True)
        for name, served in row["classes"].items() if by_class else ():
            print(line(f"  {name}", served, FELT, mark))
    print(f"\ncongested: bins with a wait over {budget_ms:g} ms; moves to node full: a minute\n{head(TOOK)}")
    for one in rows:
        print(line(one["policy"], one, TOOK))
    if contest.trials:
        print(f"\ntuned by up to {contest.trials} trials on seeds of their own\n{head(TUNED)}")
        for one in rows:
            print(line(one["policy"], one, TUNED))
            if one["settings"]:
                print(f"{'':<{NAME}}{settings_text(one['settings'])}")


def head(columns: Sequence[Column]) -> str:
    """Return the line above some columns."""
    return f"{'policy':<{NAME}}{''.join(f'{each.title:>{each.width}}' for each in columns)}"


def line(name: str, row: Row, columns: Sequence[Column], mark: str = "") -> str:
    """Return a row of some columns; mark: behind the first of them."""
    first, *others = (each.shown(row) for each in columns)
    cells = [first + (mark if first != "-" else ""), *others]
    return f"{name:<{NAME}}{''.join(f'{cell:>{each.width}}' for cell, each in zip(cells, columns, strict=True))}"
