"""A feature batch as the arrays that the bin kernel takes: one compiled pass over the columns, no object per packet."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from offramp.capture.block import NO_TIME
from offramp.errors import ContractError
from offramp.kernels import kernel_entry, kernel_lean
from offramp.stream.channels import Counter, mark

IPV4_MAPPED = 0xFFFF << 32
"""IPv4 addresses stand as IPv4-mapped IPv6 addresses: the high half 0, the low half ::ffff:a.b.c.d."""

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58


class Packets(NamedTuple):
    """Many packets, one row each, in the order they came.

    time_ns: int64, or NO_TIME; size: int64 bytes on the wire; address: int64 [n, 4] (source high, low, destination
    high, low; all 0 without IP); protocol, ports (source << 16 | destination): int64; marks: int64 bits by
    `stream.channels.Counter`; rtt_ms: float64, NaN where none.
    """

    time_ns: NDArray[np.int64]
    size: NDArray[np.int64]
    address: NDArray[np.int64]
    protocol: NDArray[np.int64]
    ports: NDArray[np.int64]
    marks: NDArray[np.int64]
    rtt_ms: NDArray[np.float64]


NUMBERS = (
    "frame.time_epoch", "frame.len", "ip.proto", "ip.src_host", "ip.dst_host", "tcp.srcport", "tcp.dstport",
    "tcp.flags", "tcp.len", "udp.srcport", "udp.dstport", "udp.time_delta", "dns.retransmission", "offramp.rtt",
)  # fmt: skip
"""Columns whose numbers are read; 0 where absent."""

WIDE = ("ipv6.src", "ipv6.dst")
"""Columns of 16 bytes."""

PRESENT = (
    "dns.qry.type", "dns.retransmit_request", "arp.opcode", "http.request.method", "http.response", "mqtt.msgtype",
    "mbtcp.len",
)  # fmt: skip
"""Columns of which it counts only whether they are there."""

COLUMNS = (*NUMBERS, *WIDE, *PRESENT)
"""The columns that are read, in the order of their rows in `bits`."""

TIME, LEN, PROTO = (COLUMNS.index(name) for name in ("frame.time_epoch", "frame.len", "ip.proto"))
SRC, DST, SRC6, DST6 = (COLUMNS.index(name) for name in ("ip.src_host", "ip.dst_host", *WIDE))
TCP_SRC, TCP_DST, FLAGS, TCP_LEN = (
    COLUMNS.index(f"tcp.{name}") for name in ("srcport", "dstport", "flags", "len")
)  # fmt: skip
UDP_SRC, UDP_DST, UDP_DELTA = (COLUMNS.index(f"udp.{name}") for name in ("srcport", "dstport", "time_delta"))
DNS_REPEATED, RTT = COLUMNS.index("dns.retransmission"), COLUMNS.index("offramp.rtt")
QUESTION, REPEATS = COLUMNS.index("dns.qry.type"), COLUMNS.index("dns.retransmit_request")
ARP, METHOD, RESPONSE = (COLUMNS.index(name) for name in ("arp.opcode", "http.request.method", "http.response"))
MQTT, MODBUS = COLUMNS.index("mqtt.msgtype"), COLUMNS.index("mbtcp.len")

SYN, FIN_RST, PURE_ACK, NEW_FLOW = map(mark, (Counter.SYN, Counter.FIN_RST, Counter.PURE_ACK, Counter.NEW_FLOW))
UDP_MARK, ICMP_MARK, ARP_MARK = map(mark, (Counter.UDP, Counter.ICMP, Counter.ARP))
DNS_QUERY, DNS_RETRANSMISSION = mark(Counter.DNS_QUERY), mark(Counter.DNS_RETRANSMISSION)
HTTP, MQTT_MARK, MODBUS_MARK = map(mark, (Counter.HTTP, Counter.MQTT, Counter.MODBUS))


def no_packets(rows: int = 0) -> Packets:
    """Return room for packets, all 0."""
    none = np.zeros(rows, np.int64)
    return Packets(
        none.copy(), none.copy(), np.zeros((rows, 4), np.int64), none.copy(), none.copy(), none.copy(), np.zeros(rows)
    )


def part_of(packets: Packets, start: int, end: int) -> Packets:
    """Return rows `start` to `end` of packets, without copying."""
    return Packets(**{name: getattr(packets, name)[start:end] for name in Packets._fields})


def packets_from_batch(batch: pa.RecordBatch) -> Packets:
    """Convert a feature batch of either profile. Raises ContractError where a needed column is missing."""
    n = batch.num_rows
    names = {name: index for index, name in enumerate(batch.schema.names)}
    bits = np.zeros((len(COLUMNS), (n + 7) // 8), np.uint8)
    cells = []
    for row, name in enumerate(COLUMNS):
        if name not in names:
            raise ContractError(
                f"feature batch: column {name!r} is missing (it has {len(names)} columns); "
                "send batches of the profile 'stream' or 'full'"
            )
        column = batch.column(names[name])
        _note_present(column, bits[row])
        if row < len(NUMBERS) + len(WIDE):
            cells.append(_cells(column))
    out = Packets(
        np.empty(n, np.int64), np.empty(n, np.int64), np.empty((n, 4), np.int64), np.empty(n, np.int64),
        np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n),
    )  # fmt: skip
    convert(tuple(cells[: len(NUMBERS)]), cells[-2], cells[-1], bits, out)
    return out


def _note_present(column: pa.Array, bits: NDArray[np.uint8]) -> None:
    """Write where a column has values: a bit a row, the first in the lowest bit."""
    absent = column.null_count
    if absent == 0:
        bits[:] = 0xFF
    elif absent < len(column):
        found = np.frombuffer(column.buffers()[0], np.uint8)
        start, shift = divmod(column.offset, 8)
        if shift:
            whole = np.unpackbits(found[start:], bitorder="little")[shift : shift + len(column)]
            bits[:] = np.packbits(whole, bitorder="little")
        else:
            bits[:] = found[start : start + len(bits)]


def _cells(column: pa.Array) -> NDArray[Any]:
    """Return a column's numbers, or the bytes of one of 16 bytes; absent cells may hold anything.

    Read-only, so that the kernel is compiled for one kind of array, however the batch was made.
    """
    wide = pa.types.is_fixed_size_binary(column.type)
    kind, size = (np.uint8, 16) if wide else (column.type.to_pandas_dtype(), 1)
    if column.null_count == len(column):
        out = np.empty(0, kind)
    else:
        start = column.offset * size * np.dtype(kind).itemsize
        out = np.frombuffer(column.buffers()[1], kind, len(column) * size, start)
    out.flags.writeable = False
    return out


@kernel_lean
def has(bits: NDArray[np.uint8], column: int, row: int) -> bool:
    """Return whether a row has a value in a column."""
    return bool(bits[column, row >> 3] >> (row & 7) & 1)


@kernel_lean
def number(values: NDArray[Any], bits: NDArray[np.uint8], column: int, row: int) -> Any:
    """Return a row's number as int64, 0 where absent."""
    return np.int64(values[row]) if has(bits, column, row) else np.int64(0)


