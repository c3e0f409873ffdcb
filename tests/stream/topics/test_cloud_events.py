"""Forecasts as messages."""

from __future__ import annotations

import json

import numpy as np

from offramp.kafka import MAX_BODY, MAX_NAME
from offramp.stream.pipeline.timeline import LinkTimeline
from offramp.stream.topics.cloud_events import FORECAST_BINS, forecast_messages


def test_forecasts_of_several_timelines_are_one_message_of_all_bins() -> None:
    parts = []
    for start, count in ((1, 2), (3, 1)):
        ends = np.arange(start, start + count) * 10_000_000
        one, three = np.full(count, 0.5, np.float32), np.full((count, 3), 0.25, np.float32)
        parts.append(LinkTimeline("uplink", ends, one, one, one, three, three))
    [(key, value, headers)] = forecast_messages(parts, "lab", 500)
    body = json.loads(value)
    assert (key, dict(headers)["ce_type"]) == (b"uplink", b"offramp.forecast.v1")
    assert [each["window_end"] for each in body["bins"]] == [10_000_000, 20_000_000, 30_000_000]
    assert body["bins"][0]["delay_ms"] == [0.25] * 3
    assert forecast_messages([], "lab", 500) == []
    assert forecast_messages([parts[0].bins(0, 0)], "lab", 500) == []


def test_forecasts_are_cut_to_what_a_broker_takes_whatever_they_say() -> None:
    """A recording of few packets closes ten thousands of bins with one feature message."""
    parts, at = [], 0
    link, site = "\x01" * MAX_NAME, '"' * MAX_NAME
    for count in (5, FORECAST_BINS - 5, FORECAST_BINS + 1, 0, 3 * FORECAST_BINS, 1):
        ends = (2**62 + np.arange(at, at + count)).astype(np.int64)
        one, three = np.full(count, 8.7654e14, np.float32), np.full((count, 3), 8.7654e14, np.float32)
        parts.append(LinkTimeline(link, ends, one, one, one, three, three))
        at += count
    told = forecast_messages(parts, site, 500)
    assert max(len(value) for _, value, _ in told) <= MAX_BODY
    bodies = [json.loads(value) for _, value, _ in told]
    assert [len(body["bins"]) for body in bodies] == [FORECAST_BINS] * 5 + [2]
    told_ends = [each["window_end"] for body in bodies for each in body["bins"]]
    assert told_ends == list(range(2**62, 2**62 + at))
    ids = [dict(headers)["ce_id"] for _, _, headers in told]
    assert len(set(ids)) == len(ids)
    assert told == forecast_messages(parts, site, 500)


def test_the_text_is_that_of_json_to_the_byte() -> None:
    rng = np.random.default_rng(5)
    n = 400
    ends = 1_700_000_000_000_000_000 + np.arange(n) * 10_000_000
    wide = (10.0 ** rng.uniform(-6, 7, (n, 9))).astype(np.float32)
    wide[::7] = np.round(wide[::7])
    wide[::11] = (np.arange(9) * 2 + 1) / np.float32(2**5)  # ends in ...5: a half, rounded to even
    wide[::13] = 0
    line = LinkTimeline("uplink", ends, wide[:, 0], wide[:, 1], wide[:, 2], wide[:, 3:6], wide[:, 6:])
    [told] = forecast_messages([line], "lab", 500)
    rounded = [[round(float(each), 4) for each in row] for row in wide]
    bins = [
        {
            "window_end": int(end),
            "load": row[:2],
            "delay_now_ms": row[2],
            "probabilities": row[3:6],
            "delay_ms": row[6:],
        }
        for end, row in zip(ends, rounded, strict=True)
    ]
    body = {"link": "uplink", "site": "lab", "horizon_ms": 500, "bins": bins}
    assert told[1] == json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
