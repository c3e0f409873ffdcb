"""A feature batch as the arrays that the bin kernel takes: one pass of conversions, no object per packet."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from offramp_errors import ContractError
from stream.channels import FIRST_MARK, Counter

IPV4_MAPPED = 0xFFFF << 32
"""IPv4 addresses stand as IPv4-mapped IPv6 addresses: the high half 0, the low half ::ffff:a.b.c.d."""

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58


class Packets(NamedTuple):
    """Many packets, one row each, in the order they came.

    time_ns: int64; size: int64 bytes on the wire; address: int64 [n, 4] (source high, low, destination high, low; all 0
    without IP); protocol, ports (source << 16 | destination): int64; marks: int64 bits by `stream.channels.Counter`;
    rtt_ms: float64, NaN where none.
    """

    time_ns: NDArray[np.int64]
    size: NDArray[np.int64]
    address: NDArray[np.int64]
    protocol: NDArray[np.int64]
    ports: NDArray[np.int64]
    marks: NDArray[np.int64]
    rtt_ms: NDArray[np.float64]


def part_of(packets: Packets, start: int, end: int) -> Packets:
    """Return rows `start` to `end` of packets, without copying."""
    return Packets(**{name: getattr(packets, name)[start:end] for name in Packets._fields})


def packets_from_batch(batch: pa.RecordBatch) -> Packets:
    """Convert a feature batch of either profile. Raises ContractError where a needed column is missing."""
    columns = Columns(batch)
    protocol = columns.numbers("ip.proto")
    tcp, udp = columns.present("tcp.flags"), columns.present("udp.srcport")
    ports = columns.numbers("tcp.srcport") << 16 | columns.numbers("tcp.dstport")
    ports += columns.numbers("udp.srcport") << 16 | columns.numbers("udp.dstport")
    rtt = np.where(columns.present("offramp.rtt"), columns.numbers("offramp.rtt") / 1e6, np.nan)
    return Packets(
        columns.numbers("frame.time_epoch"),
        columns.numbers("frame.len"),
        addresses(columns),
        protocol,
        ports,
        marks_of(columns, protocol, tcp, udp),
        rtt,
    )


class Columns:
    """Access to a batch's columns by name as NumPy arrays."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        self.names = {name: index for index, name in enumerate(batch.schema.names)}

    def column(self, name: str) -> pa.Array:
        """Return a column, or say that the batch lacks it."""
        if name not in self.names:
            raise ContractError(
                f"feature batch: column {name!r} is missing (it has {len(self.names)} columns); "
                "send batches of the profile 'stream' or 'full'"
            )
        return self.batch.column(self.names[name])

    def numbers(self, name: str) -> NDArray[np.int64]:
        """Return a whole-number column as int64, 0 where absent."""
        column = self.column(name)
        if column.null_count == len(column):
            return np.zeros(len(column), np.int64)
        if column.null_count:
            column = pc.fill_null(column, 0)
        out: NDArray[np.int64] = column.to_numpy(zero_copy_only=False).astype(np.int64)
        return out

    def present(self, name: str) -> NDArray[np.bool_]:
        """Return where the column has a value."""
        column = self.column(name)
        if column.null_count == len(column):
            return np.zeros(len(column), np.bool_)
        if column.null_count == 0:
            return np.ones(len(column), np.bool_)
        out: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
        return out

    def wide(self, name: str) -> NDArray[np.int64] | None:
        """Return a column of 16-byte addresses as int64 [n, 2] (high, low), 0 where absent; None if all are."""
        column = self.column(name)
        if column.null_count == len(column):
            return None
        raw = pc.fill_null(column, b"\0" * 16) if column.null_count else column
        data = np.frombuffer(raw.buffers()[1], np.uint8, len(raw) * 16, raw.offset * 16)
        return data.view(">i8").astype(np.int64).reshape(-1, 2)


def addresses(columns: Columns) -> NDArray[np.int64]:
    """Return int64 [n, 4]: source and destination of IPv4 (mapped) or IPv6, 0 for packets without IP."""
    out = np.zeros((columns.batch.num_rows, 4), np.int64)
    for at, four, six in ((0, "ip.src_host", "ipv6.src"), (2, "ip.dst_host", "ipv6.dst")):
        out[:, at + 1] = np.where(columns.present(four), columns.numbers(four) | IPV4_MAPPED, 0)
        wide = columns.wide(six)
        if wide is not None:
            rows = columns.present(six) & ~columns.present(four)
            out[rows, at : at + 2] = wide[rows]
    return out


def marks_of(
    columns: Columns, protocol: NDArray[np.int64], tcp: NDArray[np.bool_], udp: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the marks of each packet: which protocol counters it adds to."""
    flags = columns.numbers("tcp.flags")
    question = columns.present("dns.qry.type")
    repeated = (columns.numbers("dns.retransmission") != 0) | columns.present("dns.retransmit_request")
    first_datagram = udp & (columns.numbers("udp.time_delta") == 0)
    syn = tcp & (flags & 0x12 == 0x02)
    told = (
        (Counter.SYN, syn),
        (Counter.FIN_RST, tcp & (flags & 0x05 != 0)),
        (Counter.PURE_ACK, tcp & (flags & 0x17 == 0x10) & (columns.numbers("tcp.len") == 0)),
        (Counter.UDP, udp),
        (Counter.ICMP, (protocol == ICMP) | (protocol == ICMPV6)),
        (Counter.ARP, columns.present("arp.opcode")),
        (Counter.DNS_QUERY, question),
        (Counter.DNS_RETRANSMISSION, repeated),
        (Counter.HTTP, columns.present("http.request.method") | columns.present("http.response")),
        (Counter.MQTT, columns.present("mqtt.msgtype")),
        (Counter.MODBUS, columns.present("mbtcp.len")),
        (Counter.NEW_FLOW, syn | first_datagram),
    )
    out = np.zeros(len(protocol), np.int64)
    for counter, rows in told:
        out |= rows.astype(np.int64) << (int(counter) - FIRST_MARK)
    return out
