"""Every dissector gives the same rows for the same blocks, the same schema, and a ledger that closes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scapy.contrib.modbus import ModbusADURequest, ModbusPDU03ReadHoldingRegistersRequest
from scapy.contrib.mqtt import MQTT, MQTTConnect, MQTTPublish
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import ARP, GRE, CookedLinux, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from offramp.capture.block import Interface, PacketBlock
from offramp.capture.dissectors import PacketDissector, open_dissector
from offramp.capture.features.arrow_schema import batch_schema
from offramp.capture.features.files import render_batch
from offramp.capture.sources.file.files import open_captures
from offramp.errors import InputError
from tests.support.places import DEMO

NEEDS_TSHARK = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark, which the reference is, is missing")
APPLICATIONS = ("http.", "dns.", "mqtt.", "mbtcp.")
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
SECOND = 1_700_000_000_000_000_000

Rows = list[dict[str, str | None]]


@pytest.fixture(
    params=["fast", "fast, small batches", pytest.param("reference", marks=NEEDS_TSHARK), "scapy"],
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def opened(kind: str, stack: ExitStack, profile: str = "full") -> PacketDissector:
    rows = 3 if "small" in kind else 8192
    return stack.enter_context(open_dissector(kind.split(",")[0], profile, batch_rows=rows))


def block_of(packets: list[Packet | bytes], linktype: int = 1, start_ns: int = SECOND) -> PacketBlock:
    raw = [bytes(packet) for packet in packets]
    sizes = np.array([len(one) for one in raw], np.int32)
    offsets = (np.cumsum(sizes) - sizes).astype(np.int64)
    times = np.arange(len(raw), dtype=np.int64) * 1_234_567 + start_ns
    zero = np.zeros(len(raw), np.int32)
    data = np.frombuffer(b"".join(raw), np.uint8)
    return PacketBlock(data, offsets, sizes, sizes, times, zero, (Interface("test", linktype),))


def rendered(batches: Iterable[pa.RecordBatch], kind: str) -> Rows:
    """Return the rows of batches as tshark would print them; for scapy without the application layers."""
    rows: Rows = []
    for batch in batches:
        cells = dict(zip(batch.schema.names, render_batch(batch), strict=False))
        rows += pa.table(cells).to_pylist()
    if kind == "scapy":
        return [{name: cell for name, cell in row.items() if not name.startswith(APPLICATIONS)} for row in rows]
    return rows


def fast_rows(blocks: list[PacketBlock], kind: str, profile: str = "full") -> Rows:
    with open_dissector("fast", profile) as dissector:
        return rendered([batch for block in blocks for batch in dissector.dissect(block)], kind)


def agree(blocks: list[PacketBlock], kind: str, stack: ExitStack, profile: str = "full") -> Rows:
    """Hold that a dissector's rows are those of the fast path, and that its ledger closes; return them."""
    dissector = opened(kind, stack, profile)
    rows = rendered([batch for block in blocks for batch in dissector.dissect(block)], kind)
    assert rows == fast_rows(blocks, kind, profile)
    assert dissector.ledger.captured == sum(len(block) for block in blocks) == len(rows)
    assert dissector.ledger.balances()
    return rows


def segment(source: str, flags: str, seq: int, ack: int, payload: bytes | Packet = b"", port: int = 80) -> Packet:
    target = SERVER if source == CLIENT else CLIENT
    sport, dport = (40000, port) if source == CLIENT else (port, 40000)
    header = TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack, options=[("NOP", None), ("MSS", 1400)])
    return Ether() / IP(src=source, dst=target) / header / (Raw(payload) if isinstance(payload, bytes) else payload)


def datagram(payload: Packet | bytes, sport: int = 5000, dport: int = 6000) -> Packet:
    return Ether() / IP(src=CLIENT, dst=SERVER) / UDP(sport=sport, dport=dport) / payload


def handshake(port: int) -> list[Packet]:
    return [
        segment(CLIENT, "S", 1000, 0, port=port),
        segment(SERVER, "SA", 0xFFFFFFF0, 1001, port=port),
        segment(CLIENT, "A", 1001, 0xFFFFFFF1, port=port),
    ]


