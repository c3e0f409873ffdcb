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
