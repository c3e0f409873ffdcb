"""Two links of the sample's lab that share a path, their packets, and what workers make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from offramp.capture.block import Interface, PacketBlock, joined, some_rows
from offramp.capture.message.encode import FeatureHeaders, encode_batch, times_of
from offramp.capture.message.mark import Mark, encode_mark
from offramp.capture.sources.file.files import open_captures
from offramp.capture.sources.source import ListSource
from offramp.decision.site import Site
from offramp.inference.artifact import Artifact
from offramp.inference.serving.predictor import Predictor
from offramp.stream.links.bundle_consumer import BundleConsumer
from offramp.stream.links.link_consumers import LinkConsumers
from offramp.stream.local.link_batches import LinkBatches
from offramp.stream.local.pace import select
from offramp.stream.local.replay import Replay
from offramp.stream.pipeline.pipeline import Pipeline, predictions_of
from offramp.stream.worker.checkpoint import decode_checkpoint, encode_checkpoint
from offramp.stream.worker.message_batch import MessageBatch
from tests.support.places import ROOT

LATER_NS = 700_000_000
"""How much later the second link's packets are: its congestion overlaps with the first's."""
SHARED = {"name": "wireless", "capacity": "6 Mbit/s", "delay_ms": 8}


def site_of(**more: Any) -> Site:
    link = {"capacity": "8 Mbit/s", "buffer_bytes": 150_000, "devices": ["10.13.0.0/24"], "paths": [SHARED]}
    links = [{**link, "name": name, "interface": of, **more} for name, of in (("uplink", "v1"), ("second", "v2"))]
    return Site.model_validate({"name": "lab", "links": links})


SITE = site_of()


def both(rows: int = 2_000, last: int = 12_000) -> list[PacketBlock]:
    """The packets of both links in order of time, in blocks of so many."""
    demo = joined(list(open_captures([str(ROOT / "samples" / "demo.pcap.zst")]).read()))
    count = min(last, len(demo))
    at, of = np.concatenate([np.arange(count)] * 2), np.repeat(np.arange(2, dtype=np.int32), count)
    time_ns = np.concatenate([demo.time_ns[:count], demo.time_ns[:count] + LATER_NS])
    order = np.argsort(time_ns, kind="stable")
    interfaces = tuple(Interface(name, demo.interfaces[0].linktype) for name in ("v1", "v2"))
    whole = replace(some_rows(demo, at[order]), time_ns=time_ns[order], interface=of[order], interfaces=interfaces)
    return [select(whole, slice(begin, begin + rows), begin + 1) for begin in range(0, len(whole), rows)]


def replayed(blocks: list[PacketBlock], site: Site, artifact: Artifact, predictor: Predictor, **more: Any) -> list[str]:
    return [command.to_json() for command in Replay(ListSource(blocks), site, artifact, predictor, **more).run()]


def messages_of(blocks: list[PacketBlock], site: Site) -> list[SimpleNamespace]:
    """What an agent of the recording publishes, as records of one partition."""
    out, numbers = list[SimpleNamespace](), {link.name: 0 for link in site.links}

    def put(link: str, value: bytes, **more: Any) -> None:
        headers = FeatureHeaders("lab", "tap", 1, numbers[link], link=link, **more)
        numbers[link] += 1
        key = f"lab/{site.bundle_of(link).name}".encode()
        out.append(SimpleNamespace(partition=0, offset=len(out), key=key, value=value, headers=headers.pairs()))

    for link, item in LinkBatches(ListSource(blocks), site, "tap").read():
        if isinstance(item, int):
            put(link, b"", rows=0, clock_ns=item)
            continue
        for part in (item.slice(at, 300) for at in range(0, item.num_rows, 300)):
            first, last = times_of(part)
            put(link, encode_batch(part), rows=part.num_rows, first_time_ns=first, last_time_ns=last)
    for link in numbers:
        put(link, b"", rows=0, end=True)
    return out


class Worker:
    """The consumers of a partition, and what they gave."""

    def __init__(self, site: Site, artifact: Artifact, predictor: Predictor) -> None:
        self.site = site

        def make(bundle: str, sink: Any) -> BundleConsumer:
            return BundleConsumer.of(
                site,
                bundle,
                lambda link, meeting: Pipeline(site, link, predictor, artifact.normaliser, meeting, sink=sink),
            )

        self.links = LinkConsumers(site.bundle_names, make)
        self.out: list[str] = []

    def work(self, records: Sequence[SimpleNamespace]) -> None:
        for record in records:
            batch = MessageBatch([record], self.links, "lab", horizon_ms=500, forecasts=False)
            steps = batch.to_steps()
            batch.apply(predictions_of(steps) if steps else [])
            assert [outcome.refused for outcome in batch.outcomes] == [""]
            self.out += [message.value.decode() for outcome in batch.outcomes for message in outcome.outgoing]

    def handed_over(self, artifact: Artifact, predictor: Predictor) -> Worker:
        """A worker that goes on from the checkpoints of this one, by their bytes."""
        other = Worker(self.site, artifact, predictor)
        for name, bundle in self.links.bundles.items():
            other.links.states[name] = decode_checkpoint(encode_checkpoint(bundle.state()))
        return other


def mark(offset: int, kind: str, **members: Any) -> SimpleNamespace:
    value, headers = encode_mark(Mark("lab", kind, members))
    return SimpleNamespace(partition=0, offset=offset, key=b"lab/uplink", value=value, headers=headers)
