"""A live link: intake, dissector and pipeline over an open source; a signal, a limit or the interface ends it."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TextIO

import numpy as np
import pyarrow as pa

from capture.block import Interface, PacketBlock, PacketSource
from capture.dissector import Dissector
from capture.intake import Intake, Until
from capture.ledger import CaptureLedger
from capture.pcapng_files import PcapngFiles, RingOfFiles
from capture.recorder import FileRecorder
from decision.command import Command
from decision.policy import Policy
from decision.site import Site, default_site, load_site
from inference.artifact import DEFAULT_ARTIFACT, load_artifact
from inference.serve import open_predictor
from offramp_errors import OfframpError
from offramp_kernels import announce_compiling
from stream.by_link import link_of
from stream.pipeline import Pipeline, Sink
from stream.prefetch import prefetch
from stream.replay import capture_lines
from stream.table import Table
from stream.tap import TapOptions
from stream.windows import Windowed


class OutputError(OfframpError):
    """Where the data goes takes no more."""


@dataclass(slots=True)
class Tap:
    """One live interface's way to commands. `tick`, where set, is called with the clock in ns when no packet comes."""

    intake: Intake
    dissector: Dissector
    pipeline: Pipeline
    tick: Callable[[int], None] | None = None
    _told: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("captured", "decoded", "shed", "dropped"), 0))

    def run(self) -> Iterator[Command]:
        """Yield every command of the link's packets, as they are decided."""
        for windowed, clock_ns in prefetch(self._windowed()):
            yield from self.pipeline.decide(windowed)
            if clock_ns and self.tick is not None:
                self.tick(clock_ns)
        yield from self.pipeline.close()

    def capture_ledger(self) -> CaptureLedger:
        """Return the account of the packets: dissected, shed before that, dropped by the kernel."""
        total = CaptureLedger()
        total.add(self.dissector.ledger)
        total.add(self.intake.account)
        return total

    def _windowed(self) -> Iterator[tuple[Windowed, int]]:
        """Yield what the model is shown, in a thread beside it, and the clock where it goes on without packets."""
        windows = self.pipeline.windows
        for item in prefetch(self._items()):
            yield (windows.advance(item), item) if isinstance(item, int) else (windows.update(item), 0)

    def _items(self) -> Iterator[pa.RecordBatch | int]:
        """Yield feature batches, each with what became of the packets since the one before, and the clock."""
        for block in self.intake.read():
            for batch in self.dissector.dissect(block):
                yield self._accounted(batch, block.sampling)
            if block.clock_ns:
                yield block.clock_ns

    def _accounted(self, batch: pa.RecordBatch, sampling: int) -> pa.RecordBatch:
        """Return a batch that says how many packets each of its rows stands for, and what was lost beside it."""
        ledger = self.capture_ledger()
        counts = (ledger.captured, ledger.decoded, ledger.shed.total(), ledger.kernel_drops)
        now = dict(zip(self._told, counts, strict=True))
        new = {name: now[name] - before for name, before in self._told.items()}
        self._told = now
        told = {
            "captured": new["captured"],
            "decoded": new["decoded"],
            "shed": {"overload": new["shed"]},
            "kernel_drops": new["dropped"],
        }
        metadata = {**(batch.schema.metadata or {}), b"ledger": json.dumps(told), b"sampling": str(sampling)}
        return batch.replace_schema_metadata(metadata)


