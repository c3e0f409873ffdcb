"""Watch opened interfaces for a command: their batches, what ends them, and their account."""

from __future__ import annotations

import gc
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from offramp.capture.intake.intake import Intake, Until
from offramp.capture.intake.pcapng_writer import PcapngFiles, RingOfFiles
from offramp.capture.intake.recorder import FileRecorder
from offramp.capture.ledger import CaptureLedger
from offramp.capture.sources.live.packet_socket import EVERY_INTERFACE
from offramp.capture.sources.source import PacketSource
from offramp.cli.options import ListenOptions
from offramp.cli.show.ledger_text import capture_lines, warn
from offramp.cli.signals import ASKED_TO_END, handling
from offramp.decision.site import Site, load_or_default
from offramp.errors import ConfigError
from offramp.stream.local.link_batches import ByLink
from offramp.stream.local.link_choice import PAGE, LinkChoice
from offramp.stream.local.live_batches import LiveBatches
from offramp.streams import tell


@contextmanager
def watching(
    sources: Sequence[PacketSource], options: ListenOptions, site: Site, agent: str,
    level: Callable[[int], None] = lambda _: None, bins: int = 1,
) -> Iterator[list[LiveBatches]]:  # fmt: skip
    """Give the batches of opened interfaces, after `listen.settle`.

    level: called with how many packets a kept one stands for, when that changes; bins: see LiveBatches. What is left to
    write is written when the body ends. Raises ConfigError for an interface of no link, or two of one link.
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
    links = ByLink(LinkChoice(site, wanted, warn), site, agent, _doubles if every else None, options.dissector)
    stack.callback(links.close)
    if not every:
        links.dissector(links.choice.required(source.name))
    recorder = None
    if options.write is not None:
        ring = RingOfFiles(options.write, options.ring_files, options.ring_mb)
        recorder = FileRecorder(PcapngFiles(ring, source.name), tell)
        stack.callback(recorder.close)
    one = next(iter(links.dissectors), "")
    alone = len(options.interfaces) == 1

    def report(text: str) -> None:
        level(intake.shedding.factor)
        tell(f"overload: {text}" if alone else f"overload of {source.name}: {text}")

    def begun() -> None:
        tell(f"watching {source.name} as {f'link {one}' if one else 'a link each'}; Ctrl-C ends it")

    intake = Intake(
        source, until=Until(options.duration_s, options.count), recorder=recorder, begun=begun, report=report
    )
    lateness_ms = site.link(one).lateness_ms if one else max(link.lateness_ms for link in site.links)
    return LiveBatches(intake, links, recorder, lateness_ms, bins, warn, None if alone else tell)


def _doubles(link: str, interfaces: Sequence[str]) -> None:
    """Report that a link takes several interfaces of `any`."""
    warn(
        f"link {link} takes {' and '.join(interfaces)} of any: a packet that this machine forwards "
        f"from one to the other counts twice; name one interface in the site file, or make each a link ({PAGE})"
    )


def site_of(path: Path | None, interfaces: Sequence[str]) -> Site:
    """Return the site of a file; without one, the assumed link, or one for each of several interfaces."""
    there = [name for _, name in socket.if_nameindex()]
    return load_or_default(path, there if EVERY_INTERFACE in interfaces else interfaces)


@contextmanager
def ended_by_signals(*intakes: Intake) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the captures in order, once; a second one ends the program at once."""
    before = {number: signal.getsignal(number) for number in ASKED_TO_END}

    def end(*_: object) -> None:
        for intake in intakes:
            intake.close()
        for number, former in before.items():
            signal.signal(number, former)

    with handling(end, *ASKED_TO_END):
        yield


def accounts(sources: Sequence[LiveBatches], more: Callable[[str], list[str]] = lambda _: []) -> list[str]:
    """Return the ledger as lines: of the only source, or of each; more: the lines of a link behind its packets'."""
    if len(sources) == 1:
        return account(sources[0], more)
    return [
        text
        for source in sources
        for text in account(source, more, f"ledger of {source.intake.name}, link {next(iter(source.links.dissectors))}")
    ]


def account(batches: LiveBatches, more: Callable[[str], list[str]], title: str = "ledger") -> list[str]:
    """Return the packets' part of a source's ledger as lines: what came in, what was shed, what was written.

    more: the lines of a link that follow the packets'; title: heading. Several links have a ledger each, and what
    was lost before it was known whose it was stands in one of the source.
    """
    links, unlinked, notes = tuple(batches.links.dissectors), batches.links.choice.unlinked, _notes(batches)
    if len(links) == 1:
        return ["", title, *capture_lines(batches.ledger(), unlinked), *notes, *more(links[0])]
    lines = []
    for link in links:
        lines += ["", f"{title} of link {link}", *capture_lines(batches.links.dissector(link).ledger), *more(link)]
    before = CaptureLedger()
    before.add(batches.links.lost)
    before.add(batches.intake.account)
    name = f"{title} of {batches.intake.name}, of which no link is known"
    return [*lines, "", name, *capture_lines(before, unlinked), *notes]


def _notes(batches: LiveBatches) -> list[str]:
    """Return lines for flows that were not kept, and for what was written."""
    lines, shedding = [], batches.intake.shedding
    if shedding.cut or shedding.highest > 1:
        share = f"1 of {shedding.factor} at the end, 1 of {shedding.highest} at worst"
        lines.append(f"  flows kept           {share}; which ones follows from a secret of this process")
    if batches.recorder is not None:
        files = batches.recorder.files
        lines.append(f"  written             {files.packets:>12,} in {files.files} file(s)")
        unwritten = sorted(batches.recorder.unwritten.items())
        lines += [f"    not written: {reason:<17} {count:>8,}" for reason, count in unwritten]
    return lines


def failures(sources: Sequence[LiveBatches], options: ListenOptions) -> list[str]:
    """Return what ended captures or their files other than by request, in words."""
    found = []
    for batches in sources:
        found += [f"{fault.source}: {fault.reason}" for fault in batches.intake.faults]
        if batches.recorder is not None and batches.recorder.error is not None:
            found.append(f"--write {options.write}: {batches.recorder.error.strerror}")
    return found
