"""Synthetic links: seeded arrivals of quiet devices, bursts, bulk transfers, ramps and overloads over one capacity.

Not a simulator of networks: it makes what a tap in front of a bottleneck sees, in the kinds and proportions that
decide whether a queue builds up. Bulk transfers are closed-loop: they halve when the virtual buffer overflows.

The same seed gives the same bytes on any processor: the last bit of an exponential or a logarithm, which libraries
compute in several ways, is rounded off where it is drawn (`rounded`), and all that follows is exact arithmetic.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from offramp.stream import channels
from offramp.stream.bins.packets import IPV4_MAPPED, TCP, UDP, Packets
from offramp.stream.bins.state import LinkConfig
from offramp.stream.channels import Counter

Rng = np.random.Generator
Draw = TypeVar("Draw", float, NDArray[np.float64])
NETWORK = "10.0.0.0/24"
START_NS = 1_700_000_000_000_000_000
MTU = 1_500
STEP = 0.02  # seconds of a round of the closed loop
GRID = 2.0**20
"""Steps of a unit that draws are rounded to: a microsecond, a millionth of a gap; a last bit decides few in 2^30."""


class Flow(NamedTuple):
    """Packets of one flow: times in seconds, sizes in bytes, direction, device number, protocol, port, marks."""

    time: NDArray[np.float64]
    size: NDArray[np.float64]
    down: bool
    device: int
    protocol: int
    port: int
    marks: int


def mark(*counters: Counter) -> int:
    """Return marks as bits."""
    return sum(map(channels.mark, counters))


def rounded(draw: Draw) -> Draw:
    """Return what was drawn, of a distribution with an exponential or a logarithm in it, on the grid."""
    on_grid: Draw = np.round(draw * GRID) / GRID
    return on_grid


def packets_in(seconds: float, rate_bps: float, size: int) -> int:
    """Return how many packets of a size come in a time at a rate; at least one."""
    return max(1, int(seconds * rate_bps / 8 / size))


def paced(start: float, end: float, count: int, rng: Rng) -> NDArray[np.float64]:
    """Return the times of so many packets, a little irregular."""
    gaps = rounded(rng.gamma(4.0, 0.25, count))
    return start + np.cumsum(gaps) * (end - start) / count


def periodic_device(rng: Rng, seconds: float, device: int) -> list[Flow]:
    """Return a sensor: a small message every period, each with its answer."""
    period = rng.choice([0.1, 0.5, 1.0, 2.0, 5.0])
    times = np.arange(rng.uniform(0, period), seconds, period)
    times = times + rounded(rng.normal(0, 0.002, len(times)))
    kind, port = [(Counter.MQTT, 1883), (Counter.MODBUS, 502), (Counter.HTTP, 80)][rng.integers(3)]
    size = np.full(len(times), float(rng.integers(66, 300)))
    answer = times + rng.uniform(0.002, 0.03)
    return [
        Flow(times, size, False, device, TCP, port, mark(kind)),
        Flow(answer, np.full(len(times), 66.0), True, device, TCP, port, mark(Counter.PURE_ACK)),
    ]


def name_lookups(rng: Rng, seconds: float, device: int) -> list[Flow]:
    """Return DNS questions now and then."""
    times = np.sort(rng.uniform(0, seconds, rng.poisson(seconds / 2) + 1))
    size = np.full(len(times), 80.0)
    marks = mark(Counter.DNS_QUERY, Counter.UDP)
    return [
        Flow(times, size, False, device, UDP, 53, marks),
        Flow(times + 0.01, size * 2, True, device, UDP, 53, marks),
    ]


def web_bursts(rng: Rng, seconds: float, device: int, capacity_bps: float) -> list[Flow]:
    """Return pages: trains of packets faster than the link, at random."""
    flows: list[Flow] = []
    per_second = min(rng.uniform(0.01, 0.3) * capacity_bps / 400_000, 10.0)  # a train is 400 kbit in the mean
    for start in rng.uniform(0, seconds, rng.poisson(seconds * per_second)):
        count = int(np.clip(rounded(rng.lognormal(3.0, 1.0)), 2, 400))
        length = count * MTU * 8 / (capacity_bps * rng.uniform(0.5, 3.0))
        times = paced(start, start + length, count, rng)
        down = bool(rng.random() < 0.7)
        flows.append(Flow(times, np.full(len(times), float(MTU)), down, device, TCP, 80, 0))
        ask = np.array([start - 0.01, start - 0.005])
        flows.append(Flow(ask, np.array([74.0, 400.0]), not down, device, TCP, 80, mark(Counter.NEW_FLOW, Counter.SYN)))
    return flows


def on_off(rng: Rng, seconds: float, device: int, capacity_bps: float) -> list[Flow]:
    """Return a stream that talks and pauses, both exponentially long."""
    now, flows, size = 0.0, [], int(rng.integers(200, 1_400))
    down, share = bool(rng.random() < 0.4), rng.uniform(0.05, 0.8)
    while now < seconds:
        now += rounded(rng.exponential(2.0))
        end = min(now + rounded(rng.exponential(1.5)) + 0.1, seconds)
        if now < end:
            times = paced(now, end, packets_in(end - now, share * capacity_bps, size), rng)
            flows.append(Flow(times, np.full(len(times), float(size)), down, device, UDP, 5004, mark(Counter.UDP)))
        now = end
    return flows


def ramp(rng: Rng, seconds: float, device: int, capacity_bps: float) -> list[Flow]:
    """Return load that climbs over seconds, stays, and falls: congestion that can be seen coming."""
    start, rise = rng.uniform(0, seconds * 0.7), rng.uniform(1.0, 6.0)
    stay, top = rng.uniform(0.2, 3.0), rng.uniform(0.7, 1.4)
    grid = np.arange(0, 2 * rise + stay, STEP)
    level = np.clip(np.minimum(grid / rise, (2 * rise + stay - grid) / rise), 0, 1) * top * capacity_bps
    size = int(rng.integers(300, 1_501))
    times = start + arrivals(grid, level / 8 / size * STEP, rng)
    down = bool(rng.random() < 0.5)
    return [Flow(times, np.full(len(times), float(size)), down, device, UDP, 9000, mark(Counter.UDP))]


def overload(rng: Rng, seconds: float, device: int, capacity_bps: float) -> list[Flow]:
    """Return a blast beyond the capacity: small datagrams or connection attempts."""
    start, length = rng.uniform(0, seconds * 0.8), rng.uniform(0.3, 3.0)
    size = int(rng.choice([60, 120, 800, 1_400]))
    rate = min(rng.uniform(1.05, 2.0) * capacity_bps, 40_000 * size * 8)
    times = paced(start, start + length, packets_in(length, rate, size), rng)
    flood = bool(rng.random() < 0.5)
    marks = mark(Counter.SYN, Counter.NEW_FLOW) if flood else mark(Counter.UDP)
    sizes = np.full(len(times), float(size))
    return [Flow(times, sizes, bool(rng.random() < 0.5), device, TCP if flood else UDP, 7, marks)]


def arrivals(grid: NDArray[np.float64], per_step: NDArray[np.float64], rng: Rng) -> NDArray[np.float64]:
    """Return times within the grid's steps, `per_step` (fractional) packets in each."""
    total = np.cumsum(per_step)
    at = np.arange(0.5, total[-1]) if len(total) and total[-1] > 0.5 else np.empty(0)
    return np.interp(at, total, grid + STEP) + rng.uniform(0, 0.001, len(at))


