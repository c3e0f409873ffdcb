"""Options that several commands share: their types, and those that go together as a dataclass to inherit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offramp.capture.dissectors import NAMES
from offramp.capture.sources.live.interface import BACKENDS
from offramp.cli.door import OneOf
from offramp.inference.serving.table import TABLE

if TYPE_CHECKING:
    from offramp.kafka import KafkaSettings

DAY_S, YEAR_S = 86_400, 31_536_000
MAX_PACKETS = 10**15
"""More than a port of 1 Tbit/s carries in a week: what is more is a slip."""

RING_FILES = 10

Captures = Annotated[
    tuple[str, ...],
    typer.Argument(metavar="FILE...", help="pcap or pcapng, .gz, .zst, in this order, or LINK=FILE each; - is stdin"),
]
LinkName = Annotated[str, typer.Option("--link", metavar="NAME", help="all packets are of this link of the site")]
SiteFile = Annotated[Path | None, typer.Option("--site", help="site.toml: links, capacities, paths, nodes, devices")]
ModelFolder = Annotated[Path | None, typer.Option("--model", help="artifact folder; the shipped model otherwise")]
ServingBackend = Annotated[
    str,
    OneOf(tuple(TABLE)),
    typer.Option("--backend", help="what serves the model; others than compiled: extras"),
]
DataFormat = Annotated[
    str,
    OneOf(("table", "jsonl")),
    typer.Option("--format", help="a table to read, or commands as JSON lines"),
]
DataOut = Annotated[Path | None, typer.Option("--out", help="write the data here instead of standard output")]
DissectorName = Annotated[
    str,
    OneOf(NAMES),
    typer.Option("--dissector", help="fast; reference: tshark through pyshark, slowly; scapy: headers only, slowly"),
]
TimelineOut = Annotated[
    Path | None,
    typer.Option("--timeline", metavar="FILE.parquet", help="bins, forecasts, what came true, and commands, as a file"),
]
MarksFile = Annotated[
    Path | None,
    typer.Option(
        "--marks",
        metavar="FILE.jsonl",
        help="what changes a capacity, path or node, a line of JSON each (docs/kafka.md)",
    ),
]
RefineFolder = Annotated[
    Path | None, typer.Option("--refine", metavar="DIR", help="refine the model in service; events and models go here")
]
RefineEvery = Annotated[
    int, typer.Option("--refine-every", help="seconds from one challenger to the next", min=5, max=DAY_S)
]
Pace = Annotated[str, typer.Option("--pace", help="max, realtime, or N times as fast, such as 10x")]
Strict = Annotated[bool, typer.Option("--strict", help="damage in a capture ends with exit code 1")]
Metrics = Annotated[
    str,
    typer.Option("--metrics", metavar="HOST:PORT", help="serve Prometheus metrics; a port alone: on loopback"),
]
Start = Annotated[str, typer.Option("--from", help="beginning, end, an offset, or a time")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="at the end of the topic wait for more")]
Horizon = Annotated[int, typer.Option("--horizon", help="ms ahead that the delay is foreseen", min=10, max=3_600_000)]
Thresholds = Annotated[str, typer.Option("--thresholds", help="delay in ms where Medium and High begin, or `terciles`")]


@dataclass(frozen=True, kw_only=True)
class KafkaOptions:
    """Where the brokers are, and who asks."""

    kafka: Annotated[
        str | None,
        typer.Option("--kafka", metavar="HOST:PORT", envvar="OFFRAMP_KAFKA", help="brokers, comma between"),
    ] = None
    kafka_config: Annotated[
        Path | None,
        typer.Option(
            "--kafka-config", envvar="OFFRAMP_KAFKA_CONFIG", help="TOML: topic prefix, TLS, user (docs/kafka.md)"
        ),
    ] = None

    def kafka_settings(self) -> KafkaSettings:
        """Return them as clients take them. Raises ConfigError."""
        from offramp.kafka import kafka_settings

        return kafka_settings(self.kafka, self.kafka_config)


@dataclass(frozen=True, kw_only=True)
class PacketOptions:
    """What packets of files and of interfaces are asked alike: whose they are, and who dissects them."""

    link: LinkName = ""
    dissector: DissectorName = "fast"


@dataclass(frozen=True, kw_only=True)
class ListenOptions(PacketOptions):
    """Which interfaces, how, until when, and where their packets are written; 0 for a bound: none.

    count: packets of each interface; user: whom root becomes.
    """

    interfaces: tuple[str, ...]
    bpf: Annotated[str, typer.Option("--filter", help="capture filter, as in man pcap-filter")] = ""
    snaplen: Annotated[int, typer.Option("--snaplen", help="bytes kept of a packet", min=14, max=262_144)] = 262_144
    promiscuous: Annotated[bool, typer.Option("--promisc/--no-promisc", help="also packets for others")] = True
    duration_s: Annotated[
        float, typer.Option("--duration", help="end after this many seconds; 0: never", min=0, max=YEAR_S)
    ] = 0
    count: Annotated[
        int, typer.Option("--count", help="end after this many packets; 0: never", min=0, max=MAX_PACKETS)
    ] = 0
    write: Annotated[Path | None, typer.Option("--write", help="pcapng file, or folder for a ring of them")] = None
    ring_files: Annotated[int, typer.Option("--ring-files", help="files that the ring keeps", min=1, max=100_000)] = (
        RING_FILES
    )
    ring_mb: Annotated[
        int,
        typer.Option("--ring-size", help="megabytes of a file; 0: 100 in a folder, else no end", min=0, max=1_000_000),
    ] = 0
    capture_backend: Annotated[
        str,
        OneOf(("auto", *BACKENDS)),
        typer.Option("--capture-backend", help="how to listen; auto takes the best"),
    ] = "auto"
    user: Annotated[
        str,
        typer.Option(
            "--user", metavar="NAME", help="whom root becomes before a packet; else who called sudo, or nobody"
        ),
    ] = ""
