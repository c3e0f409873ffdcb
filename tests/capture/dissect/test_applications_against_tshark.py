"""The application columns equal tshark's, value by value, on conversations that scapy builds.

HTTP, MQTT, DNS and Modbus: whole, in pieces, repeated, early, lost, cut short, malformed, and at random (seeded).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.differential import compare, is_header
from tests.support.conversations import Captures, write_capture
from tests.support.random_traffic import random_conversation
from tests.support.talks_http import http_bodies, http_codings, http_heads, http_pieces, http_switches
from tests.support.talks_other import dns_messages, modbus_messages, mqtt_messages, tcp_repetitions

pytestmark = pytest.mark.skipif(
    shutil.which("tshark") is None, reason="tshark is not installed: nothing to compare with"
)


def everything_at_random(made: Captures) -> None:
    """Random conversations of all protocols on which random things happen."""
    for seed in range(240):
        start = made.conversations[-1].time + 1 if made.conversations else 1.0
        made.conversations.append(random_conversation(Random(seed), 40_000 + seed, start))


MAKERS: list[Callable[[Captures], None]] = [
    http_heads,
    http_bodies,
    http_codings,
    http_switches,
    http_pieces,
    tcp_repetitions,
    mqtt_messages,
    dns_messages,
    modbus_messages,
    everything_at_random,
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_application_columns(make: Callable[[Captures], None], tmp_path: Path) -> None:
    made = Captures()
    make(made)
    report = compare([write_capture(tmp_path / "made.pcap", made.conversations)])
    present = sum(count for column, count in report.present.items() if not is_header(column))
    unexplained = {column: lines for column, lines in report.examples.items() if not is_header(column)}
    known = {reason: count for (reason, column), count in report.known.items() if not is_header(column)}
    assert report.files == 1
    assert present > 30
    assert unexplained == {}
    assert known == {}
