"""`offramp tap`: live interfaces through the whole pipeline.

What needs the right to capture, or to write, is opened first; then all capabilities are dropped, and only then are
numerical libraries imported, as the threads they start would keep the rights they are born with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from offramp.cli.listen import open_links, runs_programs, settle
from offramp.cli.options import (
    DAY_S,
    DataFormat,
    DataOut,
    ListenOptions,
    MarksFile,
    Metrics,
    ModelFolder,
    RefineEvery,
    RefineFolder,
    SiteFile,
    TimelineOut,
)
from offramp.cli.show.output import open_out
from offramp.cli.show.timeline import each_of, require_place
from offramp.errors import OfframpError, OutputError
from offramp.stream.local.followed_file import FollowedFile

if TYPE_CHECKING:
    from offramp.capture.sources.source import PacketSource
    from offramp.cli.show.table import LineTable
    from offramp.stream.local.tap import Tap
    from offramp.stream.metrics.registry import Metrics as Registry


@dataclass(frozen=True, kw_only=True)
class TapOptions(ListenOptions):
    """What `offramp tap` was asked for."""

    interfaces: Annotated[
        tuple[str, ...],
        typer.Argument(metavar="IFACE...", help="interfaces to watch, each a link; any: all of them"),
    ]
    site: SiteFile = None
    model: ModelFolder = None
    form: DataFormat = "table"
    out: DataOut = None
    timeline: TimelineOut = None
    marks: MarksFile = None
    every_s: Annotated[float, typer.Option("--every", help="seconds per line of the table", min=0.01, max=DAY_S)] = 1
    metrics: Metrics = ""
    refine: RefineFolder = None
    refine_every_s: RefineEvery = 60


def tap(options: TapOptions) -> None:
    """Watch live interfaces: link state, forecasts, decisions; the ledger at the end.

    Example: offramp tap eth0 --site site.toml
    """
    folders = require_place(options.timeline)
    with ExitStack() as stack:
        marks = FollowedFile(options.marks) if options.marks is not None else None
        if marks is not None:
            stack.callback(marks.close)
        out = open_out(options.out)
        stack.callback(_close, out)
        if options.refine is not None:
            folders += (options.refine, Path(gettempdir()))
        sources = open_links(options, folders, programs=options.refine is not None or runs_programs(options))
        for source in sources:
            stack.callback(source.close)
        from offramp.stream.metrics.server import serving

        watch(sources, options, out, stack.enter_context(serving(options.metrics, "tap")), marks)


def _close(out: TextIO) -> None:
    """Close the output; each line was flushed, so what fails now has been reported before."""
    with suppress(OSError):
        out.close()


def watch(
    sources: Sequence[PacketSource], options: TapOptions, out: TextIO, metrics: Registry | None = None,
    marks: FollowedFile | None = None,
) -> None:  # fmt: skip
    """Run opened interfaces through the pipeline until a signal; raise OfframpError where one failed."""
    from offramp.cli.show.ledger_text import warn
    from offramp.cli.show.table import LineTable
    from offramp.cli.show.timeline import close_timeline, open_timeline
    from offramp.cli.watching import accounts, ended_by_signals, failures, site_of, watching
    from offramp.inference.artifact import DEFAULT_ARTIFACT
    from offramp.kernels import announce_compiling
    from offramp.stream.channels import BIN_NS
    from offramp.stream.local import timeline_file  # noqa: F401 - it is loaded before root becomes another user
    from offramp.stream.local.tap import LoadedModel, assembled
    from offramp.stream.metrics.readings import info, live_readings
    from offramp.stream.metrics.table import unobserved
    from offramp.streams import tell

    announce_compiling()
    loaded = LoadedModel.of(options.model or DEFAULT_ARTIFACT)
    site = site_of(options.site, [source.name for source in sources])
    if options.site is None:
        each = "each assumed link is" if len(site.links) > 1 else "the assumed link is"
        tell(f"no --site: {each} 100 Mbit/s; what is foreseen is only as true as the capacity (docs/site.md)")
    elif assumed := site.assumed():
        tell(assumed)
    table = LineTable(lambda text: line(out, text), int(options.every_s * 1e9), BIN_NS)

    def level(factor: int) -> None:
        table.note = f"  1/{factor} of flows" if factor > 1 else ""

    loaded.warm(site)
    settle(options)
    with ExitStack() as stack:
        found = stack.enter_context(watching(sources, options, site, "tap", level))
        observe = metrics.observe if metrics else unobserved
        timeline = open_timeline(options.timeline, site, loaded.predictor)
        stack.callback(close_timeline, timeline)
        sink = each_of(table.update if options.form == "table" else None, timeline.update if timeline else None)
        running = assembled(
            found, site, loaded, sink, observe,
            refine=options.refine, refine_every_s=options.refine_every_s, marks=marks, warn=warn,
        )  # fmt: skip
        if running.refining is not None:
            stack.callback(running.refining.close)
        if metrics is not None:
            metrics.read_from(
                info("tap", site.name), *(partial(live_readings, batches) for batches in found), running.readings
            )
        stack.enter_context(ended_by_signals(*(batches.intake for batches in found)))
        ended = written(running, out, None if options.form == "jsonl" else table)
    for text in (text for batches in found for text in batches.warnings()):
        warn(text)
    more = running.marks.lines() if running.marks else []
    more += running.refining.lines() if running.refining else []
    tell("\n".join([*accounts(found, running.lines), *more, *close_timeline(timeline)]))
    ended += failures(found, options)
    if timeline is not None and timeline.failure:
        ended.append(timeline.failure)
    if ended:
        raise OfframpError("; ".join(ended))


def written(running: Tap, out: TextIO, table: LineTable | None) -> list[str]:
    """Run a tap and write its data, as a table or as JSON lines; return why that ended early, if it did."""
    try:
        if table is None:
            for command in running.run():
                line(out, command.to_json())
            return []
        running.tick = table.advance
        deque(running.run(), maxlen=0)  # the table has the commands with their bins
        table.close()
    except OutputError as error:
        return [str(error)]
    return []


def line(out: TextIO, text: str) -> None:
    """Write a line of data at once: a live link's reader waits for it. Raises OutputError where that fails."""
    out.write(text + "\n")
    out.flush()
