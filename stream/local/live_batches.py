"""Open interfaces as feature batches and the clock, by link, with the account of their packets: for tap and agent."""

from __future__ import annotations

import gc
import json
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from offramp.capture.block import Interface, PacketBlock
from offramp.capture.intake.intake import Intake, Until
from offramp.capture.intake.pcapng_writer import PcapngFiles, RingOfFiles
from offramp.capture.intake.recorder import FileRecorder
from offramp.capture.ledger import CaptureLedger
from offramp.capture.sources.live.packet_socket import EVERY_INTERFACE
from offramp.capture.sources.source import PacketSource
from offramp.cli.listen import ListenOptions
from offramp.decision.site import Site, default_site, load_site
from offramp.errors import ConfigError
from offramp.hops import HEADER, encode_hops
from offramp.stream.local.bin_edges import until_bins_close
from offramp.stream.local.link_batches import ByLink
from offramp.stream.local.link_choice import PAGE, LinkChoice
from offramp.stream.local.replay import capture_lines, warn
from offramp.streams import tell


@dataclass(slots=True)
class LiveBatches:
    """A live source's intake, cut by link; `ledger` accounts for every packet, `account` and `failures` tell the user.

    An interface is one link; the source of every interface holds as many as have packets. recorder: what writes the
    packets to files, if asked for; lateness_ms: as in site.toml, by which it is known when a bin closes; bins: whose
    packets come together; alone: no other source is watched.
    """

    intake: Intake
    links: ByLink
    recorder: FileRecorder | None = None
    lateness_ms: float = 1.0
    bins: int = 1
    alone: bool = True
    _told: dict[str, CaptureLedger] = field(default_factory=dict)

    def read(self) -> Iterator[tuple[str, pa.RecordBatch | int]]:
        """Yield link and feature batch, with what became of the packets since the one before, or the clock in ns.

        The clock comes when no packet does: all packets before it have been yielded. It does not where packets were
        lost that no batch has told of yet: their time would pass for silence.
        """
        untold: set[str] = set()
        for block in until_bins_close(self.intake.read(), self.lateness_ms, self.bins):
            lost, told = bool(block.kernel_drops or block.shed_before), set[str]()
            for link, part in self.links.split(block):
                for batch in self.links.dissector(link).dissect(part):
                    for text in self.links.noted(link, batch).early():
                        warn(text)
                    yield link, self._accounted(link, batch, block)
                    told.add(link)
            untold = (untold | set(self.links.dissectors) if lost else untold) - told
            if block.clock_ns:
                for link in tuple(self.links.dissectors):
                    if link not in untold:
                        yield link, block.clock_ns
        for damage in self.intake.damages:
            if not self.alone:
                tell(f"{damage.source}: {damage.reason}; the others go on")

    def ledger(self) -> CaptureLedger:
        """Return the account of the packets of all links: dissected, shed before that, dropped by the kernel."""
        total = self.links.ledger()
        total.add(self.intake.account)
        return total

    def ledger_of(self, link: str) -> CaptureLedger:
        """Return the account of a link's packets.

        What was lost before it was known whose it was is charged to each link of the source: any of it may be its.
        """
        total = CaptureLedger()
        for part in (self.links.dissector(link).ledger, self.links.lost, self.intake.account):
            total.add(part)
        return total

    def untold(self, link: str) -> CaptureLedger:
        """Return what a link's ledger has more than its batches so far have told, and take it as told."""
        now = self.ledger_of(link)
        new, self._told[link] = now.since(self._told.get(link, CaptureLedger())), now
        return new

    def _accounted(self, link: str, batch: pa.RecordBatch, block: PacketBlock) -> pa.RecordBatch:
        """Return a batch that says how many packets each row stands for, what was lost beside it, and the time."""
        told = json.dumps(self.untold(link).as_dict(), separators=(",", ":"))
        hops = encode_hops({"read": block.read_ns, "dissected": time.time_ns()} if block.read_ns else {})
        more = {b"ledger": told, b"sampling": str(block.sampling), HEADER.encode(): hops}
        metadata = {**(batch.schema.metadata or {}), **more}
        return batch.replace_schema_metadata(metadata)

    def account(self, more: Callable[[str], list[str]] = lambda _: [], title: str = "ledger") -> list[str]:
        """Return the packets' part of the ledger as lines: what came in, what was shed, what was written.

        more: the lines of a link that follow the packets'; title: heading. Several links have a ledger each, and what
        was lost before it was known whose it was stands in one of the source.
        """
        links = tuple(self.links.dissectors)
        if len(links) == 1:
            return ["", title, *capture_lines(self.ledger(), self._unlinked), *self._notes(), *more(links[0])]
        lines = []
        for link in links:
            lines += ["", f"{title} of link {link}", *capture_lines(self.links.dissector(link).ledger), *more(link)]
        before = CaptureLedger()
        before.add(self.links.lost)
        before.add(self.intake.account)
        name = f"{title} of {self.intake.name}, of which no link is known"
        return [*lines, "", name, *capture_lines(before, self._unlinked), *self._notes()]

    def warnings(self) -> list[str]:
        """Return in words what of packets and site does not fit together."""
        return self.links.warnings()

    @property
    def _unlinked(self) -> Counter[str]:
        return self.links.choice.unlinked

    def _notes(self) -> list[str]:
        """Return lines for flows that were not kept, and for what was written."""
        lines, shedding = [], self.intake.shedding
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
    sources: Sequence[PacketSource], options: ListenOptions, site: Site, agent: str,
    level: Callable[[int], None] = lambda _: None, bins: int = 1,
) -> Iterator[list[LiveBatches]]:  # fmt: skip
    """Give the batches of opened interfaces, behind `cli.listen.settle`.

    level: told how many packets a kept one stands for, when that changes; bins: see LiveBatches. Leaving it, what is
    to be written is written. Raises ConfigError for an interface that is of no link, or two of one link.
    """
    with ExitStack() as stack:
        found = [_batches(stack, source, options, site, agent, level, bins) for source in sources]
        links = [link for each in found for link in each.links.dissectors]
        for link in links:
            if links.count(link) > 1:
                named = [each.intake.name for each in found if link in each.links.dissectors]
                raise ConfigError(
                    f"{' and '.join(named)} are both of link {link}: packets of two sockets have no common order; "
                    "watch one of them, or give each a link"
                )
        gc.collect()
        gc.freeze()  # what is loaded stays: the collector need not halt the capture to look at it
        yield found


