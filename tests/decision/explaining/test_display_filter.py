"""Matches and times as a display filter."""

from __future__ import annotations

from typing import Any

import pytest

from offramp.decision.explaining.display_filter import ERRORS, display_filter
from offramp.decision.explaining.subject import Subject

TIME = "frame.time_epoch >= 1700000000.000000005 && frame.time_epoch < 1700000000.640000000"
FOUR, SIX = {"eth_type": 0x0800}, {"eth_type": 0x86DD}


def shown(*matches: dict[str, Any], device: str = "") -> str:
    return display_filter(Subject(matches, device, 1_700_000_000_000_000_005, 1_700_000_000_640_000_000))


@pytest.mark.parametrize(
    ("match", "terms"),
    [
        (
            FOUR | {"ip_proto": 6, "ipv4_src": "10.0.0.1", "ipv4_dst": "10.0.0.2", "tcp_src": 7, "tcp_dst": 80},
            "ip.src == 10.0.0.1 && ip.dst == 10.0.0.2 && tcp.srcport == 7 && tcp.dstport == 80",
        ),
        (
            SIX | {"ip_proto": 17, "ipv6_src": "2001:db8::1", "udp_dst": 53},
            "ipv6.src == 2001:db8::1 && udp.dstport == 53",
        ),
        (
            FOUR | {"ip_proto": 47, "ipv4_src": "10.0.0.1", "ipv4_dst": "::"},
            "ip.src == 10.0.0.1 && !ip.dst && ip.proto == 47",
        ),
        (
            FOUR | {"ip_proto": 47, "ipv4_src": "10.0.0.1", "ipv4_dst": "::1"},
            "ip.src == 10.0.0.1 && ipv6.dst == ::1 && ip.proto == 47",
        ),
        (SIX | {"ip_proto": 6, "ipv6_src": "::", "tcp_dst": 5}, "(ipv6.src == :: || !ipv6.src) && tcp.dstport == 5"),
        (FOUR | {"ip_proto": 6, "ipv4_dst": "10.0.0.2"}, "ip.dst == 10.0.0.2 && tcp"),
        (FOUR | {"ip_proto": 1, "ipv4_src": "10.0.0.1"}, "ip.src == 10.0.0.1 && ip.proto == 1"),
        (
            FOUR | {"ip_proto": 17, "ipv4_src": "10.0.0.1", "udp_src": 0, "udp_dst": 0},
            "ip.src == 10.0.0.1 && ((udp.srcport == 0 && udp.dstport == 0) || (ip.proto == 17 && !udp))",
        ),
    ],
)
def test_a_match_is_a_filter_of_the_same_packets(match: dict[str, Any], terms: str) -> None:
    assert shown(match).removesuffix(ERRORS[match["eth_type"] == 0x86DD]).removesuffix(" && ") == f"{TIME} && ({terms})"


def test_several_matches_are_any_of_them() -> None:
    match = FOUR | {"ip_proto": 47, "ipv4_src": "10.0.0.1"}
    one = "(ip.src == 10.0.0.1 && ip.proto == 47)"
    assert shown(match, match) == f"{TIME} && ({one} || {one}) && {ERRORS[False]}"


def test_a_device_is_met_in_both_directions_and_what_is_not_known_is_all() -> None:
    assert shown(device="10.0.0.9") == f"{TIME} && ip.addr == 10.0.0.9"
    assert shown(device="2001:db8::9") == f"{TIME} && ipv6.addr == 2001:db8::9"
    assert shown() == TIME


def test_what_an_icmp_error_quotes_is_left_out_where_it_is_not_asked_for() -> None:
    tcp, icmp = FOUR | {"ip_proto": 6, "tcp_dst": 1}, FOUR | {"ip_proto": 1, "ipv4_src": "10.0.0.1"}
    assert ERRORS[False] in shown(tcp)
    assert ERRORS[True] in shown(SIX | {"ip_proto": 17, "udp_dst": 1})
    assert "icmp" not in shown(icmp)
