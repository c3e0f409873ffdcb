"""Call every kernel once on a few made-up packets, with the types of arguments that the commands give it.

A kernel left out is compiled at its first use, so tests/test_kernel_set.py checks that commands compile nothing.
"""

from __future__ import annotations

import gzip
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from offramp.capture.block import Interface, PacketBlock
from offramp.capture.dissect.conversation.flow_table import grow_flow_table, new_flow_table, new_secret
from offramp.capture.dissect.dissector import Dissector
from offramp.capture.intake.pcapng_writer import PcapngFiles, RingOfFiles
from offramp.capture.intake.shedding import Shedding, SheddingRule
from offramp.capture.sources.file.files import open_captures
from offramp.capture.sources.live import ring
from offramp.decision.site import AltPath, Link, Node, Site, default_site
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving import compiled  # noqa: F401 - opening a predictor would load its kernels too late
from offramp.inference.serving.table import open_backend
from offramp.stream.arena.closed_loop import ClosedLoop, extended, plan_of
from offramp.stream.arena.network.flows import foresee, new_flows, serve
from offramp.stream.arena.network.queues import new_journeys, new_queues, note, send_rest
from offramp.stream.arena.places import queues_of
from offramp.stream.arena.scenario import Network, Scenario, TrafficSource
from offramp.stream.arena.traffic import arrivals_of
from offramp.stream.bins.event_time import lives
from offramp.stream.bins.virtual_queue import virtual_delays_ms
from offramp.stream.local.replay import Replay
from offramp.stream.pipeline.timeline import LinkTimeline
from offramp.stream.topics.forecast_json import bins_text
from offramp.stream.windows.normaliser import Normaliser, scaled

BROADCAST, US, THEM = b"\xff" * 6, b"\x02\x00\x00\x00\x00\x01", b"\x02\x00\x00\x00\x00\x02"
ASKED = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + b"\x02ab\x02cd\x00" + struct.pack("!2H", 1, 1)
BEGIN_NS, STEP_NS = 1_800_000_000_000_000_000, 30_000_000
"""Three bins apart: bins are closed and forecast between packets, and few enough for Python."""
EDGE = Node(name="edge", compute=1e6, queue=1)


