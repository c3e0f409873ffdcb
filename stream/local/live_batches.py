"""Feature batches and clock of a live source, by link, with every packet accounted for; used by tap and agent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from offramp.capture.block import Interface, PacketBlock
from offramp.capture.intake.intake import Intake
from offramp.capture.intake.recorder import FileRecorder
from offramp.capture.ledger import CaptureLedger
from offramp.hops import HEADER, encode_hops
from offramp.stream.local.bin_edges import until_bins_close
from offramp.stream.local.link_batches import ByLink


def ignore(_: str) -> None:
    """Ignore a message."""


@dataclass(slots=True)
class LiveBatches:
    """A live source's intake, cut by link; `ledger` accounts for every packet.

    An interface is one link; the source `any` holds as many as have packets. recorder: writes the packets to files, if
    asked for; lateness_ms: as in site.toml, decides when a bin closes; bins: how many bins' packets come together;
    warn: called with what of packets and site does not fit; ended: called with why the source ended, where others go
    on.
    """

    intake: Intake
    links: ByLink
    recorder: FileRecorder | None = None
    lateness_ms: float = 1.0
    bins: int = 1
    warn: Callable[[str], None] = ignore
    ended: Callable[[str], None] | None = None
    _taken: dict[str, CaptureLedger] = field(default_factory=dict)

    def read(self) -> Iterator[tuple[str, pa.RecordBatch | int]]:
        """Yield link and feature batch, with the account of packets since the last one, or link and clock in ns.

        The clock comes when no packet does: all packets before it have been yielded. It is withheld while no batch has
        reported packets that were lost: their time would pass for silence.
        """
        untold: set[str] = set()
        for block in until_bins_close(self.intake.read(), self.lateness_ms, self.bins):
            lost, reported = bool(block.kernel_drops or block.shed_before), set[str]()
            for link, part in self.links.split(block):
                for batch in self.links.dissector(link).dissect(part):
                    for text in self.links.noted(link, batch).early():
                        self.warn(text)
                    yield link, self._accounted(link, batch, block)
                    reported.add(link)
            untold = (untold | set(self.links.dissectors) if lost else untold) - reported
            if block.clock_ns:
                for link in tuple(self.links.dissectors):
                    if link not in untold:
                        yield link, block.clock_ns
        for fault in self.intake.faults:
            if self.ended is not None:
                self.ended(f"{fault.source}: {fault.reason}; the others go on")

    def ledger(self) -> CaptureLedger:
        """Return the account of the packets of all links: dissected, shed before that, dropped by the kernel."""
        total = self.links.ledger()
        total.add(self.intake.account)
        return total

    def ledger_of(self, link: str) -> CaptureLedger:
        """Return the account of a link's packets.

        Packets lost before their link was known are charged to each link of the source, as any of them may be the
        link's.
        """
        total = CaptureLedger()
        for part in (self.links.dissector(link).ledger, self.links.lost, self.intake.account):
            total.add(part)
        return total

    def take_delta(self, link: str) -> CaptureLedger:
        """Return what a link's ledger has counted since its last batch, and mark it as reported."""
        now = self.ledger_of(link)
        new, self._taken[link] = now.since(self._taken.get(link, CaptureLedger())), now
        return new

    def _accounted(self, link: str, batch: pa.RecordBatch, block: PacketBlock) -> pa.RecordBatch:
        """Return a batch with its sampling, the account of lost packets, and times as metadata."""
        delta = json.dumps(self.take_delta(link).as_dict(), separators=(",", ":"))
        hops = encode_hops({"read": block.read_ns, "dissected": time.time_ns()} if block.read_ns else {})
        more = {b"ledger": delta, b"sampling": str(block.sampling), HEADER.encode(): hops}
        metadata = {**(batch.schema.metadata or {}), **more}
        return batch.replace_schema_metadata(metadata)

    def warnings(self) -> list[str]:
        """Return in words what of packets and site does not fit together."""
        return self.links.warnings()


def one_packet() -> PacketBlock:
    """Return a block of one made-up Ethernet frame."""
    frame = np.frombuffer(bytes(12) + b"\x08\x00" + bytes(46), np.uint8)
    size = np.array([len(frame)], np.int32)
    time_ns = np.array([1_000_000_000], np.int64)
    none = np.zeros(1, np.int32)
    return PacketBlock(frame, np.zeros(1, np.int64), size, size, time_ns, none, (Interface("none", 1),))
