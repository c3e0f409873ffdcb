"""The agent of files: publish their packets as feature messages, the same messages each time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from offramp.capture.publish.publisher import MAX_RECORD, Publisher
from offramp.capture.schema import SCHEMA_VERSION
from offramp.stream.local.link_batches import LinkBatches
from offramp.stream.local.prefetch import prefetch

PATIENCE_S = 5.0
"""How long an interrupted agent waits for acknowledgements; with its end it stays below the 10 s of supervisors."""


def publish_source(batches: LinkBatches, publisher: Publisher, step: Callable[[], None] = lambda: None) -> bool:
    """Publish all batches of a source, then the end of each link; return whether all is acknowledged.

    An interrupted recording publishes no end: published again, it goes on where it was. step: called after each batch.
    """
    whole = False
    try:
        for link, item in prefetch(batches.read()):
            if isinstance(item, int):
                publisher.clock(link, item)
            else:
                publisher.publish(link, item)
            step()
        whole = True
        for link in batches.links_told:
            publisher.end(link)
    finally:
        patience = PATIENCE_S if not whole or publisher.spool is not None else None
        finished = publisher.close(*([] if patience is None else [patience]))
    return finished


def recording_epoch(files: Iterable[str], pace: str) -> int:
    """Return a number that identifies a recording: its bytes, and what decides how they are cut into messages.

    So an agent that is killed can start over: what was published already is known by epoch and sequence, and dropped.
    All bytes are read for it: an edited capture is another one, wherever it was edited.
    """
    digest = hashlib.sha256(f"{SCHEMA_VERSION}|{pace}|{MAX_RECORD}".encode())
    for name in files:
        with Path(name).open("rb") as data:
            digest.update(hashlib.file_digest(data, "sha256").digest())
    return int.from_bytes(digest.digest()[:8], "big") >> 1