def conversation(port: int, question: bytes | Packet, answer: bytes | Packet) -> list[Packet]:
    asked = segment(CLIENT, "PA", 1001, 0xFFFFFFF1, question, port)
    size = len(asked[TCP].payload)
    told = segment(SERVER, "PA", 0xFFFFFFF1, 1001 + size, answer, port)
    after = (0xFFFFFFF1 + len(told[TCP].payload)) & 0xFFFFFFFF
    return [
        *handshake(port),
        asked,
        told,
        segment(CLIENT, "FA", 1001 + size, after, port=port),
        segment(SERVER, "R", after, 0, port=port),
    ]


QUESTION = DNS(id=7, qd=[DNSQR(qname="plant.example", qtype="AAAA")])
ANSWER = DNS(id=7, qr=1, qd=[DNSQR(qname="plant.example")], an=[DNSRR(rrname="plant.example", rdata="10.0.0.9")])
QUOTED = IP(src=CLIENT, dst=SERVER) / UDP(sport=7, dport=9) / b"abcd"
QUOTED_IPV6 = IPv6(src="fe80::1", dst="fe80::2") / UDP(sport=7, dport=9) / b"abcd"
PUBLISH = MQTT() / MQTTPublish(topic="heat", value=b"23.4")
MODBUS_QUESTION = ModbusADURequest(transId=9, unitId=3) / ModbusPDU03ReadHoldingRegistersRequest()
HTTP_QUESTION = b"GET /read?sensor=4 HTTP/1.1\r\nHost: plant.example\r\nReferer: http://plant.example/a\\b\r\n\r\n"
HTTP_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\n23\t.4"
CRAFTED: dict[str, list[Packet]] = {
    "handshake": handshake(81),
    "vlan": [
        Ether() / Dot1Q(vlan=3) / IP(src=CLIENT) / UDP(sport=1, dport=2) / b"x",
        Ether() / Dot1AD(vlan=3) / Dot1Q(vlan=4) / IP(src=CLIENT) / UDP(sport=1, dport=2) / b"x",
    ],
    "arp": [Ether() / ARP(op=op, psrc=CLIENT, pdst=SERVER) for op in (1, 2)],
    "ipv6": [
        Ether() / IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=7, dport=9) / b"abcd",
        Ether() / IPv6(src="fe80::1", dst="fe80::2") / IPv6ExtHdrDestOpt() / TCP(sport=7, dport=9, flags="S"),
    ],
    "icmp": [
        Ether() / IP(src=CLIENT, dst=SERVER) / ICMP(type=8, id=1, seq=513) / b"ping",
        Ether() / IP(src=SERVER, dst=CLIENT) / ICMP(type=14, seq=2, ts_tx=86_399_999),
    ],
    "icmp error": [
        Ether() / IP(src=SERVER, dst=CLIENT) / ICMP(type=kind, code=code) / QUOTED for kind, code in ((3, 3), (11, 0))
    ],
    "tunnels": [
        Ether() / IP(src=CLIENT, dst=SERVER) / GRE() / IP(src=SERVER, dst=CLIENT) / UDP(sport=7, dport=9) / b"abcd",
        Ether() / IP(src=CLIENT, dst=SERVER) / IPv6(src="fe80::1", dst="fe80::2") / TCP(sport=1, dport=2, flags="S"),
    ],
    "icmpv6 error": [Ether() / IPv6(src="fe80::2", dst="fe80::1") / ICMPv6PacketTooBig(mtu=1280) / QUOTED_IPV6],
    "udp": [datagram(b"a"), datagram(b"b", 5001), datagram(b"c"), datagram(b""), datagram(b"d", 6000, 5000)],
    "padding": [Ether(bytes(Ether() / IP(src=CLIENT, dst=SERVER) / TCP(flags="A", seq=1)) + b"\0" * 6)],
    "dns": [datagram(QUESTION, 5354, 53), datagram(QUESTION, 5354, 53), datagram(ANSWER, 53, 5354)],
    "http": conversation(80, HTTP_QUESTION, HTTP_ANSWER),
    "mqtt": conversation(1883, MQTT() / MQTTConnect(protolevel=4, clientId="c"), bytes(PUBLISH) * 2),
    "modbus": conversation(502, MODBUS_QUESTION, b"\0\x09\0\0\0\5\3\3\2\0\7"),
}


