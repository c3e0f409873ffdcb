"""Traffic made up for scenarios alone, of which nothing learns: steady streams, floods, roll-outs of firmware, XR."""

from __future__ import annotations

import numpy as np

from offramp.stream.bins.packets import TCP, UDP
from offramp.stream.channels import Counter
from offramp.stream.datasets.synthetic import MTU, Flow, Rng, mark, paced, packets_in, rounded

FLOOD_SOURCES, FLOOD_BYTES = 256, 60
"""Ports that a flood comes from, and its packets: attempts to connect, of the least size that Ethernet has."""
IMAGE_BYTES, WAVE_S = 1_000_000, 0.4
"""Of a roll-out: a small device's firmware, and the time from one device's download to the next one's."""
UDP_HEADERS = 42
"""Bytes of Ethernet, IPv4 and UDP."""
XR_HZ, XR_PORT, XR_PACKET, XR_GAP_S, XR_SHAPE = 90, 5100, 1_400, 6e-6, 25
"""Of xr_frames, made-up but for the rate: frames a second, port, bytes of a packet, seconds between two of a frame (as
in the recorded traffic of a fully offloaded headset), shape of the gamma distribution of a frame's size."""


def steady(rng: Rng, seconds: float, device: int, rate_bps: float, number: int) -> list[Flow]:
    """Return a stream of one rate from begin to end."""
    size = int(rng.integers(400, 1_401))
    times = paced(0.0, seconds, packets_in(seconds, rate_bps, size), rng)
    return [Flow(times, np.full(len(times), float(size)), False, device, UDP, 7000 + number, mark(Counter.UDP))]


def flood(rng: Rng, seconds: float, device: int, rate_bps: float, _: int) -> list[Flow]:
    """Return attempts to connect to one device, from many ports in turn: no flow of them is worth a move."""
    start, length = rng.uniform(0, seconds / 2), rng.uniform(seconds / 6, seconds / 2)
    times = paced(start, start + length, packets_in(length, rate_bps, FLOOD_BYTES), rng)
    marks = mark(Counter.SYN, Counter.NEW_FLOW)
    parts = [times[first::FLOOD_SOURCES] for first in range(min(FLOOD_SOURCES, len(times)))]
    return [Flow(part, np.full(len(part), float(FLOOD_BYTES)), True, device, TCP, 80, marks) for part in parts]


def rollout(rng: Rng, seconds: float, device: int, rate_bps: float, number: int) -> list[Flow]:
    """Return a device's download of new firmware, with its acknowledgements; devices follow each other."""
    start = seconds / 6 + number * WAVE_S + rng.uniform(0, WAVE_S)
    times = paced(start, start + IMAGE_BYTES * 8 / rate_bps, IMAGE_BYTES // MTU, rng)
    acks = times[::2] + 0.001
    return [
        Flow(times, np.full(len(times), float(MTU)), True, device, TCP, 8443, 0),
        Flow(acks, np.full(len(acks), 66.0), False, device, TCP, 8443, mark(Counter.PURE_ACK)),
    ]


def xr_frames(rng: Rng, seconds: float, device: int, rate_bps: float, _: int) -> list[Flow]:
    """Return pictures at 90 Hz for a node to find the user's body there: bursts of packets, sizes vary by a fifth."""
    begin = np.arange(rng.uniform(0, 1 / XR_HZ), seconds, 1 / XR_HZ)
    sizes = rate_bps / 8 / XR_HZ * rounded(rng.gamma(XR_SHAPE, 1 / XR_SHAPE, len(begin)))
    count = np.maximum(np.ceil(sizes / XR_PACKET), 1).astype(np.int64)
    inside = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    times = np.repeat(begin, count) + inside * XR_GAP_S
    each = np.repeat(np.maximum(sizes / count, 64.0).astype(np.int64) + UDP_HEADERS, count)
    return [Flow(times, each.astype(np.float64), False, device, UDP, XR_PORT, mark(Counter.UDP))]