def _batches(
    stack: ExitStack, source: PacketSource, options: ListenOptions, site: Site, agent: str,
    level: Callable[[int], None], bins: int,
) -> LiveBatches:  # fmt: skip
    """Return the batches of one source."""
    every = source.name == EVERY_INTERFACE
    wanted = options.link or next((link.name for link in site.links if every and link.interface == EVERY_INTERFACE), "")
    links = ByLink(LinkChoice(site, wanted, warn), site, agent, _doubles if every else None)
    if not every:
        links.dissector(links.choice.required(source.name))
    recorder = None
    if options.write is not None:
        ring = RingOfFiles(options.write, options.ring_files, options.ring_mb)
        recorder = FileRecorder(PcapngFiles(ring, source.name), tell)
        stack.callback(recorder.close)
    one = next(iter(links.dissectors), "")

    def told(text: str) -> None:
        level(intake.shedding.factor)
        tell(f"overload: {text}" if len(options.interfaces) == 1 else f"overload of {source.name}: {text}")

    def begun() -> None:
        tell(f"watching {source.name} as {f'link {one}' if one else 'a link each'}; Ctrl-C ends it")

    intake = Intake(source, until=Until(options.duration_s, options.count), recorder=recorder, begun=begun, told=told)
    lateness_ms = site.link(one).lateness_ms if one else max(link.lateness_ms for link in site.links)
    return LiveBatches(intake, links, recorder, lateness_ms, bins, len(options.interfaces) == 1)


def _doubles(link: str, interfaces: Sequence[str]) -> None:
    """Tell that a link takes several interfaces of `any`."""
    warn(
        f"link {link} takes {' and '.join(interfaces)} of any: a packet that this machine forwards "
        f"from one to the other counts twice; name one interface in the site file, or make each a link ({PAGE})"
    )


def accounts(sources: Sequence[LiveBatches], more: Callable[[str], list[str]] = lambda _: []) -> list[str]:
    """Return the ledger as lines: of the only source, or of each; more: see LiveBatches.account."""
    if len(sources) == 1:
        return sources[0].account(more)
    return [
        text
        for source in sources
        for text in source.account(more, f"ledger of {source.intake.name}, link {next(iter(source.links.dissectors))}")
    ]


def site_of(path: Path | None, interfaces: Sequence[str]) -> Site:
    """Return the site of a file; without one, the assumed link, or one for each of several interfaces."""
    if path is not None:
        return load_site(path)
    there = [name for _, name in socket.if_nameindex()]
    return default_site(there if EVERY_INTERFACE in interfaces else interfaces)


def one_packet() -> PacketBlock:
    """Return a block of one Ethernet frame that is made up."""
    frame = np.frombuffer(bytes(12) + b"\x08\x00" + bytes(46), np.uint8)
    size = np.array([len(frame)], np.int32)
    time_ns = np.array([1_000_000_000], np.int64)
    none = np.zeros(1, np.int32)
    return PacketBlock(frame, np.zeros(1, np.int64), size, size, time_ns, none, (Interface("none", 1),))


@contextmanager
def ended_by_signals(*intakes: Intake) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the captures in order, once; a second one ends the program at once."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def end(number: int, _: object) -> None:
        for intake in intakes:
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
