"""Replay: recorded packets through capture, stream, inference and decision in one process."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from offramp.capture.ledger import CaptureLedger
from offramp.capture.sources.file.files import open_captures
from offramp.capture.sources.source import PacketSource
from offramp.cli.output import open_out
from offramp.cli.progress import console_bar
from offramp.cli.table import Table
from offramp.decision.command import Command
from offramp.decision.policy import Policy
from offramp.decision.site import Site, default_site, load_site
from offramp.errors import ConfigError, OfframpError
from offramp.inference.artifact import DEFAULT_ARTIFACT, Artifact, load_artifact
from offramp.inference.serving.predictor import Predictor
from offramp.inference.serving.table import open_predictor
from offramp.kernels import announce_compiling
from offramp.stream.channels import BIN_NS
from offramp.stream.local.link_batches import LinkBatches
from offramp.stream.local.link_choice import LinkChoice, unlinked_lines
from offramp.stream.local.pace import parse_pace
from offramp.stream.local.prefetch import prefetch
from offramp.stream.pipeline.ledger import StreamLedger
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.pipeline.timeline import LinkTimeline
from offramp.stream.windows.windows import Windowed

if TYPE_CHECKING:
    from offramp.stream.refine.refiners import Refining

WINDOWS_AHEAD = 2
"""Portions of windows that may wait for the model."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What `offramp replay` was asked for."""

    files: tuple[str, ...]
    site: Path | None = None
    model: Path | None = None
    form: str = "table"
    out: Path | None = None
    pace: str = "max"
    strict: bool = False
    every_s: float = 1.0
    serve_by: str = "compiled"
    refine: Path | None = None
    refine_every_s: int = 60
    link: str = ""


@dataclass(slots=True)
class Replay:
    """One pipeline and one dissector per link of the site, fed from one source.

    Reading, dissecting, windows (with the building of batches), and model with policy run in a thread each. `run`
    yields the commands in the order they were decided; afterwards the ledgers hold the account.
    """

    source: PacketSource
    site: Site
    artifact: Artifact
    predictor: Predictor
    sink: Callable[[LinkTimeline], None] | None = None
    factor: float = 0.0
    refining: Refining | None = None
    choice: LinkChoice | None = None
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    batches: LinkBatches = field(init=False)

    def __post_init__(self) -> None:
        self.batches = LinkBatches(self.source, self.site, "replay", self.factor, self.choice)

    def run(self) -> Iterator[Command]:
        """Yield every command of the source's packets; the last ones come with its end."""
        for pipeline, windowed in prefetch(self._windowed(), WINDOWS_AHEAD):
            yield from pipeline.decide(windowed)
        for pipeline in self.pipelines.values():
            yield from pipeline.close()

    def capture_ledger(self) -> CaptureLedger:
        """Return the account of the packets, over all links."""
        return self.batches.ledger()

    def stream_ledger(self) -> StreamLedger:
        """Return the account of rows, bins, forecasts and commands, over all links."""
        total = StreamLedger()
        for pipeline in self.pipelines.values():
            total.add(pipeline.ledger)
        return total

    def _windowed(self) -> Iterator[tuple[Pipeline, Windowed]]:
        for link, batch in self.batches.read():
            pipeline = self._pipeline(link)
            for windowed in pipeline.windows.portions(batch):
                yield pipeline, windowed

    def _pipeline(self, link: str) -> Pipeline:
        if link not in self.pipelines:
            policy = Policy(self.site, link)
            refiner = self.refining.of(link) if self.refining else None
            self.pipelines[link] = Pipeline(
                self.site, link, self.predictor, self.artifact.normaliser, policy, sink=self.sink, refiner=refiner
            )
        return self.pipelines[link]


