"""Progress on standard error, where that is a terminal that no data go to; nothing elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from offramp.capture.sources.source import Progress

REFRESH_S = 0.1


@dataclass(slots=True)
class Bar:
    """A progress bar over a source's bytes; `update` is cheap and may be called at will."""

    progress: Progress
    shown: Any = None
    task: Any = None
    last: float = 0.0

    def update(self) -> None:
        """Show how far the source has read, at most ten times a second."""
        now = time.monotonic()
        if self.shown is None or now - self.last < REFRESH_S:
            return
        self.last = now
        self.shown.update(self.task, completed=self.progress.done, total=self.progress.total or None)

    def steps(self, done: int, total: int) -> None:
        """Show that so many steps of all are done."""
        self.progress.done, self.progress.total = done, total
        self.update()


@contextmanager
def console_bar(progress: Progress, title: str, *, unit: str = "bytes", data: TextIO | None = None) -> Iterator[Bar]:
    """Show a bar while the body runs, where standard error is a terminal; unit: bytes or steps.

    data: what the body writes to; where that is a terminal, its lines are progress enough, and a bar would stand in
    their midst.
    """
    if not sys.stderr.isatty() or (data is not None and data.isatty()):
        yield Bar(progress)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    done = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn(title), BarColumn(), done, TimeElapsedColumn())
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield Bar(progress, shown, shown.add_task(title, total=progress.total or None))
