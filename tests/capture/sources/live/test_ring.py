"""What only the ring does itself: cooked and bare IP interfaces, filters on tags, the same rows as tcpdump."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from bench.namespace import ENVIRONMENT, Namespace
from offramp.capture.sources.file.files import open_captures
from offramp.capture.sources.live.packet_filter import AD_INTERFACE, AD_PACKET_TYPE, compile_filter, library_name
from offramp.errors import ConfigError
from tests.support.live import frame, listen, packets, send, until

TCPDUMP = shutil.which("tcpdump", path=ENVIRONMENT["PATH"])
TAG_5, TAG_7, DOUBLE = (bytes.fromhex(text) for text in ("81000005", "81000007", "8100000581000009"))
NEW_INTERFACE, TUN, NO_HEADER = 0x400454CA, 1, 0x1000  # TUNSETIFF, IFF_TUN, IFF_NO_PI


def test_every_packet_is_accounted_for_at_the_end(namespace: Namespace) -> None:
    capture = listen(namespace, "ring")
    send(namespace, [frame(number) for number in range(1000)])
    got = capture.finish()  # at once: the last packets lie in a block that the kernel has not handed over
    assert [data for data, _, _ in got] == [frame(number) for number in range(1000)]


@pytest.mark.skipif(TCPDUMP is None, reason="tcpdump, the reference, is not installed")
@pytest.mark.parametrize("interface", ["v1", "any"])
def test_rows_are_tcpdumps(namespace: Namespace, interface: str, tmp_path: Path) -> None:
    sent = [frame(number, 60 + number, tag=tag) for number, tag in enumerate((b"", TAG_5, DOUBLE, b"") * 10)]
    file = tmp_path / "theirs.pcap"
    wanted = ["-y", "LINUX_SLL2"] if interface == "any" else []
    told = [str(TCPDUMP), "-i", interface, *wanted, "-Z", "root", "-U", "--immediate-mode", "-s", "90", "-w", str(file)]
    theirs = namespace.start([*told, "-c", str(len(sent) * (2 if interface == "any" else 1))])
    assert theirs.stderr is not None
    while "listening" not in (line := theirs.stderr.readline()):
        assert line, "tcpdump does not listen"
    capture = listen(namespace, "ring", interface=interface, snaplen=90)
    send(namespace, sent)
    theirs.communicate(timeout=30)
    ours = capture.finish()
    expected = list(packets(list(open_captures([str(file)]).read())))
    assert len(expected) == len(sent) * (2 if interface == "any" else 1)
    assert [row[:2] for row in ours] == [row[:2] for row in expected]
    assert all(abs(a[2] - b[2]) < 1e9 for a, b in zip(ours, expected, strict=True))


@pytest.mark.parametrize(("text", "kept"), [("vlan 5", [1, 2]), ("not vlan", [0]), ("vlan 7 and udp", [3])])
def test_filters_see_tags_that_the_kernel_takes_out(namespace: Namespace, text: str, kept: list[int]) -> None:
    sent = [frame(0), frame(1, tag=TAG_5), frame(2, tag=DOUBLE), frame(3, tag=TAG_7)]
    capture = listen(namespace, "ring", bpf=text)
    send(namespace, sent)
    assert [data for data, _, _ in capture.finish()] == [sent[number] for number in kept]


def test_cooked_packets_can_be_filtered(namespace: Namespace) -> None:
    capture = listen(namespace, "ring", interface="any", bpf="udp dst port 10 and inbound")
    send(namespace, [frame(number, port=9 + number % 2) for number in range(10)])
    got = capture.finish()
    assert [data[20 + 28 : 20 + 32] for data, _, _ in got] == [struct.pack("!I", number) for number in range(1, 10, 2)]
    assert [(each.name, each.linktype) for each in capture.blocks[-1].interfaces] == [("v1", 276)]


def test_every_packet_of_any_says_by_which_interface_it_came(namespace: Namespace) -> None:
    namespace.run("ip link add w0 type veth peer name w1 && ip link set w0 up && ip link set w1 up")
    capture = listen(namespace, "ring", interface="any", bpf="udp port 9")
    for interface, count in (("v0", 30), ("w0", 20), ("v0", 10)):
        send(namespace, [frame(number) for number in range(count)], interface)
    capture.finish()
    found = Counter(block.interfaces[at].name for block in capture.blocks for at in block.interface.tolist())
    assert found == {"v0": 40, "v1": 40, "w0": 20, "w1": 20}
    tables = [[each.name for each in block.interfaces] for block in capture.blocks]
    assert all(later[: len(table)] == table for table, later in pairwise(tables))


def test_a_tun_interface_gives_bare_ip(namespace: Namespace) -> None:
    if not Path("/dev/net/tun").exists():
        pytest.skip("/dev/net/tun is not here")
    device = namespace.call(os.open, "/dev/net/tun", os.O_RDWR)
    namespace.call(fcntl.ioctl, device, NEW_INTERFACE, struct.pack("16sH22x", b"t0", TUN | NO_HEADER))
    namespace.run("ip link set t0 up")
    capture = listen(namespace, "ring", interface="t0", bpf="udp")
    os.write(device, frame(1)[14:])
    os.write(device, frame(2, protocol=1)[14:])
    got = capture.finish()
    os.close(device)
    assert [data for data, _, _ in got] == [frame(1)[14:]]
    assert capture.blocks[0].interfaces[0].linktype == 101


def test_an_interface_that_goes_down_is_not_one_that_vanishes(namespace: Namespace) -> None:
    reasons = []
    for command in ("ip link set v1 down", "ip link del v1"):
        capture = listen(namespace, "ring")
        namespace.run(command)
        until(lambda capture=capture: bool(capture.source.faults))  # type: ignore[misc]
        capture.finish()
        reasons.append(capture.source.faults[0].reason)
        if "down" in command:
            namespace.run("ip link set v1 up")
    assert [reason.split()[2:] for reason in reasons] == [["went", "down"], ["vanished"]]


def test_a_reader_that_pauses_for_seconds_loses_nothing_of_a_slow_link(namespace: Namespace) -> None:
    capture = listen(namespace, "ring")
    capture.pause()
    for number in range(50):  # blocks are handed over by time, not by size: each of these takes one
        send(namespace, [frame(number)])
        time.sleep(0.02)
    capture.resume()
    assert len(capture.finish()) == 50
    assert capture.drops == 0


@pytest.mark.skipif(library_name() is None, reason="libpcap is not installed")
def test_a_filter_for_cooked_packets_asks_the_kernel_for_the_header() -> None:
    program = compile_filter("inbound and ifindex 3 and udp", 276, 90, "any")
    asked = {each.k for each in program if each.code & 0x07 == 0}
    assert {AD_INTERFACE, AD_PACKET_TYPE} <= asked
    assert {each.k for each in program if each.code == 6} == {0, 90}
    with pytest.raises(ConfigError, match="link-layer"):
        compile_filter("link[12:2] = 1", 276, 90, "any")


@pytest.mark.skipif(TCPDUMP is None or library_name() is None, reason="tcpdump, the reference, is not installed")
@pytest.mark.parametrize("text", ["udp port 53 or tcp[13] & 2 != 0", "ip6 and icmp6", "net 10.0.0.0/8 and not arp"])
def test_filters_are_tcpdumps(text: str) -> None:
    done = subprocess.run([str(TCPDUMP), "-y", "EN10MB", "-s", "100", "-ddd", text], capture_output=True, text=True)
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()[1:]]
    assert [tuple(each) for each in compile_filter(text, 1, 100, "lo")] == lines
