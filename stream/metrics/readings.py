"""Read metrics from the ledgers: which count of which ledger each counter and gauge of the table is.

Called from the server's thread while others count: each number is taken once, and mappings are copied first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import TYPE_CHECKING

from offramp.stream.metrics.registry import Reading
from offramp.stream.metrics.table import Observe

if TYPE_CHECKING:
    from offramp.capture.ledger import CaptureLedger
    from offramp.capture.publish.outgoing import Outgoing
    from offramp.capture.publish.publisher import Publisher
    from offramp.reach import Reach
    from offramp.stream.app import Worker
    from offramp.stream.local.link_batches import LinkBatches
    from offramp.stream.local.live_batches import LiveBatches
    from offramp.stream.pipeline.ledger import StreamLedger
    from offramp.stream.pipeline.pipeline import Pipeline
    from offramp.stream.worker.watchdog import Watchdog

Readings = Iterator[Reading]
Names = Mapping[str, str]
"""Metrics by the attribute of the ledger that they show."""

PACKETS = {
    "captured": "offramp_capture_packets_total",
    "decoded": "offramp_capture_decoded_packets_total",
    "kernel_drops": "offramp_capture_kernel_dropped_packets_total",
}
PACKETS_BY_REASON = {
    "undecodable": "offramp_capture_undecodable_packets_total",
    "shed": "offramp_capture_shed_packets_total",
    "notes": "offramp_capture_noted_packets_total",
    "unfollowed": "offramp_capture_unfollowed_packets_total",
}
PUBLISHED = {
    "messages": "offramp_publish_messages_total",
    "rows": "offramp_publish_rows_total",
    "bytes": "offramp_publish_bytes_total",
    "acknowledged": "offramp_publish_acknowledged_messages_total",
    "rows_acknowledged": "offramp_publish_acknowledged_rows_total",
    "shed": "offramp_publish_shed_messages_total",
    "rows_shed": "offramp_publish_shed_rows_total",
    "spooled": "offramp_publish_spooled_messages_total",
    "earlier_rows": "offramp_publish_earlier_rows_total",
    "links_ended": "offramp_publish_ended_links_total",
}
BACKLOG = {
    "queued": "offramp_publish_queue_bytes",
    "fill": "offramp_publish_queue_fill_ratio",
    "under_way": "offramp_publish_under_way_bytes",
    "spooled": "offramp_publish_spool_bytes",
}
TAKEN = {
    "messages": "offramp_worker_messages_total",
    "other_site": "offramp_worker_other_site_messages_total",
    "marks": "offramp_worker_marks_total",
    "checkpoints": "offramp_worker_checkpoints_total",
    "links_restored": "offramp_worker_links_restored_total",
    "states_refused": "offramp_worker_states_refused_total",
    "rewinds": "offramp_worker_rewinds_total",
    "rebalances": "offramp_worker_rebalances_total",
}
BATCHED = {"batches": "offramp_worker_batches_total", "portions": "offramp_worker_batch_portions_total"}
CONSUMED = {
    "messages": "offramp_link_messages_total",
    "rows": "offramp_link_rows_total",
    "duplicates": "offramp_link_duplicate_messages_total",
    "duplicate_rows": "offramp_link_duplicate_rows_total",
    "shed": "offramp_link_shed_messages_total",
    "shed_rows": "offramp_link_shed_rows_total",
    "gaps": "offramp_link_gap_messages_total",
    "ends": "offramp_link_ends_total",
    "restarts": "offramp_link_begun_anew_total",
}
STREAMED = {
    "rows": "offramp_stream_rows_total",
    "late": "offramp_stream_late_rows_total",
    "ahead": "offramp_stream_ahead_rows_total",
    "untimed": "offramp_stream_untimed_rows_total",
    "time_steps": "offramp_stream_time_steps_total",
    "untracked": "offramp_stream_untracked_rows_total",
    "devices_evicted": "offramp_stream_evicted_devices_total",
    "bins": "offramp_stream_bins_total",
    "forecasts": "offramp_stream_forecasts_total",
    "series_begun": "offramp_stream_series_total",
    "behind": "offramp_stream_behind_bins_total",
    "holes": "offramp_stream_holes_total",
}


def info(command: str, site: str) -> Callable[[], Readings]:
    """Return what says which command of which version runs."""
    try:
        version = metadata.version("offramp")
    except metadata.PackageNotFoundError:
        version = "unknown"
    return lambda: iter([("offramp_info", 1.0, (command, version, site))])


def file_readings(batches: LinkBatches) -> Readings:
    """Yield what became of the packets of files, by link."""
    yield "offramp_capture_read_bytes_total", batches.source.progress.done, ()
    yield from _labelled(batches.choice.unlinked, "offramp_capture_unlinked_packets_total")
    for link, dissector in dict(batches.dissectors).items():
        yield from _packets(dissector.ledger, link)


def live_readings(batches: LiveBatches) -> Readings:
    """Yield what became of the packets of a live source's links, on their way to the dissection and in files too."""
    yield from _labelled(batches.links.choice.unlinked, "offramp_capture_unlinked_packets_total")
    for link in tuple(batches.links.dissectors):
        yield from _packets(batches.ledger_of(link), link)
        yield "offramp_capture_queue_fill_ratio", batches.intake.fill, (link,)
        yield "offramp_capture_sampling_factor", batches.intake.shedding.factor, (link,)
        if batches.recorder is not None:
            yield "offramp_capture_written_packets_total", batches.recorder.files.packets, (link,)
            yield from _labelled(batches.recorder.unwritten, "offramp_capture_unwritten_packets_total", link)


