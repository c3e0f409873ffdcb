"""The feature schema: one table of columns from which dissectors, writers, topics and docs are derived.

The first 61 columns are Edge-IIoTset's, under their own names (tshark field names) and in their order; the stream's own
follow. A cell holds the first occurrence of its field in the packet (the outermost header); further occurrences, which
are rare, stand in the column `occurrences` of the full profile.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

SCHEMA_VERSION = "1"
"""Stands in the topic's name, in messages and in model artifacts; raised when a column changes its meaning."""


class Kind(IntEnum):
    """What a column holds and how tshark prints it."""

    UINT = 0  # unsigned integer, decimal
    HEX2 = 1  # unsigned integer, 0x%02x
    HEX4 = 2  # unsigned integer, 0x%04x
    BOOL = 3  # 0 or 1
    PRESENT = 4  # the field is there (prints 1) or not
    IPV4 = 5  # IPv4 address as unsigned integer
    IPV6 = 6  # IPv6 address, 16 bytes of the packet
    TEXT = 7  # text bytes
    BYTES = 8  # raw bytes, printed in hex
    TIME = 9  # nanoseconds since the epoch, printed as tshark's frame.time
    SECONDS = 10  # nanoseconds, printed as seconds with nine decimals
    NANOSECONDS = 11  # nanoseconds, printed as integer
    PORTS = 12  # source << 16 | destination, printed as `source,destination`


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its tshark field name, kind, bits of its Arrow integer type, and whether `stream` carries it."""

    name: str
    kind: Kind
    bits: int
    stream: bool
    about: str


K = Kind
COLUMNS: tuple[Column, ...] = (
    # name, kind, bits, in the stream profile, what it is
    Column("frame.time", K.TIME, 64, False, "arrival time, as tshark prints it"),
    Column("ip.src_host", K.IPV4, 32, True, "IPv4 source address"),
    Column("ip.dst_host", K.IPV4, 32, True, "IPv4 destination address"),
    Column("arp.dst.proto_ipv4", K.IPV4, 32, False, "ARP target protocol address"),
    Column("arp.opcode", K.UINT, 16, True, "ARP operation"),
    Column("arp.hw.size", K.UINT, 8, False, "ARP hardware address length"),
    Column("arp.src.proto_ipv4", K.IPV4, 32, False, "ARP sender protocol address"),
    Column("icmp.checksum", K.HEX4, 16, False, "ICMP checksum"),
    Column("icmp.seq_le", K.UINT, 16, True, "ICMP echo sequence number, little-endian reading"),
    Column("icmp.transmit_timestamp", K.UINT, 32, False, "ICMP timestamp: transmit, ms after midnight"),
    Column("icmp.unused", K.BYTES, 0, False, "ICMP unused field"),
    Column("http.file_data", K.TEXT, 0, False, "HTTP body, decoded"),
    Column("http.content_length", K.UINT, 64, True, "HTTP Content-Length"),
    Column("http.request.uri.query", K.TEXT, 0, False, "HTTP query string"),
    Column("http.request.method", K.TEXT, 0, True, "HTTP method"),
    Column("http.referer", K.TEXT, 0, False, "HTTP Referer"),
    Column("http.request.full_uri", K.TEXT, 0, False, "HTTP absolute URI"),
    Column("http.request.version", K.TEXT, 0, False, "HTTP version of a request"),
    Column("http.response", K.BOOL, 8, True, "the message is an HTTP response"),
    Column("http.tls_port", K.PRESENT, 8, False, "plain HTTP on a TLS port"),
    Column("tcp.ack", K.UINT, 32, True, "TCP acknowledgement number, relative"),
    Column("tcp.ack_raw", K.UINT, 32, False, "TCP acknowledgement number, raw"),
    Column("tcp.checksum", K.HEX4, 16, False, "TCP checksum"),
    Column("tcp.connection.fin", K.PRESENT, 8, True, "FIN seen"),
    Column("tcp.connection.rst", K.PRESENT, 8, True, "RST seen"),
    Column("tcp.connection.syn", K.PRESENT, 8, True, "SYN without ACK seen"),
    Column("tcp.connection.synack", K.PRESENT, 8, True, "SYN with ACK seen"),
    Column("tcp.dstport", K.UINT, 16, True, "TCP destination port"),
    Column("tcp.flags", K.HEX4, 16, True, "TCP flags, 12 bits"),
    Column("tcp.flags.ack", K.BOOL, 8, True, "TCP ACK flag"),
    Column("tcp.len", K.UINT, 32, True, "TCP payload length"),
    Column("tcp.options", K.BYTES, 0, False, "TCP options"),
    Column("tcp.payload", K.BYTES, 0, False, "TCP payload"),
    Column("tcp.seq", K.UINT, 32, True, "TCP sequence number, relative"),
    Column("tcp.srcport", K.UINT, 16, True, "TCP source port"),
    Column("udp.port", K.PORTS, 32, True, "UDP source and destination port"),
    Column("udp.stream", K.UINT, 32, True, "UDP conversation number"),
    Column("udp.time_delta", K.SECONDS, 64, True, "time since the previous datagram of the conversation"),
    Column("dns.qry.name", K.TEXT, 0, False, "DNS question name"),
    Column("dns.qry.name.len", K.UINT, 16, True, "DNS question name length"),
    Column("dns.qry.qu", K.BOOL, 8, True, "mDNS question asks for a unicast answer"),
    Column("dns.qry.type", K.UINT, 16, True, "DNS question type"),
    Column("dns.retransmission", K.BOOL, 8, True, "DNS message seen before"),
    Column("dns.retransmit_request", K.PRESENT, 8, True, "DNS query seen before"),
    Column("dns.retransmit_request_in", K.UINT, 32, True, "frame number of the first such query"),
    Column("mqtt.conack.flags", K.HEX2, 8, True, "MQTT CONNACK acknowledge flags"),
    Column("mqtt.conflag.cleansess", K.BOOL, 8, True, "MQTT CONNECT clean session flag"),
    Column("mqtt.conflags", K.HEX2, 8, True, "MQTT CONNECT flags"),
    Column("mqtt.hdrflags", K.HEX2, 8, True, "MQTT fixed header, first byte"),
    Column("mqtt.len", K.UINT, 64, True, "MQTT remaining length"),
    Column("mqtt.msg_decoded_as", K.TEXT, 0, False, "MQTT message decoded as"),
    Column("mqtt.msg", K.BYTES, 0, False, "MQTT message"),
    Column("mqtt.msgtype", K.UINT, 8, True, "MQTT control packet type"),
    Column("mqtt.proto_len", K.UINT, 16, True, "MQTT protocol name length"),
    Column("mqtt.protoname", K.TEXT, 0, False, "MQTT protocol name"),
    Column("mqtt.topic", K.TEXT, 0, False, "MQTT topic"),
    Column("mqtt.topic_len", K.UINT, 16, True, "MQTT topic length"),
    Column("mqtt.ver", K.UINT, 8, True, "MQTT protocol level"),
    Column("mbtcp.len", K.UINT, 16, True, "Modbus/TCP length"),
    Column("mbtcp.trans_id", K.UINT, 16, True, "Modbus/TCP transaction identifier"),
    Column("mbtcp.unit_id", K.UINT, 8, True, "Modbus/TCP unit identifier"),
    # the stream's own
    Column("frame.time_epoch", K.NANOSECONDS, 64, True, "arrival time, nanoseconds since the epoch"),
    Column("frame.len", K.UINT, 32, True, "bytes on the wire"),
    Column("ip.proto", K.UINT, 8, True, "IPv4 protocol, or the IPv6 header chain's last next header"),
    Column("ip.ttl", K.UINT, 8, False, "IPv4 time to live"),
    Column("ipv6.src", K.IPV6, 0, True, "IPv6 source address"),
    Column("ipv6.dst", K.IPV6, 0, True, "IPv6 destination address"),
    Column("tcp.stream", K.UINT, 32, True, "TCP conversation number"),
    Column("udp.srcport", K.UINT, 16, True, "UDP source port"),
    Column("udp.dstport", K.UINT, 16, True, "UDP destination port"),
    Column("offramp.rtt", K.NANOSECONDS, 64, True, "passive round-trip time seen by this packet's ACK, ns"),
)
EDGE_COLUMNS = COLUMNS[:61]
INDEX: dict[str, int] = {column.name: index for index, column in enumerate(COLUMNS)}
"""Column name to index; kernels take their column numbers from here as module constants."""