def run_replay(options: ReplayOptions) -> None:
    """Run `offramp replay`: data to standard output or a file, progress, warnings and ledger to standard error."""
    announce_compiling()
    factor = parse_pace(options.pace)
    site = load_site(options.site) if options.site else default_site()
    if options.site is None:
        link = site.links[0]
        print(
            f"no --site: one link of {link.capacity_bps / 1e6:g} Mbit/s with a delay budget of {link.budget_ms:g} ms "
            "is assumed (docs/site.md tells how to describe yours)",
            file=sys.stderr,
        )
    choice = LinkChoice(site, options.link, warn)
    folder = options.model or DEFAULT_ARTIFACT
    artifact = load_artifact(folder)
    source = open_captures(options.files)
    with ExitStack() as stack:
        out = stack.enter_context(open_out(options.out))
        predictor = open_predictor(folder, options.serve_by)
        refining = _refining(options, artifact, site)
        replay = Replay(source, site, artifact, predictor, factor=factor, refining=refining, choice=choice)
        if replay.refining:
            stack.callback(replay.refining.close)
        try:
            _write(replay, options, out, stack)
        except KeyboardInterrupt:
            count = replay.capture_ledger().captured
            print(f"interrupted behind packet {count:,}\n{account(replay, options)}", file=sys.stderr)
            raise
    for text in (*map(str, source.damages), *replay.batches.warnings()):
        warn(text)
    print(account(replay, options), file=sys.stderr)
    if options.strict:
        hold_strict(source, choice)


def warn(text: str) -> None:
    """Tell of what is wrong, beside the data."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def hold_strict(source: PacketSource, choice: LinkChoice) -> None:
    """Raise OfframpError for what `--strict` does not let pass: damages, and packets that belong to no link."""
    if source.damages:
        raise OfframpError(f"{len(source.damages)} damaged place(s) in the input, and --strict was asked for")
    if choice.unlinked:
        raise OfframpError(f"{choice.unlinked.total():,} packets belong to no link, and --strict was asked for")


def _refining(options: ReplayOptions, artifact: Artifact, site: Site) -> Refining | None:
    """Return the refinement that was asked for; a replay waits for it, so that it repeats."""
    if options.refine is None:
        return None
    if options.serve_by != "compiled":
        raise ConfigError("--refine: a refined model is served by the compiled kernel; leave --serve-by out")
    from offramp.stream.refine.refiner import RefineSettings
    from offramp.stream.refine.refiners import Refining

    settings = RefineSettings(every_s=options.refine_every_s)
    return Refining(artifact, options.refine, site.name, wait=True, settings=settings)


def _write(replay: Replay, options: ReplayOptions, out: TextIO, stack: ExitStack) -> None:
    """Write the replay's data in the format asked for."""
    bar = stack.enter_context(console_bar(replay.source.progress, "replaying", data=out))

    def line(text: str) -> None:
        bar.update()
        out.write(text + "\n")
        if replay.factor:  # who asked for a pace wants each line when it is due
            out.flush()

    if options.form == "jsonl":
        replay.sink = lambda _: bar.update()
        for command in replay.run():
            line(command.to_json())
        return
    table = Table(line, int(options.every_s * 1e9), BIN_NS)
    replay.sink = table.update
    deque(replay.run(), maxlen=0)  # the table has the commands with their bins
    table.close()


def account(replay: Replay, options: ReplayOptions) -> str:
    """Return the ledger as text: what came in, what became of it, every drop with its reason, and what to try next."""
    capture, stream = replay.capture_ledger(), replay.stream_ledger()
    refined = replay.refining.lines() if replay.refining else []
    lines = ["", "ledger", *capture_lines(capture, replay.batches.choice.unlinked), *stream.lines(), *refined, ""]
    if not capture.captured + replay.batches.choice.unlinked.total():
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


def capture_lines(ledger: CaptureLedger, unlinked: Counter[str] | None = None) -> list[str]:
    """Return the packets' part of the account, a line each; unlinked: packets of no link, by interface."""
    none = unlinked or Counter()
    lines = [
        f"  packets captured    {ledger.captured + none.total():>12,}",
        f"    decoded           {ledger.decoded:>12,}",
    ]
    for title, reasons in (("undecodable", ledger.undecodable), ("shed", ledger.shed)):
        lines.append(f"    {title:<17} {reasons.total():>12,}")
        lines += [f"      {reason:<24} {count:>8,}" for reason, count in sorted(reasons.items())]
    lines += unlinked_lines(none)
    lines.append(f"  dropped by kernel   {ledger.kernel_drops:>12,}")
    lines += [f"    note: {reason:<24} {count:>8,}" for reason, count in sorted(ledger.notes.items())]
    lines += [
        f"    note: {count:,} packets of {kind.replace('_', ' ')} not looked into"
        for kind, count in ledger.unfollowed.most_common()
    ]
    return lines
