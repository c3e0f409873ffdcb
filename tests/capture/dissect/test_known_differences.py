"""The reasons for known differences hold only where they are meant to."""

from __future__ import annotations

import pytest

from tests.support.known_differences import CIRCUIT, FINGER, FRACTION, RPC, SOCKS, Explainer

PLAIN = "eth:ethertype:ip:udp:data"


@pytest.mark.parametrize(
    ("column", "theirs", "ours"),
    [("udp.stream", "1", "2"), ("tcp.stream", "1", "2"), ("tcp.payload", "", "00"), ("ip.src_host", "", "10.0.0.1")],
)
def test_nothing_is_excused_without_a_reason(column: str, theirs: str, ours: str) -> None:
    explainer = Explainer()
    for protocols in (PLAIN, PLAIN + ":malformed", "eth:ethertype:ip:tcp"):
        explainer.row(protocols)
        assert explainer.explain(column, theirs, ours, protocols) == ""


def test_a_portmapper_excuses_udp_conversations_after_it_and_nothing_else() -> None:
    explainer = Explainer()
    explainer.row("eth:ethertype:ip:udp:rpc:portmap")
    assert explainer.explain("udp.stream", "1", "2", PLAIN) == RPC
    assert explainer.explain("udp.port", "1,2", "2,1", PLAIN) == ""
    assert explainer.explain("tcp.stream", "1", "2", PLAIN) == ""


def test_socks_excuses_a_doubled_payload_and_as_many_more_streams() -> None:
    explainer = Explainer()
    explainer.row("eth:ethertype:ip:tcp:socks:tls")
    assert explainer.explain("tcp.payload", "16,16", "16", "eth:ethertype:ip:tcp:socks:tls") == SOCKS
    assert explainer.explain("tcp.payload", "16,17", "16", "eth:ethertype:ip:tcp:socks:tls") == ""
    assert explainer.explain("tcp.stream", "2", "1", "eth:ethertype:ip:tcp") == SOCKS
    assert explainer.explain("tcp.stream", "3", "1", "eth:ethertype:ip:tcp") == ""
    assert explainer.explain("tcp.stream", "1", "2", "eth:ethertype:ip:tcp") == ""


def test_a_fraction_of_more_than_a_second_is_the_same_time() -> None:
    explainer = Explainer()
    theirs, ours = "Dec  8, 2023 01:42:11.1011041000 UTC", "Dec  8, 2023 01:42:12.011041000 UTC"
    assert explainer.explain("frame.time", theirs, ours, PLAIN) == FRACTION
    assert explainer.explain("frame.time", theirs, ours.replace("12.011", "12.012"), PLAIN) == ""
    assert explainer.explain("frame.time", ours, ours.replace("12.011", "13.011"), PLAIN) == ""


def test_circuits_and_finger() -> None:
    explainer = Explainer()
    assert explainer.explain("udp.stream", "1", "2", "fr:ip:udp:data") == CIRCUIT
    assert explainer.explain("tcp.payload", "", "00", "eth:ethertype:ip:tcp:finger") == FINGER
    assert explainer.explain("tcp.payload", "", "00", "eth:ethertype:ip:tcp:http") == ""