def use_every_kernel() -> None:
    """Call every kernel that Python calls."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packets = made_packets()
        plain, packed = folder / "plain.pcap", folder / "packed.pcap.gz"
        plain.write_bytes(as_pcap(packets))
        packed.write_bytes(gzip.compress(as_pcap(packets)))
        _write_pcapng(folder / "blocks.pcapng", packets)
        for path in (packed, folder / "blocks.pcapng"):
            list(open_captures([str(path)]).read())
        _replay(plain)
    ring.load_kernel()
    Shedding(SheddingRule()).warm()
    grow_flow_table(new_flow_table(8, new_secret()))
    _simulate()
    _learn()


def _simulate() -> None:
    """Send a packet through a network of the arena."""
    one = np.zeros(1, np.int64)
    queues = new_queues(np.ones((1, 2)), np.ones((1, 2)), np.ones((1, 2)))
    flows, journeys = new_flows(np.zeros(1, np.bool_), one), new_journeys(1)
    serve(queues, flows, journeys, one, one, one, 0, 1, np.zeros((1, 2)), 1.0)
    send_rest(queues, journeys, one, one)
    note(queues, 1, queues.limit.copy(), queues.limit.copy())
    foresee(queues, flows, one, one, one, 0, 1, 200.0, 0, 0, 0, 0)
    _simulate_senders()


def _simulate_senders() -> None:
    """Let one of each kind that reacts send over a link that is too small for them."""
    link = Link(name="a", capacity=3e5, queues=2, paths=(AltPath(name="b", capacity=3e5, mtu=1_300),), nodes=(EDGE,))
    site = Site(links=(link,))
    kinds: dict[str, dict[str, object]] = {
        "tcp_files": {"size_bytes": 60_000},
        "video": {},
        "xr_frames": {"cycles_per_bit": 1, "computed_by": "edge", "answer_bytes": 9},
    }
    ways: list[dict[str, object]] = [{"direction": "up"}, {"direction": "down"}]
    sources = tuple(
        TrafficSource.model_validate({"model": kind, **more, **way})
        for kind, more in kinds.items()
        for way in (ways if kind != "xr_frames" else [dict[str, object]()])
    )
    scenario = Scenario(name="all", seconds=1, site=site, network=Network(loss=0.1), traffic=sources)
    arrivals = arrivals_of(scenario, 1, Path(), None)
    plan = plan_of(scenario, 1, arrivals)
    arrivals = extended(arrivals, plan)
    queues = queues_of(site, scenario, {})
    closed = ClosedLoop(scenario, site, arrivals, plan, queues, 1)
    flows = new_flows(arrivals.down, np.zeros(len(arrivals.down), np.int64), None, arrivals.key[:, 4])
    at = 0
    for second in range(1, 4):
        at = closed.serve(flows, at, second * 1_000_000_000, np.zeros((3, 2)), 1.0)
        flows.place[1:3] = 3  # the lower class
    closed.of_episode()


def _replay(path: Path) -> None:
    """Replay a capture to features of either profile, and to forecasts."""
    for profile in ("stream", "full"):
        dissector = Dissector(profile)
        for block in open_captures([str(path)]).read():
            dissector.dissect(block)
    timelines: list[LinkTimeline] = []
    source, artifact = open_captures([str(path)]), load_artifact(DEFAULT_ARTIFACT)
    replay = Replay(source, default_site(), artifact, open_backend("compiled", artifact), sink=timelines.append)
    list(replay.run())
    for pipeline in replay.pipelines.values():
        list(pipeline.windows.bins.advance(BEGIN_NS + 10 * STEP_NS))  # a live link's clock
    bins_text(timelines)


def _learn() -> None:
    """Call the kernels that data sets and training need besides."""
    time_ns, size = np.arange(3, dtype=np.int64) * STEP_NS, np.full(3, 100, np.int64)
    virtual_delays_ms(time_ns, size, capacity_bps=1e6)
    virtual_delays_ms(time_ns, size, trace_ns=time_ns + 1)
    lives(time_ns, 0)
    normaliser = Normaliser(2)
    normaliser.update(np.ones((3, 2), np.float32))
    scaled(np.ones((3, 2), np.float32), *normaliser.limits())


def made_packets() -> list[bytes]:
    """Return Ethernet frames with a cell of every kind: numbers, texts, bytes, addresses."""
    udp = struct.pack("!4H", 40_000, 53, 8 + len(ASKED), 0) + ASKED
    tcp = struct.pack("!2H2I4H", 40_001, 1883, 1, 1, 0x5018, 1_000, 0, 0) + b"\x30\x05\x00\x01abc"
    web = struct.pack("!2H2I4H", 40_002, 80, 1, 1, 0x5018, 1_000, 0, 0) + b"GET / HTTP/1.1\r\nHost: ab\r\n\r\n"
    six = struct.pack("!IHBB16s16s", 6 << 28, len(udp), 17, 64, b"\xfd" * 16, b"\xfe" * 16) + udp
    asks = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, US, b"\x0a\0\0\1", b"\0" * 6, b"\x0a\0\0\2")
    frames = [BROADCAST + US + b"\x08\x06" + asks, THEM + US + b"\x86\xdd" + six]
    return [
        *frames,
        *(THEM + US + b"\x08\x00" + _ipv4(protocol, body) for protocol, body in ((17, udp), (6, tcp), (6, web))),
    ]


def _ipv4(protocol: int, body: bytes) -> bytes:
    return (
        struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
        + body
    )


def as_pcap(packets: Sequence[bytes]) -> bytes:
    """Return a capture with times in nanoseconds."""
    out = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, 1)
    for number, packet in enumerate(packets):
        seconds, rest = divmod(BEGIN_NS + number * STEP_NS, 10**9)
        out += struct.pack("<4I", seconds, rest, len(packet), len(packet)) + packet
    return out


def _write_pcapng(path: Path, packets: Sequence[bytes]) -> None:
    sizes = np.array([len(packet) for packet in packets])
    block = PacketBlock(
        np.frombuffer(b"".join(packets), np.uint8), np.cumsum(sizes) - sizes, sizes.astype(np.int32),
        sizes.astype(np.int32), BEGIN_NS + STEP_NS * np.arange(len(packets)), np.zeros(len(packets), np.int32),
        (Interface("made", 1),),
    )  # fmt: skip
    files = PcapngFiles(RingOfFiles(path), "made")
    files.write(block)
    files.close()
