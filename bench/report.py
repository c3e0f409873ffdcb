"""What the bench prints and keeps: the table, the JSON file, and two such files compared."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.measure import Result
from offramp.errors import InputError, OfframpError

HEAD = f"{'stage':<32} {'packets':>9} {'seconds':>9} {'packets/s':>12} {'per CPU s':>12}  note"


def line(result: Result) -> str:
    """Return a result as a line of the table."""
    return (
        f"{result.name:<32} {result.packets:>9,} {result.seconds:>9.3f} {result.per_second:>12,.0f} "
        f"{result.per_cpu_second:>12,.0f}  {result.note}"
    ).rstrip()


def save(path: Path, capture: Path, results: Sequence[Result]) -> None:
    """Write the results as JSON."""
    rows = [result.as_dict() for result in results]
    path.write_text(json.dumps({"capture": capture.name, "results": rows}, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> dict[str, dict[str, Any]]:
    """Return saved results by name. Raises InputError for what is no such file."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["results"]
        return {row["name"]: row for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: holds no results of the bench; write one with --json ({error})") from error


def compare(before: Path, after: Path) -> str:
    """Return a table of two saved runs: packets per CPU second before and after, and their ratio."""
    old, new = load(before), load(after)
    lines = [f"{'stage':<32} {'before':>12} {'after':>12} {'ratio':>7}   (packets per CPU second)"]
    for name in old | new:
        if name in old and name in new:
            was, now = old[name]["per_cpu_second"], new[name]["per_cpu_second"]
            lines.append(f"{name:<32} {was:>12,.0f} {now:>12,.0f} {now / was:>6.2f}x")
        else:
            lines.append(f"{name:<32} only in {before if name in old else after}")
    return "\n".join(lines)


def exit_code_of(bench: Callable[[], None]) -> int:
    """Run a bench and return its exit code; an error is one line."""
    try:
        bench()
    except OfframpError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    return 0
