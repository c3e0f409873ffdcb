"""Options of the commands, and what they may be set to, as far as several commands share them or they are long."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DAY_S, YEAR_S = 86_400, 31_536_000
MOST_PACKETS = 10**15
"""More than a port of 1 Tbit/s carries in a week: what is more is a slip."""

Kafka = Annotated[
    str | None,
    typer.Option("--kafka", metavar="HOST:PORT", envvar="OFFRAMP_KAFKA", help="brokers, comma between"),
]
KafkaConfig = Annotated[
    Path | None,
    typer.Option("--kafka-config", envvar="OFFRAMP_KAFKA_CONFIG", help="TOML: topic prefix, TLS, user (docs/kafka.md)"),
]


class Format(StrEnum):
    """How replay writes its data."""

    TABLE = "table"
    JSONL = "jsonl"


class Backend(StrEnum):
    """How tap listens to an interface."""

    AUTO = "auto"
    RING = "ring"
    PCAPY = "pcapy"
    SCAPY = "scapy"


class Profile(StrEnum):
    """Which feature columns are written."""

    FULL = "full"
    STREAM = "stream"


class DissectorName(StrEnum):
    """Which dissector makes the features."""

    FAST = "fast"
    REFERENCE = "reference"
    SCAPY = "scapy"


class Layout(StrEnum):
    """What the files of features look like."""

    TSHARK = "tshark"
    EDGE_IIOTSET = "edge-iiotset"


class ServeBy(StrEnum):
    """What serves the model."""

    COMPILED = "compiled"
    ONNX = "onnx"
    TENSORFLOW = "tensorflow"


class Look(StrEnum):
    """How follow writes messages."""

    PRETTY = "pretty"
    JSONL = "jsonl"


Captures = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="pcap or pcapng, also .gz and .zst, in this order; - is stdin")
]
LinkName = Annotated[str, typer.Option("--link", metavar="NAME", help="all packets are of this link of the site")]
SiteFile = Annotated[Path | None, typer.Option("--site", help="site.toml: links, capacities, paths, nodes, devices")]
ServedBy = Annotated[ServeBy, typer.Option("--serve-by", help="what serves the model; others than compiled: extras")]
RefineFolder = Annotated[
    Path | None, typer.Option("--refine", metavar="DIR", help="refine the model in service; events and models go here")
]
RefineEvery = Annotated[
    int, typer.Option("--refine-every", help="seconds from one challenger to the next", min=5, max=DAY_S)
]

AsUser = Annotated[
    str,
    typer.Option("--user", metavar="NAME", help="whom root becomes before a packet; else who called sudo, or nobody"),
]
Bpf = Annotated[str, typer.Option("--filter", help="capture filter, as in man pcap-filter")]
Snaplen = Annotated[int, typer.Option("--snaplen", help="bytes kept of a packet", min=14, max=262_144)]
Promisc = Annotated[bool, typer.Option("--promisc/--no-promisc", help="also packets for others")]
Duration = Annotated[float, typer.Option("--duration", help="end after this many seconds; 0: never", min=0, max=YEAR_S)]
Count = Annotated[int, typer.Option("--count", help="end after this many packets; 0: never", min=0, max=MOST_PACKETS)]
Write = Annotated[Path | None, typer.Option("--write", help="pcapng file, or folder for a ring of them")]
RingFiles = Annotated[int, typer.Option("--ring-files", help="files that the ring keeps", min=1, max=100_000)]
RingSize = Annotated[
    int,
    typer.Option("--ring-size", help="megabytes of a file; 0: 100 in a folder, else no end", min=0, max=1_000_000),
]
Metrics = Annotated[
    str,
    typer.Option("--metrics", metavar="HOST:PORT", help="serve Prometheus metrics; a port alone: on loopback"),
]
Listening = Annotated[Backend, typer.Option("--backend", help="how to listen; auto takes the best")]