def test_crafted_packets_give_the_same_rows(kind: str, stack: ExitStack) -> None:
    packets = [packet for chosen in CRAFTED.values() for packet in chosen]
    rows = agree([block_of(packets)], kind, stack)
    filled = {name for row in rows for name, cell in row.items() if cell is not None}
    wanted = {"tcp.options", "tcp.payload", "udp.time_delta", "icmp.unused", "icmp.seq_le", "offramp.rtt", "ipv6.src"}
    if kind != "scapy":
        wanted |= {"dns.qry.name", "dns.retransmission", "http.file_data", "http.referer", "mqtt.topic", "mbtcp.len"}
    assert wanted <= filled


@pytest.mark.parametrize("linktype", [0, 12, 101, 108, 113, 228])
def test_every_link_layer_gives_the_same_rows(kind: str, linktype: int, stack: ExitStack) -> None:
    inner = IP(src=CLIENT, dst=SERVER) / UDP(sport=7, dport=9) / b"abcd"
    header = {0: b"\2\0\0\0", 108: b"\0\0\0\2", 113: bytes(CookedLinux(proto=0x800))}.get(linktype, b"")
    rows = agree([block_of([header + bytes(inner)] * 2, linktype)], kind, stack)
    assert [row["udp.port"] for row in rows] == ["7,9", "7,9"]


def test_the_first_packets_of_the_sample_give_the_same_rows(kind: str, stack: ExitStack) -> None:
    if not DEMO.exists():
        pytest.skip("samples/demo.pcap.zst is not there")
    block = next(iter(open_captures([str(DEMO)], block_packets=300).read()))
    assert len(agree([block], kind, stack)) == 300


def test_numbers_run_on_across_blocks(kind: str, stack: ExitStack) -> None:
    blocks = [block_of(handshake(81)[:2]), block_of([handshake(81)[2], datagram(b"a")], start_ns=SECOND * 2)]
    rows = agree(blocks, kind, stack, "stream")
    assert [row["tcp.seq"] for row in rows] == ["0", "0", "1", None]
    assert [row["tcp.ack"] for row in rows] == ["0", "1", "1", None]


@pytest.mark.parametrize("profile", ["full", "stream"])
def test_the_schema_is_one(kind: str, profile: str, stack: ExitStack) -> None:
    dissector = opened(kind, stack, profile)
    batches = dissector.dissect(block_of([datagram(b"a")] * 4))
    assert dissector.schema.equals(batch_schema(profile))
    wanted = {b"site": b"", b"link": b"", b"agent": b"", b"schema_version": b"1", b"profile": profile.encode()}
    for batch in batches:
        told = dict(batch.schema.metadata)
        account = told.pop(b"ledger", None)  # what workers and taps read; the slow paths only write files
        assert batch.schema.equals(dissector.schema)
        assert told == wanted
        assert account is None or json.loads(account)["captured"] == batch.num_rows
        batch.validate(full=True)


def test_cut_packets_are_counted(kind: str, stack: ExitStack) -> None:
    dissector = opened(kind, stack)
    batches = dissector.dissect(block_of([b"\0" * 9, b"", datagram(b"whole")]))
    assert sum(batch.num_rows for batch in batches) == 3
    assert dissector.ledger.undecodable == {"link_header_cut": 1, "empty_packet": 1}
    assert dissector.ledger.balances()


def test_payloads_cut_by_the_snap_length_keep_their_length_on_the_wire(kind: str, stack: ExitStack) -> None:
    block = block_of([*handshake(81), segment(CLIENT, "PA", 1001, 0xFFFFFFF1, b"x" * 400, 81)])
    rows = agree([replace(block, caplen=np.minimum(block.caplen, 96))], kind, stack)
    assert rows[3]["tcp.len"] == "400"


def test_an_unknown_link_type_is_named(kind: str, stack: ExitStack) -> None:
    with pytest.raises(InputError, match=r"147 \(USER0\)"):
        opened(kind, stack).dissect(block_of([b"abc"], linktype=147))
