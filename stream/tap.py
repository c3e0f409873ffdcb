"""`offramp tap`: a live interface through the whole pipeline.

What needs the right to capture, or to write, is opened first; then all capabilities are dropped, and only then are
numerical libraries imported, as the threads they start would keep the rights they are born with.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from capture.live import LiveOptions, open_interface
from offramp_errors import ConfigError
from stream.output import open_out

RING_FILES = 10


@dataclass(frozen=True, slots=True)
class TapOptions:
    """What `offramp tap` was asked for; 0 for duration, count and ring size: no bound."""

    interface: str
    bpf: str = ""
    snaplen: int = 262_144
    promiscuous: bool = True
    duration_s: float = 0.0
    count: int = 0
    write: Path | None = None
    ring_files: int = RING_FILES
    ring_mb: int = 0
    site: Path | None = None
    model: Path | None = None
    form: str = "table"
    out: Path | None = None
    backend: str = "auto"
    every_s: float = 1.0


def run_tap(options: TapOptions) -> None:
    """Run `offramp tap`: data to standard output or a file, the rest and the ledger to standard error."""
    if options.write is None and (options.ring_mb or options.ring_files != RING_FILES):
        raise ConfigError("--ring-files and --ring-size say how --write writes; give --write FILE or FOLDER too")
    with ExitStack() as stack:
        out = open_out(options.out)
        stack.callback(_close, out)
        live = LiveOptions(options.bpf, options.snaplen, options.promiscuous, options.backend)
        source = open_interface(options.interface, live)
        stack.callback(source.close)
        from stream.live import watch

        watch(source, options, out)


def _close(out: TextIO) -> None:
    """Close the output; each line was flushed, so what fails now has been told before."""
    with suppress(OSError):
        out.close()