@kernel_lean
def half(values: NDArray[np.uint8], start: int) -> Any:
    """Return eight bytes, the most significant first, as int64."""
    out = np.uint64(0)
    for i in range(8):
        out = out << np.uint64(8) | np.uint64(values[start + i])
    return np.int64(out)


@kernel_lean
def address(
    four: NDArray[Any], six: NDArray[np.uint8], bits: NDArray[np.uint8], columns: tuple[int, int], row: int, out: Any
) -> None:
    """Write an address, int64 [2] high and low: IPv4 (mapped), else IPv6, else 0."""
    out[0], out[1] = 0, 0
    if has(bits, columns[0], row):
        out[1] = np.int64(four[row]) | IPV4_MAPPED
    elif has(bits, columns[1], row):
        out[0], out[1] = half(six, row * 16), half(six, row * 16 + 8)


@kernel_lean
def marks_of(
    bits: NDArray[np.uint8], row: int, protocol: int, flags: int, length: int, first: bool, again: bool
) -> int:
    """Return the marks of a packet: which protocol counters it adds to.

    flags, length: of TCP; first: the UDP conversation begins with it; again: tshark's dns.retransmission is set.
    """
    marks = 0
    if has(bits, FLAGS, row):
        if flags & 0x12 == 0x02:
            marks |= SYN | NEW_FLOW
        if flags & 0x05 != 0:
            marks |= FIN_RST
        if flags & 0x17 == 0x10 and length == 0:
            marks |= PURE_ACK
    if has(bits, UDP_SRC, row):
        marks |= UDP_MARK | NEW_FLOW if first else UDP_MARK
    if protocol in (ICMP, ICMPV6):
        marks |= ICMP_MARK
    marks |= ARP_MARK if has(bits, ARP, row) else 0
    marks |= DNS_QUERY if has(bits, QUESTION, row) else 0
    marks |= DNS_RETRANSMISSION if again or has(bits, REPEATS, row) else 0
    marks |= HTTP if has(bits, METHOD, row) or has(bits, RESPONSE, row) else 0
    marks |= MQTT_MARK if has(bits, MQTT, row) else 0
    return marks | (MODBUS_MARK if has(bits, MODBUS, row) else 0)


@kernel_entry
def convert(
    cells: Any, src6: NDArray[np.uint8], dst6: NDArray[np.uint8], bits: NDArray[np.uint8], out: Packets
) -> None:
    """Write the packets of a batch; cells: the arrays of NUMBERS, empty where a column has no value at all."""
    for row in range(len(out.time_ns)):
        out.time_ns[row] = np.int64(cells[TIME][row]) if has(bits, TIME, row) else NO_TIME
        out.size[row] = number(cells[LEN], bits, LEN, row)
        proto = number(cells[PROTO], bits, PROTO, row)
        out.protocol[row] = proto
        address(cells[SRC], src6, bits, (SRC, SRC6), row, out.address[row, :2])
        address(cells[DST], dst6, bits, (DST, DST6), row, out.address[row, 2:])
        ports = number(cells[TCP_SRC], bits, TCP_SRC, row) << 16 | number(cells[TCP_DST], bits, TCP_DST, row)
        ports += number(cells[UDP_SRC], bits, UDP_SRC, row) << 16 | number(cells[UDP_DST], bits, UDP_DST, row)
        out.ports[row] = ports
        out.rtt_ms[row] = number(cells[RTT], bits, RTT, row) / 1e6 if has(bits, RTT, row) else np.nan
        out.marks[row] = marks_of(
            bits, row, proto, number(cells[FLAGS], bits, FLAGS, row), number(cells[TCP_LEN], bits, TCP_LEN, row),
            number(cells[UDP_DELTA], bits, UDP_DELTA, row) == 0,
            number(cells[DNS_REPEATED], bits, DNS_REPEATED, row) != 0,
        )  # fmt: skip
