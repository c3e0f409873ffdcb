"""The network lab records real traffic of every layer, leaves nothing behind, and says what it lacks."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.l2 import ARP
from scapy.utils import PcapReader

from deploy.lab.modbus import Handler, Server, poll
from deploy.lab.record import missing
from tests.support.places import ROOT

PORTS = {53: "dns", 80: "http", 502: "modbus", 1883: "mqtt", 5201: "bulk"}


def namespaces() -> set[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


def kinds(capture: Path) -> Iterator[str]:
    with PcapReader(str(capture)) as packets:
        for packet in packets:
            if ARP in packet or ICMP in packet:
                yield "arp" if ARP in packet else "icmp"
            for layer, name in ((TCP, "tcp"), (UDP, "udp")):
                if layer in packet and ICMP not in packet:
                    ports = {packet[layer].sport, packet[layer].dport}
                    yield from (f"{PORTS[port]}/{name}" for port in ports & PORTS.keys())


def test_a_short_recording_holds_every_layer_and_cleans_up(tmp_path: Path) -> None:
    if lacking := missing():
        pytest.skip(f"recording in network namespaces: {lacking}")
    before = namespaces()
    out, raw = tmp_path / "short.pcap.zst", tmp_path / "short.pcap"
    command = [sys.executable, "-m", "deploy.lab.record", "--out", str(out), "--seconds", "5", "--seed", "3"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    assert namespaces() == before
    subprocess.run(["zstd", "-q", "-d", str(out), "-o", str(raw)], check=True)
    counts = Counter(kinds(raw))
    wanted = ("arp", "icmp", "dns/udp", "dns/tcp", "http/tcp", "modbus/tcp", "mqtt/tcp", "bulk/tcp", "bulk/udp")
    assert all(counts[kind] > 0 for kind in wanted), counts


def test_the_recorder_names_the_missing_programs(tmp_path: Path) -> None:
    code = (
        "import sys, deploy.lab.record as r; r.NEEDED = ('no-such-program',); "
        "sys.argv = ['record', '--out', sys.argv[1]]; sys.exit(r.main())"
    )
    out = tmp_path / "none.pcap.zst"
    done = subprocess.run([sys.executable, "-c", code, str(out)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no-such-program" in done.stderr
    assert not out.exists()


def test_modbus_answers_a_read_of_what_was_written() -> None:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=10) as client:
            write = bytes.fromhex("0001 0000 0006 01 06 0005 002a")
            client.sendall(write)
            assert client.recv(260) == write
            client.sendall(bytes.fromhex("0002 0000 0006 01 03 0005 0001"))
            assert client.recv(260) == bytes.fromhex("0002 0000 0005 01 03 02 002a")
        server.shutdown()
        thread.join(timeout=10)


def test_modbus_poll_says_when_nobody_listens() -> None:
    with pytest.raises(OSError, match="refused"):
        poll("127.0.0.1", 0.1, 1)
