"""The packets behind a command: tshark counts the same ones by the filter, and what is written has exactly these."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
from scapy.packet import Raw

from offramp.capture.block import PacketBlock
from offramp.capture.sources.file.files import open_captures
from offramp.decision.explaining.display_filter import display_filter
from offramp.decision.explaining.known_commands import Found, KnownCommands
from offramp.decision.explaining.subject import Subject, subject_of
from offramp.errors import InputError
from offramp.stream.local.evidence import Frames, evidence, halves
from tests.support.crafted_headers import ETHER, whole, write
from tests.support.explained import DEMO, demo_commands

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


def every(policy: str) -> list[Found]:
    commands, lines = KnownCommands(), demo_commands(policy)
    for line in lines:
        commands.add(line.encode())
    return [commands.find(json.loads(line)["decision_id"], "here") for line in lines]


def subjects() -> list[Subject]:
    """The subjects of all commands of two policies, and of one that knows no flow."""
    found = [subject_of(*each) for policy in ("shipped", "optimiser-reactive") for each in every(policy)]
    return [*found, Subject((), "", found[0].start_ns, found[0].end_ns),
            Subject((), "10.13.0.12", found[0].start_ns, found[0].end_ns)]  # fmt: skip


def tshark(capture: Path, shown_as: str) -> list[int]:
    """Return the frame numbers that a display filter lets pass."""
    command = ["tshark", "-n", "-r", str(capture), "-Y", shown_as, "-T", "fields", "-e", "frame.number"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as one file that is not packed."""
    path = tmp_path_factory.mktemp("plain") / "demo.pcap"
    whole = Subject((), "", 0, 1 << 62)
    evidence([str(DEMO)], whole, path)
    return path


def read(path: Path) -> list[tuple[int, int, bytes]]:
    """Return time, length and bytes of each packet of a capture."""
    found = list[tuple[int, int, bytes]]()
    for block in open_captures([str(path)]).read():
        found += [row_of(block, row) for row in range(len(block))]
    return found


def row_of(block: PacketBlock, row: int) -> tuple[int, int, bytes]:
    start = int(block.offset[row])
    data = block.data[start : start + int(block.caplen[row])].tobytes()
    return int(block.time_ns[row]), int(block.length[row]), data


@needs_tshark
def test_the_filter_lets_the_same_frames_pass_in_tshark(plain: Path) -> None:
    counted, some = 0, subjects()
    for subject in [*some[::5], *some[-2:]]:
        (frames,) = evidence([str(plain)], subject, None)
        passed = tshark(plain, display_filter(subject))
        assert (frames.packets, frames.first, frames.last) == (
            len(passed), passed[0] if passed else 0, passed[-1] if passed else 0
        ), display_filter(subject)  # fmt: skip
        counted += frames.packets
    assert counted > 500


@needs_tshark
def test_fragments_quotes_and_headers_of_ipv6_are_the_same_to_both(tmp_path: Path) -> None:
    """What an ICMP error quotes is not of the flow; a fragment behind the first has no ports; other protocols, too."""
    four, six = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="2001:db8::1", dst="2001:db8::2")
    udp = UDP(sport=5000, dport=443) / Raw(b"x" * 64)
    packets = [
        four / udp,
        IP(src="10.0.0.2", dst="10.0.0.1") / ICMP(type=3, code=3) / four / udp,
        IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(type=3, code=3) / four / udp,
        IP(src="10.0.0.1", dst="10.0.0.2", id=7, flags="MF", frag=4, proto=17) / Raw(b"y" * 64),
        IP(src="10.0.0.1", dst="10.0.0.2", proto=50) / Raw(b"z" * 40),
        six / udp,
        six / IPv6ExtHdrDestOpt() / udp,
        IPv6(src="2001:db8::1", dst="2001:db8::2") / ICMPv6DestUnreach() / six / udp,
        six / ICMPv6EchoRequest(),
        six / IPv6ExtHdrDestOpt(nh=50) / Raw(b"z" * 40),
    ]
    path = tmp_path / "odd.pcap"
    write(path, 1, whole(ETHER / packet for packet in packets))
    ends4 = {"eth_type": 0x0800, "ipv4_src": "10.0.0.1", "ipv4_dst": "10.0.0.2"}
    ends6 = {"eth_type": 0x86DD, "ipv6_src": "2001:db8::1", "ipv6_dst": "2001:db8::2"}
    ports = {"udp_src": 5000, "udp_dst": 443}
    expected = (
        ([ends4 | {"ip_proto": 17} | ports], [1]),
        ([ends4 | {"ip_proto": 17, "udp_src": 0, "udp_dst": 0}], [4]),
        ([ends4 | {"ip_proto": 50}], [5]),
        ([ends6 | {"ip_proto": 17} | ports], [6, 7]),
        ([ends6 | {"ip_proto": 58}], [8, 9]),
        ([ends6 | {"ip_proto": 50}], [10]),
        ([ends4 | {"ip_proto": 17} | ports, ends6 | {"ip_proto": 17} | ports], [1, 6, 7]),
    )
    for matches, numbers in expected:
        subject = Subject(tuple(matches), "", 1_500_000_000_000_000_000, 1_700_000_000_000_000_000)
        (frames,) = evidence([str(path)], subject, None)
        assert tshark(path, display_filter(subject)) == numbers, matches
        assert (frames.packets, frames.first, frames.last) == (len(numbers), numbers[0], numbers[-1]), matches