def bulk_transfers(rng: Rng, seconds: float, device: int, config: LinkConfig) -> list[Flow]:
    """Return transfers that fill the link: the window grows until the buffer overflows, then halves."""
    flows, now = [], rng.uniform(0, seconds / 3)
    while now < seconds - 1:
        down = bool(rng.random() < 0.6)
        length = rng.uniform(1.0, 8.0)
        grid, rounds = closed_loop(rng, min(length, seconds - now), config)
        times = now + arrivals(grid, rounds, rng)
        data = np.full(len(times), float(MTU))
        flows.append(Flow(times, data, down, device, TCP, 443, 0))
        acks = times[::2] + 0.001
        flows.append(Flow(acks, np.full(len(acks), 66.0), not down, device, TCP, 443, mark(Counter.PURE_ACK)))
        now += length + rounded(rng.exponential(5.0))
    return flows


def closed_loop(rng: Rng, length: float, config: LinkConfig) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the steps of one transfer and the packets sent in each: a fluid model of a loss-driven sender."""
    packets_per_second = config.capacity_up_bps / 8 / MTU
    limit = (config.buffer_bytes or config.capacity_up_bps / 8 * 0.3) / MTU
    base, window, threshold, queue = rng.uniform(0.01, 0.08), 10.0, float("inf"), 0.0
    grid = np.arange(0, length, STEP)
    sent = np.empty(len(grid))
    for i in range(len(grid)):
        trip = base + queue / packets_per_second
        sent[i] = window / trip * STEP
        queue = max(0.0, queue + sent[i] - packets_per_second * STEP)
        if queue > limit:
            queue, threshold = limit, window / 2
            window = threshold
        elif window < threshold:
            window *= rounded(np.exp2(STEP / trip))
        else:
            window += STEP / trip
    return grid, sent


def synthetic_packets(rng: Rng, seconds: float) -> tuple[Packets, LinkConfig]:
    """Return one synthetic link: its packets in order of time and its shape."""
    capacity = float(round(np.exp(rng.uniform(np.log(1e6), np.log(50e6)))))  # bit/s, whole
    buffer = None if rng.random() < 0.1 else max(capacity / 8 * rng.uniform(0.03, 0.4), 10.0 * MTU)
    config = LinkConfig(capacity, capacity, buffer, (NETWORK,))
    flows: list[Flow] = []
    for device in range(int(rng.integers(1, 10))):
        flows += periodic_device(rng, seconds, device) + name_lookups(rng, seconds, device)
    device, busy = 10, rng.random() < 0.8
    for chance, make in ((0.5, web_bursts), (0.4, on_off), (0.35, ramp), (0.3, overload)):
        while busy and rng.random() < chance:
            flows += make(rng, seconds, device, capacity)
            device += 1
    if busy and rng.random() < 0.5:
        flows += bulk_transfers(rng, seconds, device, config)
    return merged(flows), config


def merged(flows: list[Flow]) -> Packets:
    """Return the packets of all flows in order of time."""
    count = [len(flow.time) for flow in flows]
    time = np.concatenate([flow.time for flow in flows])
    order = np.argsort(time, kind="stable")

    def spread(values: list[int]) -> NDArray[np.int64]:
        return np.repeat(np.array(values, np.int64), count)[order]

    inside = spread([IPV4_MAPPED | (0x0A000001 + flow.device) for flow in flows])
    outside = IPV4_MAPPED | 0xC0000201
    down = spread([int(flow.down) for flow in flows]).astype(np.bool_)
    address = np.zeros((len(time), 4), np.int64)
    address[:, 1], address[:, 3] = np.where(down, outside, inside), np.where(down, inside, outside)
    near = spread([40_000 + number for number in range(len(flows))]) & 0xFFFF
    far = spread([flow.port for flow in flows])
    return Packets(
        START_NS + (time[order] * 1e9).astype(np.int64),
        np.concatenate([flow.size for flow in flows])[order].astype(np.int64),
        address,
        spread([flow.protocol for flow in flows]),
        np.where(down, far << 16 | near, near << 16 | far),
        spread([flow.marks for flow in flows]),
        np.full(len(time), np.nan),
    )