def publish_readings(publisher: Publisher) -> Readings:
    """Yield what became of the messages of an agent."""
    yield from _counts(publisher.ledger, PUBLISHED)
    yield from _counts(publisher.backlog, BACKLOG)
    spool = publisher.spool
    yield "offramp_publish_spool_limit_bytes", spool.limit if spool is not None else 0, ()
    yield "offramp_publish_spool_damaged_places_total", spool.damaged if spool is not None else 0, ()


def reach_readings(reach: Reach) -> Readings:
    """Yield whether Kafka answers."""
    yield "offramp_kafka_connected", int(reach.connected), ()
    yield "offramp_kafka_silent_seconds", reach.silent_s, ()


def acknowledgements(observe: Observe) -> Callable[[Outgoing], None]:
    """Return the function that records each acknowledged message of a publisher."""

    def note(message: Outgoing) -> None:
        headers = message.headers
        observe("offramp_publish_message_rows", headers.rows)
        if headers.rows:
            observe("offramp_publish_packet_to_topic_seconds", time.time() - headers.last_time_ns / 1e9)

    return note


def pipeline_readings(pipeline: Pipeline) -> Readings:
    """Yield what a pipeline did, where it is the only one of its link."""
    link = pipeline.link.name
    yield from _streamed(pipeline.ledger, link)
    yield from _newest(pipeline.newest_ns, link)


def worker_readings(worker: Worker, watchdog: Watchdog) -> Readings:
    """Yield what a worker did, and how far behind its partitions are."""
    yield from _counts(worker.ledger, TAKEN)
    yield from _counts(worker.batches.ledger, BATCHED)
    yield from _labelled(worker.ledger.refused, "offramp_worker_refused_messages_total")
    yield from _labelled(worker.ledger.unsendable, "offramp_worker_unsendable_messages_total")
    yield from _labelled(worker.meter.sent_messages, "offramp_worker_sent_messages_total")
    yield from _labelled(worker.meter.sent_bytes, "offramp_worker_sent_bytes_total")
    yield "offramp_worker_partitions", len(worker.assigned or ()), ()
    yield "offramp_worker_added_partitions", watchdog.topics.added, ()
    yield from reach_readings(worker.reach)
    for partition, wait in dict(watchdog.waits).items():
        yield "offramp_worker_lag_messages", wait.lag, (str(partition),)
        yield "offramp_worker_waiting_seconds", wait.seconds, (str(partition),)
    for partition, processor in dict(worker.processors).items():
        yield "offramp_worker_queue_fill_ratio", processor.fill, (str(partition),)
    for link, work in dict(worker.meter.links).items():
        for name, metric in CONSUMED.items():
            yield metric, work.intake[name], (link,)
        yield from _streamed(work.stream, link)
        yield from _newest(work.packet_ns, link)


def _packets(ledger: CaptureLedger, link: str) -> Readings:
    yield from _counts(ledger, PACKETS, link)
    for name, metric in PACKETS_BY_REASON.items():
        yield from _labelled(getattr(ledger, name), metric, link)


def _streamed(ledger: StreamLedger, link: str) -> Readings:
    yield from _counts(ledger, STREAMED, link)
    yield from _labelled(ledger.commands, "offramp_stream_commands_total", link)


def _newest(time_ns: int, link: str) -> Readings:
    if time_ns > 0:
        yield "offramp_stream_newest_packet_timestamp_seconds", time_ns / 1e9, (link,)


def _counts(ledger: object, names: Names, *labels: str) -> Readings:
    for name, metric in names.items():
        yield metric, getattr(ledger, name), labels


def _labelled(counts: Mapping[str, int], metric: str, *labels: str) -> Readings:
    for label, count in dict(counts).items():
        yield metric, count, (*labels, label)
