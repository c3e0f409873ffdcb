"""Small captures to write in tests: packets with times, on a link type of choice."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RAW, ETHERNET, SLL = 101, 1, 113
HEADERS = {RAW: b"", ETHERNET: bytes(12) + b"\x08\x00", SLL: struct.pack(">HHH8sH", 0, 1, 6, bytes(8), 0x0800)}


def conversation(rng: np.random.Generator, count: int, near: str = "10.0.0.5", far: str = "192.0.2.7") -> list[bytes]:
    """Return IP packets of a TCP and a UDP conversation, half of them each way, of random lengths."""
    port = int(rng.integers(1_024, 60_000))
    out = []
    for number in range(count):
        ends = [IPv4Address(near).packed, IPv4Address(far).packed]
        ports = (port, 5_004)
        if number % 2:
            ends, ports = ends[::-1], ports[::-1]
        payload = rng.bytes(int(rng.integers(1, 700)))
        if rng.random() < 0.5:
            protocol, body = 17, struct.pack(">HHHH", *ports, 8 + len(payload), 0) + payload
        else:
            protocol = 6
            body = struct.pack(">HHIIBBHHH", *ports, number * 1_000, number, 0x50, 0x10, 8_192, 0, 0) + payload
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), number, 0, 64, protocol, 0)
        out.append(head + ends[0] + ends[1] + body)
    return out


def random_times(rng: np.random.Generator, count: int, gap_s: float = 0.004) -> NDArray[np.float64]:
    """Return times in seconds with exponential gaps, from an ordinary day on."""
    gaps: NDArray[np.float64] = rng.exponential(gap_s, count)
    return 1_700_000_000.0 + np.cumsum(gaps).round(6)


def write(path: Path, packets: Sequence[bytes], times: NDArray[np.float64], linktype: int = ETHERNET) -> Path:
    """Write IP packets behind the header of a link type as pcap."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, linktype)]
    for packet, time in zip(packets, times, strict=True):
        micros = round(time * 1e6)
        data = HEADERS[linktype] + packet
        out += [struct.pack("<IIII", micros // 10**6, micros % 10**6, len(data), len(data)), data]
    path.write_bytes(b"".join(out))
    return path
