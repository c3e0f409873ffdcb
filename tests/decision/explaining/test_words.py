"""Rates, times, shares and flows in words."""

from __future__ import annotations

import pytest

from offramp.decision.explaining.words import after, flow, milliseconds, moment, percent, rate


@pytest.mark.parametrize(
    ("bps", "text"),
    [
        (0, "0 bit/s"), (512, "512 bit/s"), (999.6, "1 kbit/s"), (113_218, "113 kbit/s"), (8e6, "8 Mbit/s"),
        (1_741_042, "1.74 Mbit/s"), (99_960_000, "100 Mbit/s"), (12_345_678, "12.3 Mbit/s"), (4e12, "4000 Gbit/s"),
        (-2e6, "-2 Mbit/s"),
    ],
)  # fmt: skip
def test_rates_have_three_digits(bps: float, text: str) -> None:
    assert rate(bps) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (1.0, "100 %"), (0.5, "50 %"), (0.1234, "12.3 %"), (0.0001, "below 0.1 %"), (0.9999, "above 99.9 %"),
     (1.25, "125 %")],
)  # fmt: skip
def test_shares_that_are_not_whole_do_not_read_as_whole(share: float, text: str) -> None:
    assert percent(share) == text


def test_times_are_as_exact_as_they_are_told() -> None:
    assert moment("2026-11-24T02:55:04.780000000Z") == "02:55:04.780"
    assert moment("2026-11-24T02:55:04.780000001Z") == "02:55:04.780000001"
    assert moment("2026-11-24T02:55:04Z", day=True) == "2026-11-24 02:55:04.000"
    assert after("2026-11-24T02:55:04.78Z", "2026-11-24T02:55:14.78Z") == "10 s"
    assert after("2026-11-24T02:55:04.78Z", "2026-11-24T02:55:04.84Z") == "0.06 s"
    assert [milliseconds(each) for each in (0.0, 0.496, 8.49, 232.612)] == ["0.0 ms", "0.50 ms", "8.5 ms", "232.6 ms"]


def test_what_a_match_leaves_open_is_any() -> None:
    source = {"eth_type": 2048, "ip_proto": 17, "ipv4_src": "10.0.0.1", "udp_dst": 443}
    assert flow(source) == "UDP 10.0.0.1 > any:443"
    six = {"eth_type": 0x86DD, "ip_proto": 6, "ipv6_src": "::1", "ipv6_dst": "::2", "tcp_src": 1, "tcp_dst": 2}
    assert flow(six) == "TCP [::1]:1 > [::2]:2"
    assert flow({"eth_type": 2048, "ip_proto": 47, "ipv4_src": "10.0.0.1"}) == "protocol 47 10.0.0.1 > any"
