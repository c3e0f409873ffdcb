"""An open interface as feature batches and the clock, with the account of its packets: for tap and agent."""

from __future__ import annotations

import gc
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from capture.block import Interface, PacketBlock, PacketSource
from capture.dissector import Dissector
from capture.intake import Intake, Until
from capture.ledger import CaptureLedger
from capture.pcapng_files import PcapngFiles, RingOfFiles
from capture.recorder import FileRecorder
from decision.site import Site
from offramp_hops import HEADER, encode_hops
from stream.bin_edges import until_bins_close
from stream.by_link import link_of
from stream.listen import ListenOptions
from stream.replay import capture_lines


@dataclass(slots=True)
class LiveBatches:
    """A live link's intake and dissector; `ledger` accounts for every packet, `account` and `failures` tell the user.

    link: the name of the link that the interface watches; recorder: what writes its packets to files, if asked for;
    lateness_ms: as in site.toml, by which it is known when a bin closes; bins: whose packets come together.
    """

    intake: Intake
    dissector: Dissector
    link: str = ""
    recorder: FileRecorder | None = None
    lateness_ms: float = 1.0
    bins: int = 1
    _told: CaptureLedger = field(default_factory=CaptureLedger)

    def read(self) -> Iterator[pa.RecordBatch | int]:
        """Yield feature batches, each with what became of the packets since the one before, and the clock in ns.

        The clock comes when no packet does: all packets before it have been yielded. It does not where packets were
        lost that no batch has told of yet: their time would pass for silence.
        """
        untold = False
        for block in until_bins_close(self.intake.read(), self.lateness_ms, self.bins):
            batches = self.dissector.dissect(block)
            for batch in batches:
                yield self._accounted(batch, block)
            untold = not batches and bool(untold or block.kernel_drops or block.shed_before)
            if block.clock_ns and not untold:
                yield block.clock_ns

    def ledger(self) -> CaptureLedger:
        """Return the account of the packets: dissected, shed before that, dropped by the kernel."""
        total = CaptureLedger()
        total.add(self.dissector.ledger)
        total.add(self.intake.account)
        return total

    def untold(self) -> CaptureLedger:
        """Return what the ledger has more than the batches so far have told, and take it as told."""
        now = self.ledger()
        new, self._told = now.since(self._told), now
        return new

    def _accounted(self, batch: pa.RecordBatch, block: PacketBlock) -> pa.RecordBatch:
        """Return a batch that says how many packets each row stands for, what was lost beside it, and the time."""
        told = json.dumps(self.untold().as_dict(), separators=(",", ":"))
        hops = encode_hops({"read": block.read_ns, "dissected": time.time_ns()} if block.read_ns else {})
        more = {b"ledger": told, b"sampling": str(block.sampling), HEADER.encode(): hops}
        metadata = {**(batch.schema.metadata or {}), **more}
        return batch.replace_schema_metadata(metadata)

    def account(self) -> list[str]:
        """Return the packets' part of the ledger as lines: what came in, what was shed, what was written."""
        lines = ["", "ledger", *capture_lines(self.ledger())]
        shedding = self.intake.shedding
        if shedding.cut or shedding.highest > 1:
            share = f"1 of {shedding.factor} at the end, 1 of {shedding.highest} at worst"
            lines.append(f"  flows kept           {share}; which ones follows from a secret of this process")
        if self.recorder is not None:
            files = self.recorder.files
            lines.append(f"  written             {files.packets:>12,} in {files.files} file(s)")
            unwritten = sorted(self.recorder.unwritten.items())
            lines += [f"    not written: {reason:<17} {count:>8,}" for reason, count in unwritten]
        return lines

    def failures(self, options: ListenOptions) -> list[str]:
        """Return what ended the capture or its files other than by request, in words."""
        found = [f"{damage.source}: {damage.reason}" for damage in self.intake.damages]
        if self.recorder is not None and self.recorder.error is not None:
            found.append(f"--write {options.write}: {self.recorder.error.strerror}")
        return found


@contextmanager
def listening(
    source: PacketSource, options: ListenOptions, site: Site, agent: str, level: Callable[[int], None] = lambda _: None,
    bins: int = 1,
) -> Iterator[LiveBatches]:  # fmt: skip
    """Give the batches of an opened interface, its kernels loaded: a link does not wait for a compiler.

    level: told how many packets a kept one stands for, when that changes; bins: see LiveBatches. Leaving it, what is
    to be written is written.
    """
    with ExitStack() as stack:
        recorder = None
        if options.write is not None:
            ring = RingOfFiles(options.write, options.ring_files, options.ring_mb)
            recorder = FileRecorder(PcapngFiles(ring, source.name), say)
            stack.callback(recorder.close)
        link = link_of(site, source.name)

        def told(text: str) -> None:
            level(intake.shedding.factor)
            say(f"overload: {text}")

        def begun() -> None:
            say(f"watching {source.name} as link {link}; Ctrl-C ends it")

        until = Until(options.duration_s, options.count)
        intake = Intake(source, until=until, recorder=recorder, begun=begun, told=told)
        Dissector("stream").dissect(one_packet())
        gc.collect()
        gc.freeze()  # what is loaded stays: the collector need not halt the capture to look at it
        dissector = Dissector("stream", site=site.name, link=link, agent=agent)
        yield LiveBatches(intake, dissector, link, recorder, site.link(link).lateness_ms, bins)


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


def say(text: str) -> None:
    """Tell the operator something, beside the data."""
    print(text, file=sys.stderr, flush=True)
