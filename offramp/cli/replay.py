"""`offramp replay`: captures through the whole pipeline, in one process."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from offramp.cli.options import (
    DAY_S,
    Captures,
    DataFormat,
    DataOut,
    MarksFile,
    ModelFolder,
    Pace,
    PacketOptions,
    RefineEvery,
    RefineFolder,
    ServingBackend,
    SiteFile,
    Strict,
    TimelineOut,
)
from offramp.errors import ConfigError, OfframpError

if TYPE_CHECKING:
    from offramp.decision.site import Site
    from offramp.inference.artifact import Artifact
    from offramp.stream.local.replay import Replay
    from offramp.stream.local.timeline_file import TimelineFile
    from offramp.stream.refine.refiners import Refiners


@dataclass(frozen=True, kw_only=True)
class ReplayOptions(PacketOptions):
    """What `offramp replay` was asked for."""

    files: Captures
    site: SiteFile = None
    model: ModelFolder = None
    form: DataFormat = "table"
    out: DataOut = None
    timeline: TimelineOut = None
    marks: MarksFile = None
    pace: Pace = "max"
    strict: Strict = False
    every_s: Annotated[
        float, typer.Option("--every", help="seconds of capture time per line of the table", min=0.01, max=DAY_S)
    ] = 1
    backend: ServingBackend = "compiled"
    refine: RefineFolder = None
    refine_every_s: RefineEvery = 60


def replay(options: ReplayOptions) -> None:
    """Replay captures through the whole pipeline: link state, forecasts, decisions, ledger.

    Example: offramp replay samples/demo.pcap.zst --site samples/site.toml
    """
    from offramp.cli.show.ledger_text import hold_strict, warn
    from offramp.cli.show.output import open_out
    from offramp.cli.show.timeline import close_timeline, open_timeline, require_place
    from offramp.decision.site import load_or_default
    from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
    from offramp.inference.serving.table import open_backend
    from offramp.kernels import announce_compiling
    from offramp.stream.local.captures_by_link import open_by_link
    from offramp.stream.local.marks import read_marks
    from offramp.stream.local.pace import parse_pace
    from offramp.stream.local.replay import Replay

    require_place(options.timeline)
    announce_compiling()
    factor = parse_pace(options.pace)
    site = load_or_default(options.site)
    if options.site is None:
        link = site.links[0]
        print(
            f"no --site: one link of {link.capacity_bps / 1e6:g} Mbit/s with a buffer of {link.buffer_ms:g} ms and a "
            f"delay budget of {link.budget_ms:g} ms is assumed (docs/site.md tells how to describe yours)",
            file=sys.stderr,
        )
    elif assumed := site.assumed():
        print(assumed, file=sys.stderr)
    marks = read_marks(options.marks, site)
    choice, source = open_by_link(options.files, site, options.link, warn)
    artifact = load_artifact(options.model or DEFAULT_ARTIFACT)
    with ExitStack() as stack:
        out = stack.enter_context(open_out(options.out))
        predictor = open_backend(options.backend, artifact)
        timeline = open_timeline(options.timeline, site, predictor)
        stack.callback(close_timeline, timeline)
        refiners = refinement(options, artifact, site)
        running = Replay(
            source,
            site,
            artifact,
            predictor,
            factor=factor,
            refining=refiners,
            choice=choice,
            dissector=options.dissector,
            marks=marks,
        )
        if refiners:
            stack.callback(refiners.close)
        try:
            write(running, options, out, stack, timeline)
        except KeyboardInterrupt:
            count = running.capture_ledger().captured
            print(f"interrupted behind packet {count:,}\n{account(running, options, timeline)}", file=sys.stderr)
            raise
    for text in (*map(str, source.faults), *running.batches.warnings()):
        warn(text)
    print(account(running, options, timeline), file=sys.stderr)
    if timeline and timeline.failure:
        raise OfframpError(timeline.failure)
    if options.strict:
        hold_strict(source, choice.unlinked.total())


def refinement(options: ReplayOptions, artifact: Artifact, site: Site) -> Refiners | None:
    """Return the refinement that was asked for; a replay waits for it, so that it repeats."""
    if options.refine is None:
        return None
    if options.backend != "compiled":
        raise ConfigError("--refine: a refined model is served by the compiled kernel; leave --backend out")
    from offramp.stream.refine.refiner import RefineSettings
    from offramp.stream.refine.refiners import Refiners

    settings = RefineSettings(every_s=options.refine_every_s)
    return Refiners(artifact, options.refine, site.name, wait=True, settings=settings)


def write(
    running: Replay, options: ReplayOptions, out: TextIO, stack: ExitStack, timeline: TimelineFile | None
) -> None:
    """Write a replay's data in the format asked for."""
    from offramp.cli.show.progress import console_bar
    from offramp.cli.show.table import LineTable
    from offramp.cli.show.timeline import each_of
    from offramp.stream.channels import BIN_NS

    kept = timeline.update if timeline else None
    bar = stack.enter_context(console_bar(running.source.progress, "replaying", data=out))

    def line(text: str) -> None:
        bar.update()
        out.write(text + "\n")
        if running.factor:  # who asked for a pace wants each line when it is due
            out.flush()

    if options.form == "jsonl":
        running.sink = each_of(lambda _: bar.update(), kept)
        for command in running.run():
            line(command.to_json())
        return
    table = LineTable(line, int(options.every_s * 1e9), BIN_NS)
    running.sink = each_of(table.update, kept)
    deque(running.run(), maxlen=0)  # the table has the commands with their bins
    table.close()


