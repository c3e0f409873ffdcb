"""Forecasts as messages."""

from __future__ import annotations

import json

import numpy as np

from stream.cloud_events import forecast_message
from stream.timeline import LinkTimeline


def test_forecasts_of_several_timelines_are_one_message_of_all_bins() -> None:
    parts = []
    for start, count in ((1, 2), (3, 1)):
        ends = np.arange(start, start + count) * 10_000_000
        one, three = np.full(count, 0.5, np.float32), np.full((count, 3), 0.25, np.float32)
        parts.append(LinkTimeline("uplink", ends, one, one, one, three, three))
    told = forecast_message(parts, "lab", 500)
    assert told is not None
    key, value, headers = told
    body = json.loads(value)
    assert (key, dict(headers)["ce_type"]) == (b"uplink", b"offramp.forecast.v1")
    assert [each["window_end"] for each in body["bins"]] == [10_000_000, 20_000_000, 30_000_000]
    assert body["bins"][0]["delay_ms"] == [0.25] * 3
    assert forecast_message([], "lab", 500) is None


def test_the_text_is_that_of_json_to_the_byte() -> None:
    rng = np.random.default_rng(5)
    n = 400
    ends = 1_700_000_000_000_000_000 + np.arange(n) * 10_000_000
    wide = (10.0 ** rng.uniform(-6, 7, (n, 9))).astype(np.float32)
    wide[::7] = np.round(wide[::7])
    wide[::11] = (np.arange(9) * 2 + 1) / np.float32(2**5)  # ends in ...5: a half, rounded to even
    wide[::13] = 0
    line = LinkTimeline("uplink", ends, wide[:, 0], wide[:, 1], wide[:, 2], wide[:, 3:6], wide[:, 6:])
    told = forecast_message([line], "lab", 500)
    assert told is not None
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
