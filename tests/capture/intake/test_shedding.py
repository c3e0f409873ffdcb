"""Shedding: levels follow the queue with hysteresis; flows stay or go whole, the same ones whatever else comes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, CookedLinux, Dot1Q, Ether
from scapy.packet import Packet, Raw

from offramp.capture.block import Interface, PacketBlock
from offramp.capture.intake.shedding import PROCESS_SECRET, Shedding, SheddingRule

HERE, THERE = "02:00:00:00:00:01", "02:00:00:00:00:02"
ETHER = Ether(src=HERE, dst=THERE)
"""With both addresses, as scapy would ask the network for one that is missing."""


def block_of(frames: list[bytes], linktype: int = 1) -> PacketBlock:
    sizes = np.array([len(each) for each in frames], np.int32)
    ends = np.cumsum(sizes, dtype=np.int64)
    n = len(frames)
    return PacketBlock(
        np.frombuffer(b"".join(frames), np.uint8), ends - sizes, sizes, sizes, np.arange(n, dtype=np.int64) + 1,
        np.zeros(n, np.int32), (Interface("t", linktype),),
    )  # fmt: skip


def conversation(flow: int, reply: bool = False) -> Packet:
    ends = (f"10.0.{flow >> 8}.{flow & 255}", "192.0.2.1"), (1024 + flow, 80)
    (src, dst), (sport, dport) = (ends[0][::-1], ends[1][::-1]) if reply else ends
    return IP(src=src, dst=dst) / TCP(sport=sport, dport=dport)


def kept_numbers(level: int, frames: list[bytes], linktype: int = 1) -> list[int]:
    shedding = Shedding(level=level)
    kept: list[int] = (shedding.apply(block_of(frames, linktype)).time_ns - 1).tolist()
    return kept


def test_nothing_is_touched_where_nothing_is_shed() -> None:
    block = block_of([bytes(ETHER / conversation(1))])
    assert Shedding().apply(block) is block


def test_payload_goes_first() -> None:
    frames = [bytes(ETHER / conversation(1) / Raw(b"x" * size)) for size in (10, 1000)]
    shedding = Shedding(SheddingRule(payload_bytes=64), level=1)
    out = shedding.apply(block_of(frames))
    assert out.caplen.tolist() == [64, 64]
    assert out.length.tolist() == [64, 1054]
    assert out.data.tobytes() == b"".join(each[:64] for each in frames)
    assert (shedding.cut, out.sampled_away, out.sampling) == (1, 0, 1)


@pytest.mark.parametrize("level", [2, 3, 5, 7])
def test_one_of_n_flows_stays_whole_and_both_ways(level: int) -> None:
    flows = 4000
    frames = [bytes(ETHER / conversation(flow, reply)) for reply in (False, True) for flow in range(flows)]
    shedding = Shedding(level=level)
    out = shedding.apply(block_of(frames))
    numbers = (out.time_ns - 1).tolist()
    there, back = {n for n in numbers if n < flows}, {n - flows for n in numbers if n >= flows}
    assert there == back
    factor = 1 << (level - 1)
    assert out.sampling == shedding.factor == factor
    expected = flows / factor
    assert abs(len(there) - expected) < 5 * np.sqrt(expected)
    assert out.sampled_away + len(out) == len(frames)
    assert out.data.tobytes() == b"".join(frames[n] for n in numbers)
    deeper = (Shedding(level=level + 1).apply(block_of(frames)).time_ns - 1).tolist()
    assert set(deeper) < set(numbers)


def test_a_flow_is_the_same_flow_whatever_it_is_wrapped_in() -> None:
    flows = range(300)
    plain = kept_numbers(3, [bytes(ETHER / conversation(flow)) for flow in flows])
    assert 0 < len(plain) < 300
    wrapped = {
        "vlan": ([bytes(ETHER / Dot1Q(vlan=5) / conversation(flow)) for flow in flows], 1),
        "qinq": (
            [
                bytes(Ether(src=HERE, dst=THERE, type=0x88A8) / Dot1Q(vlan=5) / Dot1Q(vlan=6) / conversation(f))
                for f in flows
            ],
            1,
        ),
        "cooked": ([bytes(CookedLinux(proto=0x800) / conversation(flow)) for flow in flows], 113),
        "raw": ([bytes(conversation(flow)) for flow in flows], 101),
        "loopback": ([b"\x02\0\0\0" + bytes(conversation(flow)) for flow in flows], 0),
        "payload": ([bytes(ETHER / conversation(flow) / Raw(bytes([flow & 255]) * 30)) for flow in flows], 1),
    }
    for name, (frames, linktype) in wrapped.items():
        assert kept_numbers(3, frames, linktype) == plain, name


def test_ipv6_both_ways_and_behind_extension_headers() -> None:
    def six(flow: int, reply: bool, extended: bool) -> bytes:
        ends, ports = (f"2001:db8::{flow:x}", "2001:db8:1::1"), (1024 + flow, 53)
        if reply:
            ends, ports = ends[::-1], ports[::-1]
        extension = IPv6ExtHdrHopByHop() if extended else None
        head = ETHER / IPv6(src=ends[0], dst=ends[1])
        return bytes((head / extension if extension else head) / UDP(sport=ports[0], dport=ports[1]))

    plain = kept_numbers(3, [six(flow, False, False) for flow in range(300)])
    assert 0 < len(plain) < 300
    assert kept_numbers(3, [six(flow, True, True) for flow in range(300)]) == plain


def test_fragments_of_a_datagram_stay_together() -> None:
    for flow in range(60):
        ends = {"src": f"10.1.0.{flow}", "dst": "192.0.2.1"}
        first = ETHER / IP(**ends, flags="MF") / UDP(sport=flow, dport=53) / Raw(bytes(24))
        last = ETHER / IP(**ends, frag=4, proto=17) / Raw(bytes([flow]) * 24)
        assert len(kept_numbers(3, [bytes(first), bytes(last)])) in (0, 2)
        v6 = ETHER / IPv6(src=f"2001:db8::{flow:x}", dst="2001:db8:1::1")
        parts = [bytes(v6 / IPv6ExtHdrFragment(nh=17, offset=at, m=1, id=7) / Raw(bytes([at]) * 16)) for at in (0, 2)]
        assert len(kept_numbers(3, parts)) in (0, 2)


def test_cut_and_foreign_packets_are_hashed_within_their_bytes() -> None:
    whole = [
        bytes(ETHER / conversation(1)),
        bytes(ETHER / ARP(psrc="10.0.0.1", hwsrc=HERE)),
        bytes(ETHER / IP(src="10.0.0.1", dst="192.0.2.1") / ICMP()),
        b"\x45",
        b"",
    ]
    frames = [each[:size] for each in whole for size in range(len(each) + 1)]
    for linktype in (1, 0, 101, 113, 276, 9999):
        once = kept_numbers(3, frames, linktype)
        assert once == kept_numbers(3, frames, linktype)


def test_levels_rise_at_once_and_fall_slowly() -> None:
    rule = SheddingRule(raise_fill=0.5, lower_fill=0.1, raise_s=1.0, lower_s=10.0, most=4)
    shedding = Shedding(rule)
    assert not shedding.update(0.49, 0.0)
    assert shedding.update(0.5, 0.0)
    assert shedding.level == 1
    assert not shedding.update(1.0, 0.9)
    assert [shedding.update(1.0, float(second)) for second in (1, 2, 3, 4, 5)] == [True, True, False, False, False]
    assert (shedding.factor, shedding.highest) == (4, 4)
    assert not shedding.update(0.3, 100.0)  # between the two thresholds nothing changes
    assert shedding.update(0.1, 101.0)
    assert not shedding.update(0.0, 105.0)
    assert [shedding.update(0.0, 111.0 + 10 * step) for step in range(3)] == [True, True, False]
    assert (shedding.level, shedding.factor, shedding.highest) == (0, 1, 4)
    assert str(replace(shedding, level=3)) == "payload beyond 200 bytes is shed, and 1 of 4 flows is kept"


def test_which_flows_stay_is_a_secret_of_the_process() -> None:
    """Who chooses ports cannot choose to be among the flows kept: another secret keeps others, in the same number."""
    frames = [bytes(ETHER / conversation(flow)) for flow in range(600)]
    kept = []
    for secret in (1, 2, 1):
        shedding = Shedding(level=3, secret=np.uint64(secret))
        kept.append(set((shedding.apply(block_of(frames)).time_ns - 1).tolist()))
    assert kept[0] == kept[2]
    both = len(kept[0] & kept[1])
    assert 0 < both < len(kept[0]) / 2
    assert Shedding().secret == Shedding().secret  # all links of a process keep the same
    assert np.uint64(0) != PROCESS_SECRET
