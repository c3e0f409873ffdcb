"""Commands and forecasts as Kafka messages: CloudEvents 1.0 in binary mode, attributes as headers `ce_...`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from offramp.decision.command import Command, Headers, event_headers, rfc3339
from offramp.kafka import MAX_BODY, MAX_NAME
from offramp.stream.pipeline.timeline import LinkTimeline
from offramp.stream.topics.forecast_json import MAX_BIN_TEXT, bins_text

FORECAST_BINS = (MAX_BODY - 6 * 2 * MAX_NAME - 100) // MAX_BIN_TEXT
"""Bins of a forecast message: it is at most MAX_BODY bytes whatever they say, with names that JSON must escape."""


def command_message(command: Command, site: str) -> tuple[bytes, bytes, Headers]:
    """Return key, value and headers of a command; the same command gives the same bytes."""
    headers = event_headers(
        {
            "id": command.decision_id,
            "type": "offramp.decision.v1",
            "source": f"/offramp/{site}",
            "subject": command.scope,
            "time": rfc3339(command.not_before_ns),
        }
    )
    return command.scope.encode(), command.to_json().encode(), headers


def forecast_messages(
    timelines: Sequence[LinkTimeline], site: str, horizon_ms: int
) -> list[tuple[bytes, bytes, Headers]]:
    """Return key, value and headers of the messages with the forecasts of some bins of one link, in order.

    They are cut by bins alone, so the same bins give the same messages, with the same ids; no bins give none.
    """
    return [_forecast_message(part, site, horizon_ms) for part in _cut(timelines)]


def _cut(timelines: Sequence[LinkTimeline]) -> Iterator[list[LinkTimeline]]:
    """Yield the timelines in parts of FORECAST_BINS bins, the last of fewer."""
    part: list[LinkTimeline] = []
    room = FORECAST_BINS
    for timeline in timelines:
        start = 0
        while start < len(timeline.time_ns):
            whole = start == 0 and len(timeline.time_ns) <= room
            piece = timeline if whole else timeline.bins(start, start + room)
            part.append(piece)
            start += len(piece.time_ns)
            room -= len(piece.time_ns)
            if room == 0:
                yield part
                part, room = [], FORECAST_BINS
    if part:
        yield part


def _forecast_message(timelines: list[LinkTimeline], site: str, horizon_ms: int) -> tuple[bytes, bytes, Headers]:
    """Return key, value and headers of the forecasts of some bins, at least one."""
    link = timelines[0].link
    first, last = int(timelines[0].time_ns[0]), int(timelines[-1].time_ns[-1])
    frame = json.dumps(
        {"bins": [], "horizon_ms": horizon_ms, "link": link, "site": site}, sort_keys=True, separators=(",", ":")
    ).encode()
    head = b'{"bins":'
    body = head + bins_text(timelines) + frame[len(head) + 2 :]
    headers = event_headers(
        {
            "id": f"{site}/{link}/{first}-{last}",
            "type": "offramp.forecast.v1",
            "source": f"/offramp/{site}",
            "subject": f"link:{link}",
            "time": rfc3339(last),
        }
    )
    return link.encode(), body, headers