def watch(source: PacketSource, options: TapOptions, out: TextIO) -> None:
    """Run an opened interface through the pipeline until it is told to end; raise OfframpError where it failed."""
    announce_compiling()
    site = load_site(options.site) if options.site else default_site()
    if options.site is None:
        say(
            "no --site: the assumed link is 100 Mbit/s; what is foreseen is only as true as the capacity (docs/site.md)"
        )
    with ExitStack() as stack:
        recorder = None
        if options.write is not None:
            ring = RingOfFiles(options.write, options.ring_files, options.ring_mb)
            recorder = FileRecorder(PcapngFiles(ring, source.name), say)
            stack.callback(recorder.close)
        table = Table(lambda text: line(out, text), int(options.every_s * 1e9), 10_000_000)

        def level(text: str) -> None:
            table.note = f"  1/{intake.shedding.factor} of flows" if intake.shedding.factor > 1 else ""
            say(f"overload: {text}")

        def begun() -> None:
            say(f"watching {source.name} as link {tap.pipeline.link.name}; Ctrl-C ends it")

        until = Until(options.duration_s, options.count)
        intake = Intake(source, until=until, recorder=recorder, begun=begun, told=level)
        tap = assembled(intake, site, options, table.update if options.form == "table" else None)
        stack.enter_context(ended_by_signals(intake))
        failures = written(tap, out, None if options.form == "jsonl" else table)
    print(account(tap, recorder), file=sys.stderr)
    failures += [f"{damage.source}: {damage.reason}" for damage in intake.damages]
    failures += [f"--write {options.write}: {recorder.error.strerror}"] if recorder and recorder.error else []
    if failures:
        raise OfframpError("; ".join(failures))


def written(tap: Tap, out: TextIO, table: Table | None) -> list[str]:
    """Run a tap and write its data, as a table or as JSON lines; return why that ended early, if it did."""
    try:
        if table is None:
            for command in tap.run():
                line(out, command.to_json())
            return []
        tap.tick = table.advance
        deque(tap.run(), maxlen=0)  # the table has the commands with their bins
        table.close()
    except OutputError as error:
        return [str(error)]
    return []


def assembled(intake: Intake, site: Site, options: TapOptions, sink: Sink | None) -> Tap:
    """Return the tap of an intake, its kernels loaded and warm: a link does not wait for a compiler."""
    folder = options.model or DEFAULT_ARTIFACT
    artifact, predictor = load_artifact(folder), open_predictor(folder)
    link = link_of(site, intake.name)

    def pipeline(told: Sink | None) -> Pipeline:
        return Pipeline(site, link, predictor, artifact.normaliser, Policy(site, link), sink=told)

    warm = pipeline(None)
    for batch in Dissector("stream").dissect(one_packet()):
        warm.update(batch)
    warm.close()
    return Tap(intake, Dissector("stream", site=site.name, link=link, agent="tap"), pipeline(sink))


def one_packet() -> PacketBlock:
    """Return a block of one Ethernet frame that is made up."""
    frame = np.frombuffer(bytes(12) + b"\x08\x00" + bytes(46), np.uint8)
    size = np.array([len(frame)], np.int32)
    time_ns = np.array([1_000_000_000], np.int64)
    none = np.zeros(1, np.int32)
    return PacketBlock(frame, np.zeros(1, np.int64), size, size, time_ns, none, (Interface("none", 1),))


@contextmanager
def ended_by_signals(intake: Intake) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the capture in order, once; a second one ends the program at once."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def end(number: int, _: object) -> None:
        intake.close()
        for each in numbers:
            signal.signal(each, before[each])

    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])


def account(tap: Tap, recorder: FileRecorder | None) -> str:
    """Return the ledger as text."""
    lines = ["", "ledger", *capture_lines(tap.capture_ledger())]
    shedding = tap.intake.shedding
    if shedding.cut or shedding.highest > 1:
        lines.append(f"  flows kept           1 of {shedding.factor} at the end, 1 of {shedding.highest} at worst")
    if recorder is not None:
        lines.append(f"  written             {recorder.files.packets:>12,} in {recorder.files.files} file(s)")
        lines += reasons(recorder.unwritten)
    return "\n".join([*lines, *tap.pipeline.ledger.lines()])


def reasons(counts: Counter[str]) -> list[str]:
    """Return what was not written, a line each."""
    return [f"    not written: {reason:<17} {count:>8,}" for reason, count in sorted(counts.items())]


def say(text: str) -> None:
    """Tell the operator something, beside the data."""
    print(text, file=sys.stderr, flush=True)


def line(out: TextIO, text: str) -> None:
    """Write a line of data at once: a live link's reader waits for it. Raises OutputError where that fails."""
    try:
        out.write(text + "\n")
        out.flush()
    except BrokenPipeError:
        raise  # the reader has seen enough: no error
    except OSError as error:
        raise OutputError(f"the data cannot be written: {error.strerror}") from error
