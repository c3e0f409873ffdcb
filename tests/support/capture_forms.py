"""The same packets in every form of a capture file."""

from __future__ import annotations

import struct

PACKETS = [(1_700_000_000_000_000_000 + i * 1_234_567_000, bytes([i % 256]) * (60 + i % 50), 1500) for i in range(300)]


def pcap(order: str = "<", nano: bool = False, snaplen: int = 65535) -> bytes:
    out = [struct.pack(f"{order}IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, snaplen, 1)]
    for time_ns, data, length in PACKETS:
        fraction = time_ns % 10**9 if nano else time_ns % 10**9 // 1000
        out.append(struct.pack(f"{order}IIII", time_ns // 10**9, fraction, len(data), length) + data)
    return b"".join(out)


def ng_block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(f"{order}II", kind, 12 + len(body)) + body + struct.pack(f"{order}I", 12 + len(body))


def pcapng(order: str = "<", sections: int = 1) -> bytes:
    """Packets over two interfaces: microseconds on the first, nanoseconds (if_tsresol 9) on the second."""
    out = []
    share = len(PACKETS) // sections
    for section in range(sections):
        out.append(ng_block(order, 0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1)))
        out.append(ng_block(order, 1, struct.pack(f"{order}HHI", 1, 0, 65535)))
        options = struct.pack(f"{order}HH4s", 2, 4, b"eth7") + struct.pack(f"{order}HHB3xHH", 9, 1, 9, 0, 0)
        out.append(ng_block(order, 1, struct.pack(f"{order}HHI", 1, 0, 65535) + options))
        out.append(ng_block(order, 0xBADF, b"unknown block"))
        for i, (time_ns, data, length) in enumerate(PACKETS[section * share : (section + 1) * share]):
            ticks = time_ns if i % 2 else time_ns // 1000
            head = struct.pack(f"{order}IIIII", i % 2, ticks >> 32, ticks & 0xFFFFFFFF, len(data), length)
            out.append(ng_block(order, 6, head + data))
    return b"".join(out)


FORMS = {
    "pcap": pcap(), "pcap-big": pcap(">"), "pcap-nano": pcap(nano=True), "pcap-big-nano": pcap(">", nano=True),
    "pcapng": pcapng(), "pcapng-big": pcapng(">"), "pcapng-sections": pcapng(sections=3),
}  # fmt: skip
