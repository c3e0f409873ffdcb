"""`offramp publish`: files, or live interfaces, as feature batches to Kafka.

An interface is opened, and the rights are dropped, before anything heavy is imported; see cli.tap.
"""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offramp.cli.listen import open_links, runs_programs, settle
from offramp.cli.options import KafkaOptions, ListenOptions, Metrics, Pace, PacketOptions, SiteFile, Strict
from offramp.cli.signals import handling
from offramp.errors import ConfigError, OfframpError
from offramp.inference.bin_length import BIN_MS

if TYPE_CHECKING:
    from offramp.capture.publish.publisher import Publisher
    from offramp.capture.sources.source import PacketSource
    from offramp.decision.site import Site
    from offramp.kafka import KafkaSettings
    from offramp.stream.metrics.registry import Metrics as Registry
    from offramp.stream.metrics.table import Observe


@dataclass(frozen=True, kw_only=True)
class PublishOptions(ListenOptions, KafkaOptions):
    """What `offramp publish` was asked for: files, or interfaces to listen on."""

    files: Annotated[tuple[str, ...], typer.Argument(metavar="[FILE...]", help="captures, as replay takes them")] = ()
    interfaces: Annotated[
        tuple[str, ...],
        typer.Option("--interface", "-i", metavar="IFACE", help="publish a live interface, again for more"),
    ] = ()
    site: SiteFile = None
    agent: Annotated[str, typer.Option("--agent", help="name of this agent; the host's otherwise")] = ""
    epoch: Annotated[
        str, typer.Option("--epoch", help="a number, or `new`; the same files have the same otherwise")
    ] = ""
    pace: Pace = "max"
    spool: Annotated[Path | None, typer.Option("--spool", help="folder to write to while the broker is away")] = None
    spool_mb: Annotated[int, typer.Option("--spool-size", help="megabytes of the spool", min=1, max=100_000_000)] = 1024
    strict: Strict = False
    message_ms: Annotated[
        int,
        typer.Option(
            "--message-every", metavar="MS", help="of a live link: longer is cheaper, and later", min=10, max=10_000
        ),
    ] = BIN_MS
    metrics: Metrics = ""


def publish(options: PublishOptions) -> None:
    """Publish captures, or a live interface, as feature batches to Kafka for workers; the ledger at the end.

    Examples: offramp publish capture.pcap --site site.toml --kafka 127.0.0.1:9092; offramp publish --interface eth0
    --site site.toml
    """
    settings = options.kafka_settings()
    require_fitting(options)
    with ExitStack() as stack:
        sources: list[PacketSource] = []
        if options.interfaces:
            sources = open_links(
                options, () if options.spool is None else (options.spool,), programs=runs_programs(options)
            )
            for source in sources:
                stack.callback(source.close)
        from offramp.stream.metrics.server import serving

        metrics = stack.enter_context(serving(options.metrics, "publish"))
        if options.interfaces:
            publish_links(sources, options, settings, metrics)
        else:
            publish_files(options, settings, metrics)


def require_fitting(options: PublishOptions) -> None:
    """Raise ConfigError where options are asked for that do not go together."""
    if not options.interfaces:
        of_files = {"interfaces", *(each.name for each in fields(PacketOptions))}
        listening = [each for each in fields(ListenOptions) if each.name not in of_files]
        if any(getattr(options, each.name) != each.default for each in listening):
            raise ConfigError(
                "--filter, --snaplen, --duration, --count, --write and --capture-backend go with --interface IFACE"
            )
        if options.message_ms != BIN_MS:
            raise ConfigError("--message-every goes with --interface IFACE; files are sent in the largest messages")
        if not options.files:
            raise ConfigError("nothing to publish: give capture files, or --interface IFACE")
        return
    if options.files:
        raise ConfigError("give capture files or --interface, not both; one agent each, with its own --agent name")
    if options.message_ms % BIN_MS:
        raise ConfigError(f"--message-every {options.message_ms}: expected a multiple of a bin's {BIN_MS} ms")
    if options.pace != "max" or options.strict:
        raise ConfigError("--pace and --strict go with capture files; a live link has its own pace")
    if options.epoch not in ("", "new"):
        raise ConfigError(f"--epoch {options.epoch}: a live agent's epoch is always new; leave the option out")


def publish_files(options: PublishOptions, settings: KafkaSettings, metrics: Registry | None = None) -> None:
    """Publish the packets of files; the ledger to standard error."""
    from offramp.cli.show.ledger_text import capture_lines, hold_strict, warn
    from offramp.cli.show.progress import console_bar
    from offramp.decision.site import load_or_default
    from offramp.reach import ReachWatch
    from offramp.stream.agent.files import publish_source
    from offramp.stream.local.captures_by_link import open_by_link
    from offramp.stream.local.link_batches import LinkBatches
    from offramp.stream.local.pace import parse_pace
    from offramp.stream.metrics.readings import file_readings, info, publish_readings, reach_readings
    from offramp.stream.metrics.table import unobserved

    site = load_or_default(options.site)
    choice, source = open_by_link(options.files, site, options.link, warn)
    observe = metrics.observe if metrics else unobserved
    publisher = open_publisher(options, settings, site, epoch_of(options, site), observe=observe)
    batches = LinkBatches(source, site, publisher.agent, parse_pace(options.pace), choice, options.dissector)
    watch = ReachWatch(settings, "publish", "features")
    if metrics is not None:
        metrics.read_from(
            info("publish", site.name), partial(file_readings, batches), partial(publish_readings, publisher),
            partial(reach_readings, watch.reach),
        )  # fmt: skip
    publisher.start()
    print(
        f"agent {publisher.agent}, epoch {publisher.epoch}, to {publisher.topic} at {settings.shown}", file=sys.stderr
    )
    watch.start()
    try:
        with handling(signal.default_int_handler, signal.SIGTERM), console_bar(source.progress, "publishing") as bar:
            finished = publish_source(batches, publisher, bar.update)
    finally:
        watch.close()
        for text in (*map(str, source.faults), *batches.warnings()):
            warn(text)
        lines = ["ledger", *capture_lines(batches.ledger(), choice.unlinked), *published_lines(publisher)]
        print("\n".join(lines), file=sys.stderr)
    if not finished:
        raise OfframpError("the broker is away: what is not acknowledged is in the spool; run the same command again")
    if options.strict:
        hold_strict(source, choice.unlinked.total())


