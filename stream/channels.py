"""The channels: what the model sees of one bin, link and device alike. One table; bins, model and docs follow it."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from offramp.inference.forecast import BIN_MS, BIN_NS

WINDOW_BINS = 64
"""A window is this many bins; a longer silence ends a series, and the next packet begins a fresh one."""

FRAME_BINS = 32
"""Length of the STFT's frame in bins."""


class Counter(IntEnum):
    """What is counted of one bin of one series while it is open; what has directions is counted up, then down."""

    PACKETS_UP = 0
    PACKETS_DOWN = 1
    BYTES_UP = 2
    BYTES_DOWN = 3
    SYN = 4
    FIN_RST = 5
    PURE_ACK = 6
    UDP = 7
    ICMP = 8
    ARP = 9
    DNS_QUERY = 10
    DNS_RETRANSMISSION = 11
    HTTP = 12
    MQTT = 13
    MODBUS = 14
    NEW_FLOW = 15
    RTT_SUM_MS = 16
    RTT_COUNT = 17
    MAX_GAP_NS = 18


FIRST_MARK = int(Counter.SYN)
MARKS = int(Counter.NEW_FLOW) - FIRST_MARK + 1
"""A packet's marks are bits: bit i adds to counter FIRST_MARK + i."""


def mark(counter: Counter) -> int:
    """Return the bit of a packet that adds to a counter."""
    return 1 << (int(counter) - FIRST_MARK)


class Channel(NamedTuple):
    """One channel: its name, whether it is the link's queue (shared by its devices), and what it is."""

    name: str
    shared: bool
    about: str


TABLE: tuple[Channel, ...] = (
    Channel("load_up", False, "log1p of bits up over what the capacity carries in a bin"),
    Channel("load_down", False, "log1p of bits down over what the capacity carries in a bin"),
    Channel("load_slow", False, "running mean of the greater load over 32 bins"),
    Channel("packets_up", False, "log1p of packets up"),
    Channel("packets_down", False, "log1p of packets down"),
    Channel("size_up", False, "mean packet size up over 1,500 bytes"),
    Channel("size_down", False, "mean packet size down over 1,500 bytes"),
    Channel("gap", False, "longest silence before a packet of the bin, in bins, at most 4"),
    Channel("syn", False, "log1p of TCP connection attempts"),
    Channel("fin_rst", False, "log1p of TCP FIN and RST"),
    Channel("pure_ack", False, "log1p of TCP acknowledgements without data"),
    Channel("udp", False, "log1p of UDP datagrams"),
    Channel("icmp", False, "log1p of ICMP packets"),
    Channel("arp", False, "log1p of ARP packets"),
    Channel("dns_query", False, "log1p of DNS messages with a question"),
    Channel("dns_retransmission", False, "log1p of repeated DNS messages"),
    Channel("http", False, "log1p of HTTP requests and responses"),
    Channel("mqtt", False, "log1p of packets with an MQTT message"),
    Channel("modbus", False, "log1p of packets with a Modbus/TCP message"),
    Channel("new_flow", False, "log1p of new TCP and UDP conversations"),
    Channel("rtt", False, "log1p of the mean passive round-trip time in ms; missing where none was seen"),
    Channel("backlog_up", True, "log1p of the virtual queue's delay up, ms, at the bin's end"),
    Channel("backlog_down", True, "log1p of the virtual queue's delay down, ms, at the bin's end"),
    Channel("delay_peak", True, "log1p of the largest virtual delay of the bin, ms, both directions"),
    Channel("overflow", True, "log1p of packets that found the virtual buffer full"),
    Channel("ceiling", True, "log1p of the delay of a full virtual buffer, ms; missing where there is no limit"),
)

CHANNELS: tuple[str, ...] = tuple(channel.name for channel in TABLE)
"""Channel names in the order of the model's input."""

PLACE: dict[str, int] = {name: place for place, name in enumerate(CHANNELS)}
"""Index of each channel; kernels take their indices from here."""

MARK_PLACES: tuple[int, ...] = tuple(PLACE[Counter(FIRST_MARK + i).name.lower()] for i in range(MARKS))
"""Index of the channel of each mark, which has the name of its counter."""

FIRST_SHARED = [channel.shared for channel in TABLE].index(True)
"""The shared channels stand together at the end."""

SPECTRUM_CHANNELS: tuple[str, ...] = ("load_up", "load_down", "delay_peak")
"""The series whose newest STFT frame the model sees."""

SPECTRUM_SIZE = len(SPECTRUM_CHANNELS) * (FRAME_BINS // 2 + 1)
"""K: magnitudes of all frequencies of each chosen series, one series after the other."""

__all__ = [
    "BIN_MS", "BIN_NS", "CHANNELS", "FIRST_MARK", "FIRST_SHARED", "FRAME_BINS", "MARKS", "MARK_PLACES", "PLACE",
    "SPECTRUM_CHANNELS", "SPECTRUM_SIZE", "TABLE", "WINDOW_BINS", "Channel", "Counter", "mark",
]  # fmt: skip
