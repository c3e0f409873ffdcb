"""A packet as pyshark gives it (tshark's tree as XML) to a row of feature columns with values of wire type."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from offramp.capture.features.row_batches import Row, Value, put
from offramp.capture.reference.conversations import Conversation, End, Segment, round_trip
from offramp.capture.schema import COLUMNS, Column, Kind

_DERIVED = frozenset({"frame.time", "frame.time_epoch", "ip.proto", "udp.port", "offramp.rtt"})
_PLAIN = tuple(column for column in COLUMNS if column.name not in _DERIVED)
_SPELLED = frozenset({"dns.qry.name", "http.request.full_uri", "mqtt.msg_decoded_as"})
"""Texts that tshark makes up: what it shows is the value, the packet's bytes are not."""

_HEADER_LINES = frozenset({"http.referer"})
"""Texts whose bytes, for tshark, are the whole header line."""

_CHAIN = {
    0: "ipv6.hopopts.nxt",
    43: "ipv6.routing.nxt",
    44: "ipv6.fraghdr.nxt",
    51: "ah.next_header",
    60: "ipv6.dstopts.nxt",
    135: "mip6.proto",
    139: "hip.proto",
    140: "shim6.nxt",
}
"""The field that holds what comes after an IPv6 extension header."""


class PdmlRows:
    """Turns packets into rows; it keeps what the passive round-trip time needs of each TCP conversation.

    tshark has a column for everything but `offramp.rtt`, which is ours: it is worked out of tshark's raw numbers.
    """

    def __init__(self) -> None:
        self._talks: dict[int, Conversation] = {}

    def row(self, packet: Any) -> Row:
        """Return the row of a pyshark packet."""
        row: Row = {}
        fields = _Fields([packet.frame_info, *packet.layers])
        time_ns = 0
        for shown in fields.shown("frame.time_epoch"):  # none of a simple packet block
            time_ns = _nanoseconds(shown)
            put(row, "frame.time", time_ns)
            put(row, "frame.time_epoch", time_ns)
        for column in _PLAIN:
            for field in fields.named(column.name):
                put(row, column.name, _value(column, field))
        for protocol in _protocols(fields):
            put(row, "ip.proto", protocol)
        ports = [int(port) for port in fields.shown("udp.port")]
        for source, target in zip(ports[::2], ports[1::2], strict=False):
            put(row, "udp.port", source << 16 | target)
        trip = self._round_trip(fields, time_ns)
        if trip is not None:
            put(row, "offramp.rtt", trip)
        return row

    def _round_trip(self, fields: _Fields, time_ns: int) -> int | None:
        """Return the round trip that the packet's outermost segment ends, ns."""
        sizes = fields.shown("tcp.len")
        if not sizes:
            return None
        names = ("tcp.stream", "tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.ack_raw", "tcp.flags")
        cells = [fields.shown(name) for name in names]
        if not all(cells):
            return None
        stream, source_port, target_port, sequence, acknowledged, flags = (int(cell[0], 0) for cell in cells)
        hosts = fields.hosts()
        talk = self._talks.setdefault(stream, Conversation(stream, time_ns))
        source: End = (hosts[0], source_port)
        here, there = talk.pair(source, (hosts[1], target_port))
        return round_trip(here, there, Segment(sequence, acknowledged, flags, int(sizes[0])), time_ns)


class _Fields:
    """The fields of a packet by their full names, all occurrences in packet order."""

    def __init__(self, layers: list[Any]) -> None:
        self._layers = [layer._all_fields for layer in layers]

    def named(self, name: str) -> Iterator[Any]:
        """Yield a field's occurrences."""
        for layer in self._layers:
            found = layer.get(name)
            if found is not None:
                yield from found.all_fields

    def shown(self, name: str) -> list[str]:
        """Return what tshark shows of a field's occurrences."""
        return [field.show for field in self.named(name)]

    def by_layer(self, name: str) -> Iterator[list[str]]:
        """Yield what is shown of a field, layer by layer."""
        for layer in self._layers:
            found = layer.get(name)
            yield [field.show for field in found.all_fields] if found is not None else []

    def hosts(self) -> tuple[bytes, bytes]:
        """Return the addresses next to the transport header, which are the innermost of a tunnel's first chain."""
        for names in (("ip.src", "ip.dst"), ("ipv6.src", "ipv6.dst")):
            pair = [next(self.named(name), None) for name in names]
            if pair[0] is not None and pair[1] is not None:
                return pair[0].show.encode(), pair[1].show.encode()
        return b"", b""


def _protocols(fields: _Fields) -> Iterator[int]:
    """Yield the protocol of each IP header: IPv4's own, and the last next header of an IPv6 chain."""
    following = {name: iter(fields.shown(name)) for name in _CHAIN.values()}
    for four, six in zip(fields.by_layer("ip.proto"), fields.by_layer("ipv6.nxt"), strict=True):
        yield from (int(cell) for cell in four)
        for cell in six:
            protocol = int(cell)
            while protocol in _CHAIN:
                after = next(following[_CHAIN[protocol]], None)
                if after is None:
                    break
                protocol = int(after, 0)
            yield protocol


def _value(column: Column, field: Any) -> Value:
    """Return a field's value in the column's wire type."""
    kind = column.kind
    if kind is Kind.PRESENT:
        return 1
    if kind is Kind.TEXT:
        return _text(column, field)
    if kind is Kind.BYTES:
        return bytes.fromhex(field.raw_value or "")
    if kind is Kind.IPV4:
        return int(ipaddress.IPv4Address(field.show))
    if kind is Kind.IPV6:
        return ipaddress.IPv6Address(field.show).packed
    if kind is Kind.SECONDS:
        return _nanoseconds(field.show)
    return int(field.show, 0)


def _text(column: Column, field: Any) -> bytes:
    """Return a text field's bytes: those of the packet, for what tshark shows has lost tabs and line ends as XML."""
    if column.name in _SPELLED or field.raw_value is None:
        return (field.show or "").encode()
    raw = bytes.fromhex(field.raw_value)
    return raw.partition(b":")[2].strip() if column.name in _HEADER_LINES else raw


def _nanoseconds(seconds: str) -> int:
    """Return seconds with up to nine decimals, perhaps negative, as nanoseconds."""
    whole, _, decimals = seconds.lstrip("-").partition(".")
    count = int(whole) * 1_000_000_000 + int(decimals.ljust(9, "0"))
    return -count if seconds.startswith("-") else count
