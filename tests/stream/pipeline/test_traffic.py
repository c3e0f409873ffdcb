"""What a policy is told of a bin's traffic: flows with their direction, and each direction by itself."""

from __future__ import annotations

from ipaddress import ip_address

import numpy as np
import pytest

from offramp.decision.site import Link
from offramp.stream.bins.bins import Bins
from offramp.stream.bins.packets import IPV4_MAPPED
from offramp.stream.bins.state import LinkConfig
from offramp.stream.datasets.synthetic import NETWORK, bulk_transfers, merged, on_off, periodic_device
from offramp.stream.pipeline.traffic import flow_rate, traffic_of

LINK = Link(name="a", capacity=4e6, capacity_down=8e6, devices=(NETWORK,))  # type: ignore[arg-type]  # pydantic takes text


def test_directions_are_apart_and_make_up_the_whole() -> None:
    rng = np.random.default_rng(3)
    config = LinkConfig(4e6, 8e6, 60_000, (NETWORK,))
    flows = [
        flow for device in range(3) for flow in (*periodic_device(rng, 8, device), *on_off(rng, 8, 10 + device, 6e6))
    ]
    packets = merged(flows + bulk_transfers(rng, 8, 20, config))
    seen = 0
    for rows in Bins(config).update(packets):
        for row in np.flatnonzero(rows.series == 0):
            traffic = traffic_of(rows, int(row), LINK)
            up, down = traffic.directions
            assert (up.capacity_bps, down.capacity_bps) == (4e6, 8e6)
            assert up.load_bps + down.load_bps == pytest.approx(traffic.load_bps, rel=1e-3, abs=1)
            assert max(up.queue_ms, down.queue_ms) == pytest.approx(float(rows.queue_ms[row, 0]), rel=1e-3, abs=1e-3)
            for flow in traffic.flows:
                assert flow.down == (not flow.src.startswith("10.0.0."))
            seen += bool(up.queue_ms and down.queue_ms)
    assert seen > 10, "both directions had a queue at once"


def test_a_flow_goes_down_where_its_packets_do() -> None:
    """Into the networks from outside of them; what passes by, and all without networks, goes up (as in bins)."""
    inside, outside = (IPV4_MAPPED | int(ip_address(text)) for text in ("10.0.0.9", "192.0.2.1"))
    keys = {(0, a, 0, b, 17, 5 << 16 | 6) for a in (inside, outside) for b in (inside, outside)}
    downs = {key for key in keys if flow_rate(np.array(key, np.int64), 1.0, LINK.devices).down}
    assert downs == {(0, outside, 0, inside, 17, 5 << 16 | 6)}
    assert not any(flow_rate(np.array(key, np.int64), 1.0).down for key in keys)
