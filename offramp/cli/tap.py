"""`offramp tap`: live interfaces through the whole pipeline.

What needs the right to capture, or to write, is opened first; then all capabilities are dropped, and only then are
numerical libraries imported, as the threads they start would keep the rights they are born with.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import TextIO

from offramp.cli.listen import ListenOptions, open_links
from offramp.cli.output import open_out


@dataclass(frozen=True, slots=True)
class TapOptions:
    """What `offramp tap` was asked for."""

    listen: ListenOptions
    site: Path | None = None
    model: Path | None = None
    form: str = "table"
    out: Path | None = None
    every_s: float = 1.0
    metrics: str = ""
    refine: Path | None = None
    refine_every_s: int = 60


def run_tap(options: TapOptions) -> None:
    """Run `offramp tap`: data to standard output or a file, the rest and the ledger to standard error."""
    with ExitStack() as stack:
        out = open_out(options.out)
        stack.callback(_close, out)
        refined = () if options.refine is None else (options.refine, Path(gettempdir()))
        sources = open_links(options.listen, refined, programs=options.refine is not None)
        for source in sources:
            stack.callback(source.close)
        from offramp.stream.local.tap import watch
        from offramp.stream.metrics.server import serving

        watch(sources, options, out, stack.enter_context(serving(options.metrics, "tap")))


def _close(out: TextIO) -> None:
    """Close the output; each line was flushed, so what fails now has been told before."""
    with suppress(OSError):
        out.close()
