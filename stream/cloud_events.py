"""Commands and forecasts as Kafka messages: CloudEvents 1.0 in binary mode, attributes as headers `ce_...`."""

from __future__ import annotations

import json

from decision.command import Command, rfc3339
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
    bins = [
        {
            "window_end": int(time),
            "load": [round(float(up), 4), round(float(down), 4)],
            "delay_now_ms": round(float(now), 4),
            "probabilities": [round(float(each), 4) for each in probabilities],
            "delay_ms": [round(float(each), 4) for each in delays],
        }
        for timeline in timelines
        for time, up, down, now, probabilities, delays in zip(
            *timeline[1:7], strict=True
        )  # all but its name and its commands
    ]
    if not bins:
        return None
    link = timelines[0].link
    body = {"link": link, "site": site, "horizon_ms": horizon_ms, "bins": bins}
    headers = _headers(
        {
            "id": f"{site}/{link}/{bins[0]['window_end']}-{bins[-1]['window_end']}",
            "type": "offramp.forecast.v1",
            "source": f"/offramp/{site}",
            "subject": f"link:{link}",
            "time": rfc3339(int(timelines[-1].time_ns[-1])),
        }
    )
    return link.encode(), json.dumps(body, sort_keys=True, separators=(",", ":")).encode(), headers
