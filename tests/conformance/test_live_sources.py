"""Live sources on a veth pair: every backend hands over what was sent, in order, in time, and accounts for the rest."""

from __future__ import annotations

import importlib.util
import socket

import numpy as np
import pytest

from bench.blast import Sender
from bench.namespace import Namespace
from offramp.capture.sources.live.interface import LiveOptions, open_interface
from offramp.errors import ConfigError, InputError
from tests.support.live import BACKENDS, frame, listen, send, until

ROUNDING_NS = {"ring": 0, "pcapy": 1_000, "scapy": 1_000}
"""How exact the times are: nanoseconds, whole microseconds, floats of seconds."""


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    if request.param != "ring" and importlib.util.find_spec(request.param) is None:
        pytest.skip(f"the backend {request.param} is not installed")
    return str(request.param)


def test_bytes_order_lengths_and_times(namespace: Namespace, backend: str) -> None:
    sent = [frame(number, 60 + number * 7 % 1440) for number in range(400)]
    capture = listen(namespace, backend)
    before, after = send(namespace, sent)
    until(lambda: capture.count >= len(sent))
    got = capture.finish()
    assert [data for data, _, _ in got] == sent
    assert [length for _, length, _ in got] == [len(each) for each in sent]
    times = np.array([time_ns for _, _, time_ns in got])
    slack = ROUNDING_NS[backend]
    assert before - slack <= times.min()
    assert times.max() <= after + slack
    assert np.all(np.diff(times) >= -slack)
    assert capture.drops == 0
    numbers = [block.first_number for block in capture.blocks if len(block)]
    assert numbers == np.cumsum([1, *(len(block) for block in capture.blocks if len(block))])[:-1].tolist()


def test_vlan_tags_are_where_they_were(namespace: Namespace, backend: str) -> None:
    tags = ("", "81002005", "88a80064", "8100e00081000007", "88a800648100000a")
    sent = [frame(number, 80, tag=bytes.fromhex(tag)) for number, tag in enumerate(tags)]
    capture = listen(namespace, backend)
    send(namespace, sent)
    until(lambda: capture.count >= len(sent))
    got = capture.finish()
    assert [data for data, _, _ in got] == sent
    assert [length for _, length, _ in got] == [len(each) for each in sent]


def test_snaplen_keeps_the_first_bytes(namespace: Namespace, backend: str) -> None:
    sent = [frame(1, 60), frame(2, 900), frame(3, 900, tag=bytes.fromhex("81000007"))]
    capture = listen(namespace, backend, snaplen=70)
    send(namespace, sent)
    until(lambda: capture.count >= len(sent))
    got = capture.finish()
    assert [data for data, _, _ in got] == [each[:70] for each in sent]
    assert [length for _, length, _ in got] == [60, 900, 904]


def test_what_is_sent_and_what_is_received_is_seen(namespace: Namespace, backend: str) -> None:
    capture = listen(namespace, backend)
    send(namespace, [frame(1)], "v0")
    send(namespace, [frame(2)], "v1")
    until(lambda: capture.count >= 2)
    assert sorted(data for data, _, _ in capture.finish()) == sorted([frame(1), frame(2)])


def test_the_filter_lets_through_what_it_names(namespace: Namespace, backend: str) -> None:
    sent = [frame(number, port=9 + number % 3) for number in range(30)] + [frame(99, protocol=1)]
    capture = listen(namespace, backend, bpf="udp dst port 10")
    send(namespace, sent)
    until(lambda: capture.count >= 10)
    assert [data for data, _, _ in capture.finish()] == [each for each in sent[:30] if each[37] == 10]


def test_a_wrong_filter_is_named(namespace: Namespace, backend: str) -> None:
    with pytest.raises(ConfigError, match="udp prot 10"):
        namespace.call(open_interface, "v1", LiveOptions("udp prot 10", backend=backend, left=None))


def test_sent_is_captured_plus_dropped(namespace: Namespace, backend: str) -> None:
    capture = listen(namespace, backend, buffer_mb=1)
    capture.pause()
    sender = namespace.call(Sender, "v0")
    sent, _ = sender.send(200_000, 0.15)
    sender.close()
    capture.resume()
    until(lambda: capture.blocks[-1].clock_ns and len(capture.blocks) > 2)
    got = capture.finish()
    assert namespace.dropped_before_tap("v1") == 0
    assert capture.drops > 0
    assert sent == len(got) + capture.drops


def test_an_idle_link_says_what_time_it_is(namespace: Namespace, backend: str) -> None:
    capture = listen(namespace, backend)
    before, after = send(namespace, [frame(1)])
    until(lambda: capture.count == 1)
    until(lambda: capture.blocks[-1].clock_ns > after)
    (_, _, time_ns), *rest = capture.finish()
    assert not rest
    clocks = [block.clock_ns for block in capture.blocks if block.clock_ns]
    assert clocks == sorted(clocks)
    place = next(i for i, block in enumerate(capture.blocks) if len(block))
    assert all(block.clock_ns <= time_ns for block in capture.blocks[:place])
    assert before <= time_ns + ROUNDING_NS[backend]


def test_loopback_shows_each_packet_once(namespace: Namespace, backend: str) -> None:
    capture = listen(namespace, backend, interface="lo")
    with namespace.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(5):
            sock.sendto(bytes([number]) * 20, ("127.0.0.1", 9))
    until(lambda: capture.count >= 5)
    got = [data for data, _, _ in capture.finish() if data[23] == 17]
    assert [data[-1] for data in got] == list(range(5))


def test_an_interface_that_vanishes_ends_it(namespace: Namespace, backend: str) -> None:
    capture = listen(namespace, backend)
    send(namespace, [frame(number) for number in range(20)])
    until(lambda: capture.count == 20)
    namespace.run("ip link del v0")
    until(lambda: bool(capture.source.faults))
    assert len(capture.finish()) == 20
    assert len(capture.source.faults) == 1
    assert capture.source.faults[0].source == "v1"


def test_an_unknown_interface_is_told_with_those_there_are(namespace: Namespace, backend: str) -> None:
    with pytest.raises(InputError, match=r"nosuch0.*lo, v0, v1"):
        namespace.call(open_interface, "nosuch0", LiveOptions(backend=backend, left=None))


def test_an_interface_that_is_down_is_told(namespace: Namespace, backend: str) -> None:
    namespace.run("ip link set v1 down")
    with pytest.raises(InputError, match="v1"):
        listen(namespace, backend).finish()