def publish_links(
    sources: Sequence[PacketSource], options: PublishOptions, settings: KafkaSettings, metrics: Registry | None = None
) -> None:
    """Publish opened interfaces until a signal; raise OfframpError where one failed."""
    import kafka  # noqa: F401 - while its files can be read: whom root becomes need not be let into their folder

    from offramp.cli.show.ledger_text import warn
    from offramp.cli.watching import accounts, ended_by_signals, failures, site_of, watching
    from offramp.kernels import announce_compiling
    from offramp.reach import ReachWatch
    from offramp.stream.agent.live import LiveAgent
    from offramp.stream.metrics.readings import info, live_readings, publish_readings, reach_readings
    from offramp.stream.metrics.table import unobserved
    from offramp.streams import tell

    announce_compiling()
    site = site_of(options.site, [source.name for source in sources])
    observe = metrics.observe if metrics else unobserved
    settle(options)
    publisher = open_publisher(options, settings, site, time.time_ns(), live=True, observe=observe)
    with ExitStack() as stack:
        found = stack.enter_context(
            watching(sources, options, site, publisher.agent, bins=options.message_ms // BIN_MS)
        )
        watch = ReachWatch(settings, "publish", "features")
        if metrics is not None:
            metrics.read_from(
                info("publish", site.name),
                *(partial(live_readings, batches) for batches in found),
                partial(publish_readings, publisher),
                partial(reach_readings, watch.reach),
            )
        publisher.start()
        watch.start()
        stack.callback(watch.close)
        tell(f"agent {publisher.agent}, epoch {publisher.epoch}, to {publisher.topic} at {settings.shown}")
        try:
            with ended_by_signals(*(batches.intake for batches in found)):
                finished = LiveAgent(found, publisher).run()
        finally:
            stack.close()  # the files are written to their end before they are counted
            for text in (text for batches in found for text in batches.warnings()):
                warn(text)
            tell("\n".join([*accounts(found), *published_lines(publisher)]))
    ended = failures(found, options)
    if not finished:
        ended.append(left_over(publisher))
    if ended:
        raise OfframpError("; ".join(ended))


def open_publisher(
    options: PublishOptions, settings: KafkaSettings, site: Site, epoch: int, *, observe: Observe, live: bool = False
) -> Publisher:
    """Return the publisher that the options ask for, not started."""
    from offramp.capture.publish.publisher import Publisher
    from offramp.capture.publish.spool import Spool
    from offramp.stream.metrics.readings import acknowledgements
    from offramp.streams import tell

    agent = options.agent or socket.gethostname()
    spool = Spool(options.spool, options.spool_mb << 20, report=tell) if options.spool else None
    return Publisher(
        settings,
        site=site.name,
        agent=agent,
        epoch=epoch,
        live=live,
        spool=spool,
        bundles=site.bundle_names,
        acknowledged=acknowledgements(observe),
    )


def epoch_of(options: PublishOptions, site: Site) -> int:
    """Return the epoch asked for; else, of files, one that the same files always have; else the time."""
    from offramp.stream.agent.files import recording_epoch
    from offramp.stream.local.captures_by_link import files_of

    read_once = any(
        name == "-" or not Path(name).is_file() for name in files_of(options.files, site)
    )  # a pipe has no second reading
    if options.epoch == "new" or (not options.epoch and read_once):
        return time.time_ns()
    if options.epoch:
        if not options.epoch.isdecimal() or int(options.epoch) >= 1 << 63:
            raise ConfigError(f"--epoch {options.epoch}: expected a whole number below 2^63, or `new`")
        return int(options.epoch)
    return recording_epoch(files_of(options.files, site), options.pace)


def published_lines(publisher: Publisher) -> list[str]:
    """Return what became of the rows as lines of the ledger."""
    ledger = publisher.ledger
    left = ledger.rows + ledger.earlier_rows - ledger.rows_acknowledged - ledger.rows_shed
    damaged = publisher.spool.damaged if publisher.spool is not None else 0
    earlier = [f"  rows of earlier runs{ledger.earlier_rows:>12,}   found in the spool"] if ledger.earlier_rows else []
    return [
        f"  rows published      {ledger.rows:>12,}   in {ledger.messages:,} messages of {ledger.bytes:,} bytes",
        *earlier,
        f"    acknowledged      {ledger.rows_acknowledged:>12,}",
        f"    shed              {ledger.rows_shed:>12,}",
        f"    not acknowledged  {left:>12,}",
        f"  messages spooled    {ledger.spooled:>12,}",
        *([f"  spool, damaged      {damaged:>12,}   place(s) passed over, files kept aside"] if damaged else []),
    ]


def left_over(publisher: Publisher) -> str:
    """Say what becomes of what the broker has not acknowledged in time."""
    from offramp.stream.agent.files import PATIENCE_S

    if publisher.spool is not None:
        return "the broker is away: what is not acknowledged is in the spool, and the next run with it sends that first"
    return f"the broker did not acknowledge everything within {PATIENCE_S:g} s; --spool FOLDER keeps what is left"
