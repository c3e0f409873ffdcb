"""The agent: packets of files to feature messages on Kafka. `offramp publish FILE...`."""

from __future__ import annotations

import hashlib
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from offramp.capture.publish.publisher import MESSAGE_LIMIT, Publisher
from offramp.capture.publish.spool import Spool
from offramp.capture.schema import SCHEMA_VERSION
from offramp.capture.sources.file.files import open_captures
from offramp.capture.sources.source import PacketSource
from offramp.cli.progress import console_bar
from offramp.cli.publish import PublishOptions
from offramp.decision.site import default_site, load_site
from offramp.errors import ConfigError, OfframpError
from offramp.reach import ReachWatch
from offramp.stream.local.link_batches import LinkBatches
from offramp.stream.local.link_choice import LinkChoice
from offramp.stream.local.pace import parse_pace
from offramp.stream.local.prefetch import prefetch
from offramp.stream.local.replay import capture_lines, hold_strict, warn
from offramp.stream.metrics.readings import acknowledgements, file_readings, info, publish_readings, reach_readings
from offramp.stream.metrics.registry import Metrics
from offramp.stream.metrics.table import Observe, unobserved
from offramp.streams import tell

PATIENCE_S = 5.0
"""How long an interrupted agent waits for acknowledgements; with its end it stays below the 10 s of supervisors."""


def publish_files(options: PublishOptions, metrics: Metrics | None = None) -> None:
    """Publish the packets of files; the ledger to standard error."""
    site = load_site(options.site) if options.site else default_site()
    choice = LinkChoice(site, options.link, warn)
    source = open_captures(options.files)
    publisher = open_publisher(options, site.name, _epoch(options), observe=metrics.observe if metrics else unobserved)
    batches = LinkBatches(source, site, publisher.agent, parse_pace(options.pace), choice)
    watch = ReachWatch(options.settings, "publish", "features")
    if metrics is not None:
        metrics.read_from(
            info("publish", site.name), partial(file_readings, batches), partial(publish_readings, publisher),
            partial(reach_readings, watch.reach),
        )  # fmt: skip
    publisher.start()
    print(
        f"agent {publisher.agent}, epoch {publisher.epoch}, to {publisher.topic} at {options.settings.shown}",
        file=sys.stderr,
    )
    watch.start()
    try:
        with interrupted_by_sigterm():
            finished = publish_source(source, batches, publisher)
    finally:
        watch.close()
        for text in (*map(str, source.damages), *batches.warnings()):
            warn(text)
        lines = ["ledger", *capture_lines(batches.ledger(), choice.unlinked), *published_lines(publisher)]
        print("\n".join(lines), file=sys.stderr)
    if not finished:
        raise OfframpError("the broker is away: what is not acknowledged is in the spool; run the same command again")
    if options.strict:
        hold_strict(source, choice)


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM interrupt the body as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def open_publisher(
    options: PublishOptions, site: str, epoch: int, *, live: bool = False, observe: Observe = unobserved
) -> Publisher:
    """Return the publisher that the options ask for, not started."""
    agent = options.agent or socket.gethostname()
    spool = Spool(options.spool, options.spool_bytes, told=tell) if options.spool else None
    return Publisher(
        options.settings, site=site, agent=agent, epoch=epoch, live=live, spool=spool,
        acknowledged=acknowledgements(observe),
    )  # fmt: skip


def publish_source(source: PacketSource, batches: LinkBatches, publisher: Publisher) -> bool:
    """Publish all batches of a source, then say of each link that it ends; tell whether all is acknowledged.

    A recording that is interrupted does not end: published again, it goes on where it was.
    """
    whole = False
    try:
        with console_bar(source.progress, "publishing") as bar:
            for link, batch in prefetch(batches.read()):
                publisher.publish(link, batch)
                bar.update()
        whole = True
        for link in batches.dissectors:
            publisher.end(link)
    finally:
        patience = PATIENCE_S if not whole or publisher.spool is not None else None
        finished = publisher.close(*([] if patience is None else [patience]))
    return finished


def _epoch(options: PublishOptions) -> int:
    """Return the epoch asked for; else, of files, one that the same files always have; else the time."""
    read_once = any(name == "-" or not Path(name).is_file() for name in options.files)  # a pipe has no second reading
    if options.epoch == "new" or (not options.epoch and read_once):
        return time.time_ns()
    if options.epoch:
        if not options.epoch.isdecimal() or int(options.epoch) >= 1 << 63:
            raise ConfigError(f"--epoch {options.epoch}: expected a whole number below 2^63, or `new`")
        return int(options.epoch)
    return recording_epoch(options.files, options.pace)


def recording_epoch(files: Iterable[str], pace: str) -> int:
    """Return a number that stands for a recording: its bytes, and what decides how they are cut into messages.

    So an agent that is killed can start over: what was published already is known by epoch and sequence, and dropped.
    All bytes are read for it: an edited capture is another one, wherever it was edited.
    """
    digest = hashlib.sha256(f"{SCHEMA_VERSION}|{pace}|{MESSAGE_LIMIT}".encode())
    for name in files:
        with Path(name).open("rb") as data:
            digest.update(hashlib.file_digest(data, "sha256").digest())
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def published_lines(publisher: Publisher) -> list[str]:
    """Return what became of the rows as lines of the ledger."""
    told = publisher.ledger
    left = told.rows + told.earlier_rows - told.rows_acknowledged - told.rows_shed
    damaged = publisher.spool.damaged if publisher.spool is not None else 0
    earlier = [f"  rows of earlier runs{told.earlier_rows:>12,}   found in the spool"] if told.earlier_rows else []
    return [
        f"  rows published      {told.rows:>12,}   in {told.messages:,} messages of {told.bytes:,} bytes",
        *earlier,
        f"    acknowledged      {told.rows_acknowledged:>12,}",
        f"    shed              {told.rows_shed:>12,}",
        f"    not acknowledged  {left:>12,}",
        f"  messages spooled    {told.spooled:>12,}",
        *([f"  spool, damaged      {damaged:>12,}   place(s) passed over, files kept aside"] if damaged else []),
    ]