def test_the_file_has_exactly_these_packets(tmp_path: Path) -> None:
    """Against the packets of the sample, each looked at by itself."""
    everything = read(DEMO)
    command = every("optimiser-reactive")[0]
    subject = subject_of(*command)
    (frames,) = evidence([str(DEMO)], subject, tmp_path / "out.pcapng")
    written = read(tmp_path / "out.pcapng")
    wanted = [
        (number, each)
        for number, each in enumerate(everything, start=1)
        if subject.start_ns <= each[0] < subject.end_ns and any(_is_of(each[2], match) for match in subject.matches)
    ]
    assert written == [each for _, each in wanted]
    assert frames == Frames(
        str(DEMO), wanted[0][0], wanted[-1][0], len(wanted), sum(each[1] for _, each in wanted),
        sum(subject.start_ns <= each[0] < subject.end_ns for each in everything),
        sum(each[1] for each in everything if subject.start_ns <= each[0] < subject.end_ns),
    )  # fmt: skip
    assert frames.packets > 50


def _is_of(data: bytes, match: Mapping[str, Any]) -> bool:
    """Return whether an Ethernet frame with IPv4 and TCP is of a match."""
    if data[12:14] != b"\x08\x00" or data[23] != match["ip_proto"]:
        return False
    ends = [".".join(map(str, data[at : at + 4])) for at in (26, 30)]
    head = 14 + (data[14] & 15) * 4
    ports = [int.from_bytes(data[at : at + 2]) for at in (head, head + 2)]
    return (*ends, *ports) == (match["ipv4_src"], match["ipv4_dst"], match["tcp_src"], match["tcp_dst"])


def test_several_captures_are_told_apart_and_written_together(plain: Path, tmp_path: Path) -> None:
    subject = subjects()[0]
    frames = evidence([str(DEMO), str(plain)], subject, tmp_path / "both.pcapng")
    assert [each.file for each in frames] == [str(DEMO), str(plain)]
    assert frames[0][1:] == frames[1][1:]
    both = read(tmp_path / "both.pcapng")
    assert both[: frames[0].packets] == both[frames[0].packets :]
    source = open_captures([str(tmp_path / "both.pcapng")])
    blocks = list(source.read())
    assert not source.faults
    assert len(blocks[-1].interfaces) == 2, "each capture's interface is described"


def test_a_capture_of_another_time_has_none_and_no_file_is_made(tmp_path: Path) -> None:
    subject = Subject(subjects()[0].matches, "", 0, 10**9)
    assert evidence([str(DEMO)], subject, tmp_path / "none.pcapng") == [Frames(str(DEMO), 0, 0, 0, 0, 0, 0)]
    assert not (tmp_path / "none.pcapng").exists()


def test_where_nothing_can_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    subject = subjects()[0]
    copy = tmp_path / "copy.pcap.zst"
    shutil.copy(DEMO, copy)
    wrong = (tmp_path, "is a folder"), (tmp_path / "no/x.pcapng", "No such file"), (copy, "is the capture that is read")
    for pcap, words in wrong:
        with pytest.raises(InputError, match=words):
            evidence([str(copy)], subject, pcap)
    assert copy.read_bytes() == DEMO.read_bytes()
    with pytest.raises(InputError, match="there is no such file"):
        evidence([str(tmp_path / "gone.pcap")], subject, None)


def test_addresses_are_the_numbers_that_packets_have() -> None:
    assert halves("10.0.0.1") == (0, 0xFFFF_0A00_0001)
    assert halves("::ffff:10.0.0.1") == halves("10.0.0.1")
    high, low = halves("fe80::8000:0:0:1")
    assert np.array([high, low], np.int64).view(np.uint64).tolist() == [0xFE80 << 48, (0x8000 << 48) + 1]
