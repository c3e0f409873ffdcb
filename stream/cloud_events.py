"""Commands and forecasts as Kafka messages: CloudEvents 1.0 in binary mode, attributes as headers `ce_...`."""

from __future__ import annotations

import json

from decision.command import Command, rfc3339
from stream.forecast_text import bins_text
from stream.timeline import LinkTimeline

Headers = list[tuple[str, bytes]]


def _headers(attributes: dict[str, str]) -> Headers:
    """Return the headers of an event (CloudEvents 1.0, Kafka protocol binding, binary content mode)."""
    told = {"specversion": "1.0", **attributes}
    pairs = [(f"ce_{name}", value.encode()) for name, value in told.items()]
    return [*pairs, ("content-type", b"application/json")]


def command_message(command: Command, site: str) -> tuple[bytes, bytes, Headers]:
    """Return key, value and headers of a command; the same command gives the same bytes."""
    headers = _headers(
        {
            "id": command.decision_id,
            "type": "offramp.decision.v1",
            "source": f"/offramp/{site}",
            "subject": command.scope,
            "time": rfc3339(command.not_before_ns),
        }
    )
    return command.scope.encode(), command.to_json().encode(), headers


def forecast_message(timelines: list[LinkTimeline], site: str, horizon_ms: int) -> tuple[bytes, bytes, Headers] | None:
    """Return key, value and headers of the forecasts of some bins of one link; None without bins."""
    told = [timeline for timeline in timelines if len(timeline.time_ns)]
    if not told:
        return None
    link = told[0].link
    first, last = int(told[0].time_ns[0]), int(told[-1].time_ns[-1])
    frame = json.dumps(
        {"bins": [], "horizon_ms": horizon_ms, "link": link, "site": site}, sort_keys=True, separators=(",", ":")
    ).encode()
    head = b'{"bins":'
    body = head + bins_text(told) + frame[len(head) + 2 :]
    headers = _headers(
        {
            "id": f"{site}/{link}/{first}-{last}",
            "type": "offramp.forecast.v1",
            "source": f"/offramp/{site}",
            "subject": f"link:{link}",
            "time": rfc3339(last),
        }
    )
    return link.encode(), body, headers
