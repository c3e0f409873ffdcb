"""The table that replay prints: the link's state over time, with each command, and mark, where it was decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from offramp.inference.forecast import CLASSES
from offramp.stream.pipeline.timeline import LinkTimeline, Lost

HEADER = f"{'time':>9}  {'link':<12} {'load up':<18} {'down':>6}  {'queue':>9}  {'forecast':<13} {'delay q90':>9}"
NONE = Lost()
BAR = "▏▎▍▌▋▊▉█"
BAR_CELLS = 10


def bar(share: float) -> str:
    """Return a bar of ten cells for a share of the capacity; full at 1 and above."""
    eighths = round(min(max(share, 0.0), 1.0) * BAR_CELLS * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (BAR[rest - 1] if rest else "")).ljust(BAR_CELLS)


@dataclass(slots=True)
class Row:
    """What one line of the table sums up: all bins of a link within one interval.

    supposed_ms: the longest queue as it would be if what was told were carried out, None where nothing is moved; lost:
    packets reported with them: captured, shed, dropped or missing; unknown_ns: time of which nothing is known.
    """

    bins: int = 0
    load_up: float = 0.0
    load_down: float = 0.0
    delay_ms: float = 0.0
    supposed_ms: float | None = None
    p: tuple[float, float, float] = (1.0, 0.0, 0.0)
    q90_ms: float = 0.0
    lost: Lost = NONE
    unknown_ns: int = 0

    def add(self, timeline: LinkTimeline, part: slice) -> None:
        """Add bins: loads are summed, of delay and forecast the worst is kept."""
        self.bins += part.stop - part.start
        self.load_up += float(timeline.load_up[part].sum())
        self.load_down += float(timeline.load_down[part].sum())
        self.delay_ms = max(self.delay_ms, float(timeline.bin_end_ms[part].max()))
        if timeline.context is not None and timeline.context.open_moves[part].any():
            supposed = float(timeline.context.supposed_ms[part].max())
            self.supposed_ms = max(self.supposed_ms or 0.0, supposed)
        worst = part.start + int(np.argmax(timeline.quantiles_ms[part, 1]))
        if float(timeline.quantiles_ms[worst, 1]) >= self.q90_ms:
            self.q90_ms = float(timeline.quantiles_ms[worst, 1])
            normal, medium, high = timeline.probabilities[worst].tolist()
            self.p = (normal, medium, high)


@dataclass(slots=True)
class LineTable:
    """Prints lines through `write`: one per link and interval, and each command or mark after that of its interval.

    Lines are printed one `update` late, so that the lines of links whose bins come in turn stand together. `note` ends
    each line of a link.
    """

    write: Callable[[str], None]
    every_ns: int
    bin_ns: int
    begin_ns: int | None = None
    pending: dict[tuple[int, str], Row] = field(default_factory=dict)
    commands: list[tuple[int, str]] = field(default_factory=list)
    complete: int = 0
    known_ns: dict[str, int] = field(default_factory=dict)
    note: str = ""
    headed: bool = False
    newest_ns: dict[str, int] = field(default_factory=dict)

    def update(self, timeline: LinkTimeline) -> None:
        """Add closed bins of one link; their commands stand after the lines of their intervals."""
        if not len(timeline.time_ns):
            return
        if self.begin_ns is None:
            self.begin_ns = int(timeline.time_ns[0])
        self._print(self.complete)
        interval = (timeline.time_ns - self.begin_ns) // self.every_ns
        if int(timeline.time_ns[0]) < self.newest_ns.get(timeline.link, 0):
            self._print(None)  # the link's time went back: the intervals before are over
        self.newest_ns[timeline.link] = int(timeline.time_ns[-1])
        cuts = [0, *(np.flatnonzero(np.diff(interval)) + 1).tolist(), len(interval)]
        for start, end in pairwise(cuts):
            key = (int(interval[start]), timeline.link)
            self.pending.setdefault(key, Row()).add(timeline, slice(start, end))
        first = self.pending[int(interval[0]), timeline.link]
        first.lost = Lost(*(before + more for before, more in zip(first.lost, timeline.lost, strict=True)))
        if timeline.behind_hole:
            begin_ns = int(timeline.time_ns[0]) - self.bin_ns
            first.unknown_ns += max(0, begin_ns - self.known_ns.get(timeline.link, begin_ns))
        self.known_ns[timeline.link] = int(timeline.time_ns[-1])
        self.complete = int(interval[-1])
        told = [(mark.time_ns, f"● mark    {mark.mark}") for mark in timeline.marks]
        told += [(command.not_before_ns, describe(command.to_dict())) for command in timeline.commands]
        for time_ns, text in sorted(told, key=lambda each: each[0]):
            self.commands.append(((time_ns - self.begin_ns) // self.every_ns, f"{'':>9}  {text}"))

    def advance(self, now_ns: int) -> None:
        """Print the intervals that are over by a live link's clock."""
        if self.begin_ns is not None:
            self.complete = max(self.complete, (now_ns - self.begin_ns) // self.every_ns)
            self._print(self.complete)

    def close(self) -> None:
        """Print what is left."""
        self._print(None)

    def _print(self, before: int | None) -> None:
        """Print the intervals before one; None: all."""
        ready = sorted(key for key in self.pending if before is None or key[0] < before)
        for key in ready:
            if not self.headed:
                self.write(HEADER)
                self.headed = True
            self._commands(key[0])
            self.write(self._line(key, self.pending.pop(key)))
        self._commands(before)

    def _commands(self, before: int | None) -> None:
        due = [text for interval, text in self.commands if before is None or interval < before]
        self.commands = self.commands[len(due) :]
        for text in due:
            self.write(text)

    def _line(self, key: tuple[int, str], row: Row) -> str:
        share = row.bins if row.unknown_ns else self.every_ns / self.bin_ns
        up, down = row.load_up / share, row.load_down / share
        name = CLASSES[max(range(3), key=row.p.__getitem__)]
        return (
            f"{key[0] * self.every_ns / 1e9:8.1f}s  {key[1]:<12} {bar(up)} {up:6.0%} {down:6.0%}"
            f"  {row.delay_ms:6.1f} ms  {name:<7}{max(row.p):5.0%} {row.q90_ms:6.1f} ms{supposed_text(row)}{self.note}"
            f"{loss_text(row)}"
        )


def supposed_text(row: Row) -> str:
    """Return the queue as it would be, in a dry run's words, where something is moved."""
    return "" if row.supposed_ms is None else f"  as told {row.supposed_ms:.1f} ms"


def loss_text(row: Row) -> str:
    """Return what a line says of packets that its bins do not have; nothing where they have all."""
    lost, parts = row.lost, []
    whole = lost.captured + lost.dropped
    for count, what in ((lost.dropped, "dropped"), (lost.shed, "shed")):
        if count:
            parts.append(f"{count / whole:.0%} {what}" if 200 * count >= whole else f"<1% {what}")
    if row.unknown_ns:
        parts.append(f"{row.unknown_ns / 1e9:.2g} s not known")
    return "  " + ", ".join(parts) if parts else ""


def describe(command: Mapping[str, Any]) -> str:
    """Return one readable line for a command's body."""
    action = command["action"]
    reason = command["reason"]
    kind = action["type"] if isinstance(action, Mapping) else str(action)
    high = reason["probabilities"]["High"] if isinstance(reason["probabilities"], Mapping) else 0.0
    detail = target(action) if isinstance(action, Mapping) else ""
    return f"▶ {command['phase']:<7} {kind:<8} {command['scope']} {detail} [{command['mode']}, P(High) {high:.0%}]"


def target(action: Mapping[str, Any]) -> str:
    """Return what an action moves, and where to."""
    flows = action.get("flows") or []
    if flows:
        return f"{len(flows)} flow{'s' if len(flows) > 1 else ''} -> {action.get('path', '?')}"
    if "to" in action:
        return f"{action.get('device', '')} {action.get('from', '')} -> {action['to']}"
    return ""
