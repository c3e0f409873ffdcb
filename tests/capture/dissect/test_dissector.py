"""The fast path on packets that scapy built: values, batches, ledger, refusals."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from offramp.capture.block import Interface, PacketBlock
from offramp.capture.dissect.dissector import Dissector
from offramp.errors import InputError


def block_of(packets: list[Packet | bytes], linktype: int = 1) -> PacketBlock:
    raw = [bytes(packet) for packet in packets]
    sizes = np.array([len(one) for one in raw], np.int32)
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    times = np.arange(len(raw), dtype=np.int64) * 1_000_000 + 1_600_000_000_000_000_000
    zero = np.zeros(len(raw), np.int32)
    data = np.frombuffer(b"".join(raw), np.uint8)
    return PacketBlock(data, offsets, sizes, sizes, times, zero, (Interface("test", linktype),))


def rows_of(packets: list[Packet | bytes], linktype: int = 1, profile: str = "full") -> list[dict[str, object]]:
    batches = Dissector(profile).dissect(block_of(packets, linktype))
    return list(pa.Table.from_batches(batches).to_pylist())


def tcp(source: str, target: str, flags: str, seq: int, ack: int, payload: bytes = b"") -> Packet:
    sport, dport = (40000, 80) if source < target else (80, 40000)
    return (
        Ether()
        / IP(src=source, dst=target)
        / TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack)
        / Raw(payload)
    )


def test_a_handshake_gives_relative_numbers_and_round_trip_times() -> None:
    a, b = "10.0.0.1", "10.0.0.2"
    rows = rows_of(
        [
            tcp(a, b, "S", 1000, 0),
            tcp(b, a, "SA", 9000, 1001),
            tcp(a, b, "A", 1001, 9001),
            tcp(a, b, "PA", 1001, 9001, b"hello"),
            tcp(b, a, "A", 9001, 1006),
            tcp(b, a, "FA", 9001, 1006),
        ]
    )
    assert [row["tcp.seq"] for row in rows] == [0, 0, 1, 1, 1, 1]
    assert [row["tcp.ack"] for row in rows] == [0, 1, 1, 1, 6, 6]
    assert [row["offramp.rtt"] for row in rows] == [None, 1_000_000, 1_000_000, None, 1_000_000, None]
    assert [row["tcp.len"] for row in rows] == [0, 0, 0, 5, 0, 0]
    assert rows[3]["tcp.payload"] == b"hello"
    assert rows[0]["tcp.connection.syn"] == rows[1]["tcp.connection.synack"] == rows[5]["tcp.connection.fin"] == 1
    assert {row["tcp.stream"] for row in rows} == {0}


def test_a_resent_segment_is_not_timed() -> None:
    a, b = "10.0.0.1", "10.0.0.2"
    segments = [tcp(a, b, "PA", 5, 9, b"hello"), tcp(a, b, "PA", 5, 9, b"hello"), tcp(b, a, "A", 9, 10)]
    assert [row["offramp.rtt"] for row in rows_of(segments)] == [None, None, None]


def test_another_syn_on_the_same_ports_is_another_stream() -> None:
    a, b = "10.0.0.1", "10.0.0.2"
    segments = [tcp(a, b, "S", 5, 0), tcp(a, b, "S", 5, 0), tcp(a, b, "S", 77, 0), tcp(b, a, "SA", 1, 78)]
    assert [row["tcp.stream"] for row in rows_of(segments)] == [0, 0, 1, 1]


def test_udp_conversations_have_numbers_and_deltas() -> None:
    def udp(sport: int, dport: int) -> Packet:
        return Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=sport, dport=dport) / b"x"

    rows = rows_of([udp(5000, 6000), udp(5001, 6000), udp(5000, 6000)], profile="stream")
    assert [row["udp.stream"] for row in rows] == [0, 1, 0]
    assert [row["udp.time_delta"] for row in rows] == [0, 0, 2_000_000]
    assert rows[0]["udp.port"] == 5000 << 16 | 6000
    assert rows[0]["ip.src_host"] == 0x0A000001


def test_vlan_arp_ipv6_and_an_icmp_error() -> None:
    quoted = IP(src="10.0.0.1", dst="10.0.0.9") / UDP(sport=7, dport=9) / b"abcd"
    rows = rows_of(
        [
            Ether() / Dot1Q(vlan=3) / Dot1Q(vlan=4) / ARP(op=2, psrc="10.0.0.1", pdst="10.0.0.2"),
            Ether() / IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=7, dport=9) / b"abcd",
            Ether() / IP(src="10.0.0.9", dst="10.0.0.1") / ICMP(type=3, code=3) / quoted,
        ]
    )
    assert rows[0]["arp.opcode"] == 2
    assert rows[0]["arp.dst.proto_ipv4"] == 0x0A000002
    assert rows[1]["ipv6.dst"] == bytes.fromhex("20010db8000000000000000000000002")
    assert rows[1]["udp.dstport"] == 9
    assert rows[2]["ip.src_host"] == 0x0A000009
    extras = rows[2]["occurrences"]
    assert isinstance(extras, list)
    assert {"column": 1, "value": "10.0.0.1"} in extras


def test_loopback_in_both_byte_orders_and_raw_ip() -> None:
    packet = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=7, dport=9))
    for linktype, header in ((0, b"\x02\0\0\0"), (0, b"\0\0\0\x02"), (108, b"\0\0\0\x02"), (101, b""), (228, b"")):
        assert rows_of([header + packet], linktype)[0]["udp.srcport"] == 7


def test_numbers_run_on_across_blocks_and_batches_are_bounded() -> None:
    packets = [Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=port, dport=9) for port in range(1, 8)]
    dissector = Dissector("stream", batch_rows=3)
    first = dissector.dissect(block_of(packets[:5]))
    second = dissector.dissect(block_of(packets[4:]))
    assert [batch.num_rows for batch in first] == [3, 2]
    assert second[0]["udp.stream"].to_pylist() == [4, 5, 6]
    assert dissector.ledger.captured == dissector.ledger.decoded == 8
    assert dissector.ledger.balances()


def test_idle_conversations_are_forgotten_and_counted() -> None:
    packets = [Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=port, dport=9) for port in range(1, 1200)]
    dissector = Dissector("stream", max_flows=1024)
    dissector.dissect(block_of(packets))
    assert dissector.ledger.notes["flow_evicted"] > 0


def test_an_unknown_link_type_is_named() -> None:
    with pytest.raises(InputError, match=r"147 \(USER0\)"):
        Dissector("stream").dissect(block_of([b"abc"], linktype=147))


def test_cut_and_empty_packets_are_counted() -> None:
    dissector = Dissector("stream")
    dissector.dissect(block_of([b"\0" * 9, b"", bytes(Ether() / IP() / TCP())[:40]]))
    assert dissector.ledger.undecodable == {"link_header_cut": 1, "empty_packet": 1}
    assert dissector.ledger.notes["header_cut"] == 1
    assert dissector.ledger.balances()