def account(running: Replay, options: ReplayOptions, timeline: TimelineFile | None) -> str:
    """Return the ledger as text: what came in, what became of it, every drop with its reason, and what to try next.

    The timeline is closed, so that its account is whole.
    """
    from offramp.cli.show.ledger_text import capture_lines
    from offramp.cli.show.timeline import close_timeline
    from offramp.stream.local.marks import lines_of

    capture, stream = running.capture_ledger(), running.stream_ledger()
    more = lines_of(*running.mark_counts()) if options.marks else []
    more += running.refining.lines() if running.refining else []
    more += close_timeline(timeline)
    lines = ["", "ledger", *capture_lines(capture, running.batches.choice.unlinked), *stream.lines(), *more, ""]
    if not capture.captured + running.batches.choice.unlinked.total():
        lines.append("no packets: the capture is empty")
    return "\n".join(lines + ([] if options.form == "jsonl" else try_next(options)))


def try_next(options: ReplayOptions) -> list[str]:
    """Return commands to go on with, as they can be typed: this one again for a controller, and two others."""
    program = program_called()
    offered = (
        (*without_out(sys.argv[1:]), "--format", "jsonl"),
        ("features", *options.files, "-o", "features.csv"),
        ("doctor",),
    )
    words = (
        "the same commands as JSON lines, as a controller gets them",
        "every packet as a row of Edge-IIoTset's columns",
        "what this machine can run",
    )
    lines = [f"  {program} {shlex.join(each)}" for each in offered]
    width = max(len(line) for line in lines)
    return ["try next", *(f"{line:<{width}}   {text}" for line, text in zip(lines, words, strict=True))]


def program_called() -> str:
    """Return what the command was started as: by its name, by a path, or as a module."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return shlex.join([sys.executable, "-m", "offramp"])
    found = shutil.which(called.name)
    return called.name if found and Path(found).resolve() == called.resolve() else shlex.quote(str(called))


def without_out(words: Sequence[str]) -> list[str]:
    """Return a command's words but for --out and its file."""
    left, asked = list[str](), False
    for word in words:
        if not asked and word != "--out" and not word.startswith("--out="):
            left.append(word)
        asked = word == "--out"
    return left
