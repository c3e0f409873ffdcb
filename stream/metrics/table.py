"""The metrics: one table of them all; what is registered, what docs/metrics.md says and what tests ask for follows."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Protocol


class MetricKind(StrEnum):
    """The kinds of Prometheus' metrics that there are here."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """One metric: its full name, kind, labels, the commands that have it, its meaning; buckets of a histogram."""

    name: str
    kind: MetricKind
    labels: tuple[str, ...]
    commands: tuple[str, ...]
    about: str
    buckets: tuple[float, ...] = ()


class Observe(Protocol):
    """What takes a value of a histogram of the table."""

    def __call__(self, name: str, value: float, *labels: str) -> None:
        """Take note of a value of the metric with that name."""
        ...


def unobserved(name: str, value: float, *labels: str) -> None:
    """Do nothing: nobody asked for metrics."""


DELAYS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds from 1 ms to 10 s."""

SHORT = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
ROWS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 8192.0, 16384.0, 65536.0)

PUBLISH, TAP, WORKER = "publish", "tap", "worker"
CAPTURING, STREAMING = (PUBLISH, TAP), (TAP, WORKER)
C, G, H = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM

CAPTURE = (
    Metric("offramp_capture_packets_total", C, ("link",), CAPTURING, "packets captured: decoded + undecodable + shed"),
    Metric("offramp_capture_decoded_packets_total", C, ("link",), CAPTURING, "packets that became rows of features"),
    Metric("offramp_capture_undecodable_packets_total", C, ("link", "reason"), CAPTURING,
           "packets that became rows without features"),
    Metric("offramp_capture_shed_packets_total", C, ("link", "reason"), CAPTURING,
           "packets shed under overload: `flow_sampling`, `queue_full`"),
    Metric("offramp_capture_kernel_dropped_packets_total", C, ("link",), CAPTURING,
           "packets that the kernel dropped before we had them"),
    Metric("offramp_capture_noted_packets_total", C, ("link", "reason"), CAPTURING,
           "decoded packets with something in them that was not understood, or cut (`payload_shed`)"),
    Metric("offramp_capture_unfollowed_packets_total", C, ("link", "kind"), CAPTURING,
           "packets with a header that is not followed: `ether_type_0x88e5`; 16 kinds by name, `other_kinds`"),
    Metric("offramp_capture_unlinked_packets_total", C, ("interface",), CAPTURING,
           "packets of an interface that no link of the site names; not in the other counts"),
    Metric("offramp_capture_read_bytes_total", C, (), (PUBLISH,), "bytes of capture files read"),
    Metric("offramp_capture_queue_fill_ratio", G, ("link",), CAPTURING,
           "how full the queue before the dissection is, 0 to 1; a live link's only"),
    Metric("offramp_capture_sampling_factor", G, ("link",), CAPTURING,
           "one of so many flows is kept; a live link's only"),
    Metric("offramp_capture_written_packets_total", C, ("link",), CAPTURING, "packets written to files by `--write`"),
    Metric("offramp_capture_unwritten_packets_total", C, ("link", "reason"), CAPTURING,
           "packets that `--write` could not write: `disk_too_slow`, `write_failed`"),
)  # fmt: skip

PUBLISHER = (
    Metric("offramp_publish_messages_total", C, (), (PUBLISH,), "messages made of this life's packets"),
    Metric("offramp_publish_rows_total", C, (), (PUBLISH,), "rows in them"),
    Metric("offramp_publish_bytes_total", C, (), (PUBLISH,), "bytes in them, without headers"),
    Metric("offramp_publish_acknowledged_messages_total", C, (), (PUBLISH,),
           "messages that the broker has, those of earlier lives in the spool too"),
    Metric("offramp_publish_acknowledged_rows_total", C, (), (PUBLISH,), "rows in them"),
    Metric("offramp_publish_shed_messages_total", C, (), (PUBLISH,),
           "messages given up because the broker was away or too slow"),
    Metric("offramp_publish_shed_rows_total", C, (), (PUBLISH,), "rows in them"),
    Metric("offramp_publish_spooled_messages_total", C, (), (PUBLISH,), "messages that went to the spool on their way"),
    Metric("offramp_publish_earlier_rows_total", C, (), (PUBLISH,), "rows that an earlier life had left in the spool"),
    Metric("offramp_publish_ended_links_total", C, (), (PUBLISH,), "links that were said to end"),
    Metric("offramp_publish_queue_bytes", G, (), (PUBLISH,), "bytes that wait to be handed to the Kafka client"),
    Metric("offramp_publish_queue_fill_ratio", G, (), (PUBLISH,), "the same as a share of the bound, 0 to 1"),
    Metric("offramp_publish_under_way_bytes", G, (), (PUBLISH,), "bytes handed over and not acknowledged"),
    Metric("offramp_publish_spool_bytes", G, (), (PUBLISH,), "bytes in the spool"),
    Metric("offramp_publish_spool_limit_bytes", G, (), (PUBLISH,), "bytes it may hold; 0 without `--spool`"),
    Metric("offramp_publish_spool_damaged_places_total", C, (), (PUBLISH,),
           "places of the spool that held no message and were passed over; the file is kept aside"),
    Metric("offramp_publish_message_rows", H, (), (PUBLISH,), "rows of an acknowledged message", ROWS),
    Metric("offramp_publish_packet_to_topic_seconds", H, (), (PUBLISH,),
           "from the capture of a message's last packet to the broker's acknowledgement", DELAYS),
)  # fmt: skip

CONSUMER = (
    Metric("offramp_worker_messages_total", C, (), (WORKER,), "messages taken from the feature topic"),
    Metric("offramp_worker_other_site_messages_total", C, (), (WORKER,), "of these: another site's, left to its group"),
    Metric("offramp_worker_marks_total", C, (), (WORKER,),
           "of these: marks (a capacity, a path, a node, a link away)"),
    Metric("offramp_worker_refused_messages_total", C, ("reason",), (WORKER,), "of these: gone to the dead letters"),
    Metric("offramp_worker_message_rows", H, (), (WORKER,), "rows of a message that was taken", ROWS),
    Metric("offramp_worker_message_seconds", H, (), (WORKER,),
           "from a message's turn to the acknowledgement of all that it caused", DELAYS),
    Metric("offramp_worker_batches_total", C, (), (WORKER,), "batches worked on together, of one or more partitions"),
    Metric("offramp_worker_batch_portions_total", C, (), (WORKER,), "portions in them, each of one partition"),
    Metric("offramp_packet_to_decision_seconds", H, (), STREAMING,
           "from the capture of the last packet of the message (tap: batch) that caused a command to that command's "
           "acknowledgement (tap: its line)", DELAYS),
    Metric("offramp_worker_sent_messages_total", C, ("topic",), (WORKER,),
           "messages acknowledged by the broker: `decisions`, `forecasts`, `state` (checkpoints), `dead-letters`"),
    Metric("offramp_worker_sent_bytes_total", C, ("topic",), (WORKER,), "bytes in them, without headers"),
    Metric("offramp_worker_unsendable_messages_total", C, ("topic",), (WORKER,),
           "messages given up, as no broker would ever take them: too large for its topic, above all"),
    Metric("offramp_worker_checkpoints_total", C, (), (WORKER,), "checkpoints of a partition written and committed"),
    Metric("offramp_worker_checkpoint_seconds", H, (), (WORKER,), "how long one took", DELAYS),
    Metric("offramp_worker_links_restored_total", C, (), (WORKER,), "links taken over from a checkpoint"),
    Metric("offramp_worker_states_refused_total", C, (), (WORKER,),
           "checkpoints that could not be read, or hold what no worker writes; the link goes on without"),
    Metric("offramp_worker_rewinds_total", C, (), (WORKER,), "times that a partition was read again from its place"),
    Metric("offramp_worker_rebalances_total", C, (), (WORKER,), "times that the group shared its partitions out"),
    Metric("offramp_worker_partitions", G, (), (WORKER,), "partitions that are this worker's"),
    Metric("offramp_worker_added_partitions", G, (), (WORKER,),
           "partitions added to the feature topic under its workers: nobody works on their links"),
    Metric("offramp_worker_lag_messages", G, ("partition",), (WORKER,),
           "messages of a partition of ours that are not done with, as the broker told at most 2 s ago"),
    Metric("offramp_worker_waiting_seconds", G, ("partition",), (WORKER,),
           "for how long there has been a lag and no message came; `--stall` ends the worker"),
    Metric("offramp_worker_queue_fill_ratio", G, ("partition",), (WORKER,), "how full its queue is, 0 to 1"),
    Metric("offramp_link_messages_total", C, ("link",), (WORKER,), "messages consumed, each once"),
    Metric("offramp_link_rows_total", C, ("link",), (WORKER,), "rows in them"),
    Metric("offramp_link_duplicate_messages_total", C, ("link",), (WORKER,), "messages dropped as repeats of an agent"),
    Metric("offramp_link_duplicate_rows_total", C, ("link",), (WORKER,), "rows in them"),
    Metric("offramp_link_shed_messages_total", C, ("link",), (WORKER,), "live messages shed as too old (`--max-age`)"),
    Metric("offramp_link_shed_rows_total", C, ("link",), (WORKER,), "rows in them"),
    Metric("offramp_link_gap_messages_total", C, ("link",), (WORKER,), "messages that an agent's sequence left out"),
    Metric("offramp_link_ends_total", C, ("link",), (WORKER,), "times that an agent said that the link ends"),
    Metric("offramp_link_begun_anew_total", C, ("link",), (WORKER,),
           "times that the link's windows were begun anew: at its end, or for another recording"),
)  # fmt: skip

STREAM = (
    Metric("offramp_stream_rows_total", C, ("link",), STREAMING,
           "rows that came to the bins, those that were not counted included"),
    Metric("offramp_stream_late_rows_total", C, ("link",), STREAMING, "rows that came after their bin was closed"),
    Metric("offramp_stream_ahead_rows_total", C, ("link",), STREAMING,
           "rows so far ahead in time that a second was to bear them out, and none did"),
    Metric("offramp_stream_untimed_rows_total", C, ("link",), STREAMING,
           "rows without a time, or with one before 1970 or after 2116"),
    Metric("offramp_stream_time_steps_total", C, ("link",), STREAMING,
           "times that the packets' time went back and stayed, so that the link began anew"),
    Metric("offramp_stream_untracked_rows_total", C, ("link",), STREAMING,
           "rows of devices for which there was no place; they count for their link"),
    Metric("offramp_stream_evicted_devices_total", C, ("link",), STREAMING, "devices that gave way to busier ones"),
    Metric("offramp_stream_bins_total", C, ("link",), STREAMING, "bins of the link closed, 10 ms each"),
    Metric("offramp_stream_forecasts_total", C, ("link",), STREAMING, "forecasts, of the link and of its devices"),
    Metric("offramp_stream_series_total", C, ("link",), STREAMING, "series begun: of the link and of its devices"),
    Metric("offramp_stream_behind_bins_total", C, ("link",), STREAMING,
           "bins that came when the other links of the bundle had been decided beyond them; they cause no command"),
    Metric("offramp_stream_holes_total", C, ("link",), STREAMING,
           "times of which nothing is known, as packets were shed or went missing in a row; windows begin anew"),
    Metric("offramp_stream_commands_total", C, ("link", "action"), STREAMING, "commands decided"),
    Metric("offramp_tap_marks_total", C, (), (TAP,), "marks of `--marks` that were acted on"),
    Metric("offramp_tap_refused_marks_total", C, (), (TAP,), "lines of that file that are no mark"),
    Metric("offramp_stream_newest_packet_timestamp_seconds", G, ("link",), STREAMING,
           "capture time of the newest packet, since 1970"),
)  # fmt: skip

MODEL = (
    Metric("offramp_model_seconds", H, (), STREAMING, "time of one call of the model", SHORT),
    Metric("offramp_model_rows", H, (), STREAMING, "forecasts of one call of the model", ROWS),
)

COMMON = (
    Metric("offramp_info", G, ("command", "version", "site"), (PUBLISH, TAP, WORKER), "1; the labels say what runs"),
    Metric("offramp_kafka_connected", G, (), (PUBLISH, WORKER), "1 while Kafka answers, 0 while it is told to be away"),
    Metric("offramp_kafka_silent_seconds", G, (), (PUBLISH, WORKER), "since Kafka last answered; it is asked each 2 s"),
)  # fmt: skip

TABLE: tuple[Metric, ...] = (*COMMON, *CAPTURE, *PUBLISHER, *CONSUMER, *STREAM, *MODEL)


def markdown() -> str:
    """Return the table of docs/metrics.md."""
    lines = ["| metric | kind | labels | of | tells |", "|---|---|---|---|---|"]
    for each in TABLE:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        commands = ", ".join(each.commands)
        lines.append(f"| `{each.name}` | {each.kind} | {labels} | {commands} | {each.about} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
