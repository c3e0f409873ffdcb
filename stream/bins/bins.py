"""Bins: count packets into 10 ms slices of event time, per link and per device, in one compiled pass.

Series 0 is the link; the others are its devices. A bin closes when the newest packet's time has passed its end by the
allowed lateness; event_time decides which times are believed. Closed bins are returned as arrays, in order of bins, the
link's row first in each. They depend on the packets alone, never on how these were cut into batches; only a live link's
clock, `advance`, closes bins without a packet.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import count as count_from

import numpy as np
from numpy.typing import NDArray

from offramp.capture.block import END_OF_TIME_NS
from offramp.decision.address import MAPPED
from offramp.kernels import kernel_entry, kernel_inline, kernel_lean
from offramp.stream.bins.closing import close_until
from offramp.stream.bins.event_time import (
    NOTHING,
    PACKET,
    SAMPLING_UNIT,
    bears_out,
    begin,
    give_up,
    hold_clock,
    hold_packet,
    is_back,
    is_far_ahead,
    is_time,
    stays_back,
)
from offramp.stream.bins.heavy_hitters import (
    KEY,
    PORTS,
    PROTOCOL,
    SOURCE,
    TARGET,
    HeavyHitters,
    add,
    new_heavy_hitters,
    scale_at,
)
from offramp.stream.bins.packets import IPV4_MAPPED, Packets, no_packets
from offramp.stream.bins.state import (
    AHEAD,
    BACK_ROWS,
    BEGUN,
    DOWN,
    EVICTED,
    LATE,
    LIMIT_NS,
    NEVER,
    NEWEST,
    NEXT,
    NS_PER_BYTE,
    OPEN,
    REACHED,
    ROWS,
    SERIES,
    STEPS,
    UNTIMED,
    UNTRACKED,
    UP,
    WAITS,
    WAITS_NS,
    WAITS_SAMPLING,
    BinOut,
    BinState,
    ClosedBins,
    LinkConfig,
    forget_bins,
    new_bin_out,
    new_bin_state,
    resize,
)
from offramp.stream.bins.virtual_queue import drained
from offramp.stream.channels import BIN_NS, FIRST_MARK, Counter

PACKETS, BYTES = int(Counter.PACKETS_UP), int(Counter.BYTES_UP)
RTT_SUM, RTT_COUNT, GAP = int(Counter.RTT_SUM_MS), int(Counter.RTT_COUNT), int(Counter.MAX_GAP_NS)


@kernel_lean
def inside(address_high: int, address_low: int, networks: NDArray[np.int64]) -> bool:
    """Return whether an address lies in one of the networks (int64 [n, 4]: network high, low, mask high, low)."""
    for i in range(len(networks)):
        if (address_high & networks[i, 2]) == networks[i, 0] and (address_low & networks[i, 3]) == networks[i, 1]:
            return True
    return False


@kernel_lean
def device_series(state: BinState, high: int, low: int, bin_number: int) -> int:
    """Return the series of a device; a new one takes the place of the idlest; -1 where no place is free."""
    mixed = np.uint64(high) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(low) * np.uint64(0xC2B2AE3D27D4EB4F)
    hint = np.int64(mixed >> np.uint64(56))
    series = state.hint[hint]
    if series > 0 and state.key[series, 0] == high and state.key[series, 1] == low:
        return int(series)
    idlest, since = 0, np.int64(2**62)
    for s in range(1, SERIES):
        if state.key[s, 0] == high and state.key[s, 1] == low:
            state.hint[hint] = s
            return s
        if state.last[s] < since:
            idlest, since = s, state.last[s]
    if since >= state.clock[NEXT]:
        return -1
    if state.key[idlest, 1] != 0 or state.key[idlest, 0] != 0:
        state.clock[EVICTED] += 1
    state.key[idlest, 0], state.key[idlest, 1] = high, low
    state.alive[idlest] = 0
    state.rate[idlest] = 0.0
    state.slow[idlest] = 0.0
    state.last_ns[idlest] = 0
    state.hint[hint] = idlest
    return idlest


@kernel_lean
def count(
    state: BinState, series: int, row: int, packets: Packets, bin_number: int, down: int, sampling: float
) -> None:
    """Add a packet, which stands for `sampling` packets, to its bin of one series."""
    if state.alive[series] == 0:
        state.alive[series] = 2  # its next closed bin begins a fresh series
        state.first[series] = bin_number
        state.last[series] = bin_number
        state.slow[series] = 0.0
    elif bin_number < state.first[series] and state.alive[series] == 2:
        state.first[series] = bin_number
    if bin_number > state.last[series]:
        state.last[series] = bin_number
    counters = state.counters[bin_number % OPEN, series]
    counters[PACKETS + down] += sampling
    counters[BYTES + down] += packets.size[row] * sampling
    marks = packets.marks[row]
    at = FIRST_MARK
    while marks and at < RTT_SUM:
        if marks & 1:
            counters[at] += sampling
        marks >>= 1
        at += 1
    if not np.isnan(packets.rtt_ms[row]):
        counters[RTT_SUM] += packets.rtt_ms[row]
        counters[RTT_COUNT] += 1.0
    now = packets.time_ns[row]
    if state.last_ns[series] > 0 and now - state.last_ns[series] > counters[GAP]:
        counters[GAP] = now - state.last_ns[series]
    if now > state.last_ns[series]:
        state.last_ns[series] = now


@kernel_lean
def enqueue(state: BinState, now_ns: int, size: float, down: int) -> None:
    """Let a packet pass its direction's virtual queue; a late one counts as arriving with its predecessor."""
    now = max(now_ns, state.queue_ns[down])
    wait = drained(state.wait[down], now - state.queue_ns[down])
    place = (now // BIN_NS) % OPEN
    service = size * state.shape[NS_PER_BYTE + down]
    if wait > state.peak[place, down]:
        state.peak[place, down] = wait
    if wait + service > state.shape[LIMIT_NS + down] and wait > 0.0:
        state.overflow[place] += 1.0
    else:
        wait += service
    state.wait[down] = wait
    state.queue_ns[down] = now
    state.bin_wait[place, down] = wait
    state.bin_queue_ns[place, down] = now


@kernel_inline
def put(
    state: BinState, hitters: HeavyHitters, networks: NDArray[np.int64], packets: Packets, row: int, sampling: float,
    key: NDArray[np.int64],
) -> None:  # fmt: skip
    """Count a packet whose bin is open: for its link, its device and its flow."""
    now = packets.time_ns[row]
    bin_number = now // BIN_NS
    a = packets.address[row]
    down, at = UP, SOURCE
    outside = len(networks) > 0 and not inside(a[SOURCE], a[SOURCE + 1], networks)
    if outside and inside(a[TARGET], a[TARGET + 1], networks):
        down, at = DOWN, TARGET
    enqueue(state, now, packets.size[row] * sampling, down)
    count(state, 0, row, packets, bin_number, down, sampling)
    if a[SOURCE + 1] == 0 and a[SOURCE] == 0:
        return
    if len(networks) == 0 or inside(a[at], a[at + 1], networks):
        series = device_series(state, a[at], a[at + 1], bin_number)
        if series > 0:
            count(state, series, row, packets, bin_number, down, sampling)
        else:
            state.clock[UNTRACKED] += 1
    for i in range(PROTOCOL):
        key[i] = a[i]
    key[PROTOCOL], key[PORTS] = packets.protocol[row], packets.ports[row]
    add(hitters, key, packets.size[row] * scale_at(hitters, bin_number))


@kernel_inline
def reach(state: BinState, hitters: HeavyHitters, lateness_ns: int, now_ns: int, out: BinOut) -> bool:
    """Close the bins that are over at `now_ns`; return whether that is done, else `out` must be emptied first."""
    until = (now_ns - lateness_ns) // BIN_NS
    if until > state.clock[NEXT] and not close_until(state, hitters, until, out):
        return False
    state.clock[REACHED] = max(state.clock[REACHED], now_ns)
    return True


@kernel_lean
def let_go(
    state: BinState, hitters: HeavyHitters, networks: NDArray[np.int64], lateness_ns: int, held: Packets, out: BinOut,
    key: NDArray[np.int64],
) -> bool:  # fmt: skip
    """Process what is held, now that it is confirmed; return whether that is done, else `out` must be emptied first."""
    clock = state.clock
    if not reach(state, hitters, lateness_ns, clock[WAITS_NS], out):
        return False
    if clock[WAITS] == PACKET:
        clock[NEWEST] = clock[WAITS_NS]
        put(state, hitters, networks, held, 0, clock[WAITS_SAMPLING] / SAMPLING_UNIT, key)
    clock[WAITS] = NOTHING
    return True


@kernel_entry
def accumulate(
    state: BinState, hitters: HeavyHitters, networks: NDArray[np.int64], lateness_ns: int, packets: Packets, start: int,
    sampling: float, held: Packets, out: BinOut, key: NDArray[np.int64],
) -> tuple[int, bool]:  # fmt: skip
    """Count packets from row `start`; return the row to go on at, and whether the link is to begin anew there.

    It stops where `out` is full, and where its bin `stop` is reached. Each packet stands for `sampling` packets in the
    counters and the queue; a flow that is kept has its own rate. held: one row, the packet held until it is confirmed;
    key: int64 [KEY], scratch for a flow.
    """
    clock = state.clock
    for row in range(start, len(packets.time_ns)):
        now = packets.time_ns[row]
        if not is_time(now):
            clock[ROWS] += 1
            clock[UNTIMED] += 1
            continue
        if clock[BEGUN] == 0:
            begin(state, now, lateness_ns)
            if clock[NEXT] >= out.stop[0]:
                return row, False
        if is_far_ahead(clock, now):
            if bears_out(clock, now) and not let_go(state, hitters, networks, lateness_ns, held, out, key):
                return row, False
            if is_far_ahead(clock, now):
                hold_packet(clock, held, packets, row, sampling)
                continue
        elif clock[WAITS] != NOTHING:
            give_up(clock)
        if now > clock[NEWEST]:
            if not reach(state, hitters, lateness_ns, now, out):
                return row, False
            clock[NEWEST] = now
        if now // BIN_NS < clock[NEXT]:
            if not is_back(clock, now):
                clock[BACK_ROWS] = 0
            elif stays_back(clock, now):
                return row, True
            clock[ROWS] += 1
            clock[LATE] += 1
            continue
        clock[BACK_ROWS] = 0
        clock[ROWS] += 1
        put(state, hitters, networks, packets, row, sampling, key)
    return len(packets.time_ns), False


@kernel_entry
def tell(
    state: BinState, hitters: HeavyHitters, networks: NDArray[np.int64], lateness_ns: int, now: int, held: Packets,
    out: BinOut, key: NDArray[np.int64],
) -> tuple[bool, bool]:  # fmt: skip
    """Let a live link's clock close the bins that are over; return whether that is done, and whether to begin anew."""
    clock = state.clock
    if is_far_ahead(clock, now):
        if bears_out(clock, now) and not let_go(state, hitters, networks, lateness_ns, held, out, key):
            return False, False
        if is_far_ahead(clock, now):
            hold_clock(clock, now)
            return True, False
    elif clock[WAITS] != NOTHING:
        give_up(clock)
    if is_back(clock, now):
        return True, stays_back(clock, now)
    clock[BACK_ROWS] = 0  # packets of another time are strays as long as the clock contradicts them
    return reach(state, hitters, lateness_ns, now, out), False


class Bins:
    """The open bins of one link and its devices."""

    def __init__(self, config: LinkConfig, lateness_ms: float = 1) -> None:
        """Build empty bins. Raises ValueError where the lateness needs more than the open bins there is room for."""
        if not 0 <= lateness_ms * 1_000_000 <= (OPEN - 2) * BIN_NS:
            raise ValueError(f"lateness {lateness_ms:g} ms: give 0 to {(OPEN - 2) * BIN_NS // 1_000_000} ms")
        self.lateness_ns, self._config = int(lateness_ms * 1_000_000), config
        self.networks = network_table(config.networks)
        self.state, self.hitters = new_bin_state(config)
        self.held = no_packets(1)
        self.key = np.empty(KEY, np.int64)
        self._resizes: list[tuple[int, int, float, float]] = []
        self._count = count_from(0)

    @property
    def newest_ns(self) -> int:
        """The newest packet's time, 0 before the first."""
        return int(self.state.clock[NEWEST])

    @property
    def reached_ns(self) -> int:
        """The newest time of packet or clock, 0 before the first packet."""
        return int(self.state.clock[REACHED])

    @property
    def steps(self) -> int:
        """How often the link began anew because its time went back."""
        return int(self.state.clock[STEPS])

    @property
    def next_bin(self) -> int:
        """The first bin that is not closed, 0 before the first packet."""
        return int(self.state.clock[NEXT])

    def update(self, packets: Packets, sampling: float = 1.0) -> Iterator[ClosedBins]:
        """Count packets, each for `sampling`, and yield the bins they close, at most OUT_ROWS rows at a time.

        Each yield is overwritten by the next, and by other bins of this thread: copy what you keep.
        """
        row, sampling = 0, float(sampling)  # a whole number would be another kernel
        while row < len(packets.time_ns):
            out = self._room()
            row, anew = accumulate(
                self.state, self.hitters, self.networks, self.lateness_ns, packets, row, sampling, self.held, out,
                self.key,
            )  # fmt: skip
            yield from self._drained(out)
            if anew:
                yield from self._begin_anew()

    def advance(self, now_ns: int) -> Iterator[ClosedBins]:
        """Yield the bins that are over by the clock of a live link, as a packet at `now_ns` would close them."""
        done = not (self.state.clock[BEGUN] and 0 <= now_ns < END_OF_TIME_NS)
        while not done:
            out = self._room()
            done, anew = tell(
                self.state, self.hitters, self.networks, self.lateness_ns, now_ns, self.held, out, self.key
            )
            yield from self._drained(out)
            if anew:
                yield from self._begin_anew()

    def close(self) -> Iterator[ClosedBins]:
        """Close all open bins at the end of the input. A packet that is held counts as far ahead."""
        clock = self.state.clock
        if clock[WAITS] == PACKET:
            clock[AHEAD] += 1
        clock[WAITS] = NOTHING
        done = not clock[BEGUN]
        while not done:
            out = self._room()
            done = close_until(self.state, self.hitters, int(clock[NEWEST]) // BIN_NS + 1, out)
            yield from self._drained(out)

    def set_capacity(self, up_bps: float, down_bps: float) -> None:
        """Let the link have another capacity from the next packet on, bit/s; what waits is sent at the new one."""
        resize(self.state, self._config, up_bps, down_bps)

    def expect_capacity(self, number: int, up_bps: float, down_bps: float) -> None:
        """Let the link have another capacity, bit/s, once all bins before `number` are closed: it is that bin's."""
        heappush(self._resizes, (number, next(self._count), up_bps, down_bps))

    def _room(self) -> BinOut:
        """Return this thread's room, in which closing stops where the capacity changes next."""
        out = room()
        out.stop[0] = self._resizes[0][0] if self._resizes else NEVER
        return out

    def _drained(self, out: BinOut) -> Iterator[ClosedBins]:
        """Yield what was closed; then let the capacity change where its bin is reached."""
        yield from _drain(out)
        while self._resizes and self.state.clock[BEGUN] and self.state.clock[NEXT] >= self._resizes[0][0]:
            self.set_capacity(*heappop(self._resizes)[2:])

    def forget(self) -> None:
        """Empty the bins, as what comes next does not follow on; time goes on."""
        forget_bins(self.state, goes_on=True)

    def _begin_anew(self) -> Iterator[ClosedBins]:
        """Close the open bins and reset bins, flows and time, as the packets to come are of another time."""
        yield from self.close()
        forget_bins(self.state, goes_on=False)
        empty = new_heavy_hitters()._asdict()
        for name, ours in self.hitters._asdict().items():
            ours[...] = empty[name]
        self.state.clock[STEPS] += 1


_ROOM = threading.local()


def room() -> BinOut:
    """Return this thread's room for closed bins: 4 MB, so a worker of many links does not have it once per link."""
    out: BinOut | None = getattr(_ROOM, "out", None)
    if out is None:
        out = _ROOM.out = new_bin_out()
    return out


def _drain(out: BinOut) -> Iterator[ClosedBins]:
    used = int(out.used[0])
    out.used[0] = 0
    if used:
        yield ClosedBins._make(array[:used] for array in out.bins)


def network_table(networks: tuple[str, ...]) -> NDArray[np.int64]:
    """Return networks as int64 [n, 4]: network high, low, mask high, low, IPv4 as IPv4-mapped IPv6."""
    rows = []
    for net in (part for text in networks for part in _without_mapped(ip_network(text, strict=False))):
        number, mask = int(net.network_address), int(net.netmask)
        if net.version == 4:
            number, mask = number | IPV4_MAPPED, mask | (2**128 - 2**32)
        rows.append([number >> 64, number & (2**64 - 1), mask >> 64, mask & (2**64 - 1)])
    return np.array(rows, np.uint64).reshape(-1, 4).view(np.int64)


def _without_mapped(net: IPv4Network | IPv6Network) -> Iterable[IPv4Network | IPv6Network]:
    """Return an IPv6 network, such as ::/0, without the IPv4-mapped addresses, which do not belong to it."""
    return net.address_exclude(MAPPED) if net.version == 6 and net.supernet_of(MAPPED) and net != MAPPED else (net,)
