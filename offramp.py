"""The door: parses the command line, then calls one function of a stage. Heavy imports wait until they are needed."""

from __future__ import annotations

import errno
import os
import resource
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from offramp_errors import OfframpError, ReaderGoneError
from offramp_learning import learning
from offramp_options import DAY_S, MOST_PACKETS, YEAR_S, Kafka, KafkaConfig
from offramp_streams import forget_output, standard_streams

app = typer.Typer(
    name="offramp",
    help="Watch a link, foresee its congestion, and tell the network what to move before users feel it.\n\n"
    "Start with: offramp replay CAPTURE.pcap",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or input. Data goes to stdout, everything else to stderr.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


LEAST_ADDRESS_SPACE = 1_000 << 20
"""Bytes. With 600 to 900 MiB the numeric libraries crash, or wait for ever; with more Python tells what it lacks."""
NO_MEMORY = "not enough memory: give it more (ulimit -v, the service's MemoryMax), or less to do at once"


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
    TENSORFLOW_XLA = "tensorflow-xla"
    LITERT = "litert"
    JAX = "jax"
    TORCH = "torch"


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


@app.command(epilog="Example: offramp replay samples/demo.pcap.zst --site samples/site.toml")
def replay(
    files: Captures,
    site: SiteFile = None,
    model: Annotated[Path | None, typer.Option("--model", help="artifact folder; the shipped model otherwise")] = None,
    form: Annotated[Format, typer.Option("--format", help="a table to read, or commands as JSON lines")] = Format.TABLE,
    out: Annotated[Path | None, typer.Option("--out", help="write the data here instead of standard output")] = None,
    pace: Annotated[str, typer.Option("--pace", help="max, realtime, or N times as fast, such as 10x")] = "max",
    strict: Annotated[bool, typer.Option("--strict", help="damage in a capture ends with exit code 1")] = False,
    every: Annotated[
        float, typer.Option("--every", help="seconds of capture time per line of the table", min=0.01, max=DAY_S)
    ] = 1,
    serve_by: ServedBy = ServeBy.COMPILED,
    refine: RefineFolder = None,
    refine_every: RefineEvery = 60,
    link: LinkName = "",
) -> None:
    """Replay captures through the whole pipeline: link state, forecasts, decisions, ledger."""
    from stream.replay import ReplayOptions, run_replay

    run_replay(
        ReplayOptions(
            tuple(files), site, model, form.value, out, pace, strict, every, serve_by.value, refine, refine_every, link
        )
    )


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


@app.command(epilog="Example: offramp tap eth0 --site site.toml")
def tap(
    interfaces: Annotated[
        list[str], typer.Argument(metavar="IFACE...", help="interfaces to watch, each a link; any: all of them")
    ],
    bpf: Bpf = "",
    snaplen: Snaplen = 262_144,
    promisc: Promisc = True,
    duration: Duration = 0,
    count: Count = 0,
    write: Write = None,
    ring_files: RingFiles = 10,
    ring_size: RingSize = 0,
    site: SiteFile = None,
    model: Annotated[Path | None, typer.Option("--model", help="artifact folder; the shipped model otherwise")] = None,
    form: Annotated[Format, typer.Option("--format", help="a table to read, or commands as JSON lines")] = Format.TABLE,
    out: Annotated[Path | None, typer.Option("--out", help="write the data here instead of standard output")] = None,
    backend: Listening = Backend.AUTO,
    every: Annotated[float, typer.Option("--every", help="seconds per line of the table", min=0.01, max=DAY_S)] = 1,
    metrics: Metrics = "",
    refine: RefineFolder = None,
    refine_every: RefineEvery = 60,
    link: LinkName = "",
    user: AsUser = "",
) -> None:
    """Watch live interfaces: link state, forecasts, decisions; the ledger at the end."""
    from stream.listen import ListenOptions
    from stream.tap import TapOptions, run_tap

    listen = ListenOptions(
        tuple(interfaces), bpf, snaplen, promisc, duration, count, write, ring_files, ring_size, backend.value, link,
        user,
    )  # fmt: skip
    run_tap(TapOptions(listen, site, model, form.value, out, every, metrics, refine, refine_every))


@app.command(epilog="Example: offramp features capture.pcap -o features.csv")
def features(
    files: Captures,
    out: Annotated[Path, typer.Option("--out", "-o", help="where to write: .csv or .parquet")],
    profile: Annotated[
        Profile, typer.Option("--profile", help="full: payload and text too; stream: none")
    ] = Profile.FULL,
    dissector: Annotated[
        DissectorName, typer.Option("--dissector", help="fast; reference: tshark through pyshark; scapy: headers only")
    ] = DissectorName.FAST,
    layout: Annotated[
        Layout, typer.Option("--layout", help="CSV as tshark prints it, or as in Edge-IIoTset's own files")
    ] = Layout.TSHARK,
    label: Annotated[
        str | None,
        typer.Option("--label", help="with --layout edge-iiotset: Attack_type of all rows (Normal otherwise)"),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="damage in a capture ends with exit code 1")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="in CSV: control characters as on the wire, as tshark writes them")
    ] = False,
) -> None:
    """Write one row a packet with Edge-IIoTset's 61 columns, as tshark prints them, and the stream's own."""
    from stream.features import FeatureOptions, run_features

    options = FeatureOptions(tuple(files), out, profile.value, strict, dissector.value, layout.value, label, raw)
    run_features(options)


@app.command(epilog="Example: offramp edge DNN-EdgeIIoT-dataset.csv -o edge.parquet")
def edge(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Edge-IIoTset's CSV files: per attack, or merged")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="where to write: .parquet")],
) -> None:
    """Read Edge-IIoTset's own CSV files, repair their shifted rows, and write one table with real types."""
    from stream.edge_files import run_edge

    run_edge(tuple(files), out)


app.add_typer(learning)

topics_app = typer.Typer(no_args_is_help=True, help="The topics on Kafka.")
app.add_typer(topics_app, name="topics")


@topics_app.command("create", epilog="Example: offramp topics create --kafka 127.0.0.1:9092")
def topics_create(
    kafka: Kafka = None,
    kafka_config: KafkaConfig = None,
    partitions: Annotated[
        int, typer.Option("--partitions", help="of each topic: the most workers", min=1, max=10_000)
    ] = 8,
    replicas: Annotated[int, typer.Option("--replicas", help="copies of each partition", min=1, max=100)] = 1,
) -> None:
    """Make the topics that are missing, with their retention and compaction."""
    from offramp_kafka import kafka_settings
    from stream.topics import run_topics_create

    run_topics_create(kafka_settings(kafka, kafka_config), partitions, replicas)


@topics_app.command("acl", epilog="Example: offramp topics acl --site lab --principal agent=User:tap --commands")
def topics_acl(
    kafka: Kafka = None,
    kafka_config: KafkaConfig = None,
    site: Annotated[str, typer.Option("--site", metavar="NAME", help="the site's name")] = "site",
    controller: Annotated[str, typer.Option("--controller", metavar="NAME", help="the controller's name")] = "mine",
    principal: Annotated[
        list[str] | None, typer.Option("--principal", metavar="ROLE=PRINCIPAL", help="who has a role; may be repeated")
    ] = None,
    commands: Annotated[bool, typer.Option("--commands", help="as commands of kafka-acls.sh, not as a table")] = False,
) -> None:
    """Print the least rights on Kafka of each role: agent, worker, controller, refiner, federator, follower, admin."""
    from offramp_kafka import kafka_settings
    from stream.acl import AclOptions, parse_principals, run_topics_acl

    settings = kafka_settings(kafka or "HOST:9092", kafka_config)
    told = AclOptions(settings.prefix, site, controller, parse_principals(principal or []), settings.shown, commands)
    run_topics_acl(told)


@app.command(
    epilog="Examples: offramp publish capture.pcap --site site.toml --kafka 127.0.0.1:9092; "
    "offramp publish --interface eth0 --site site.toml"
)
def publish(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE...]", help="captures, as replay takes them")
    ] = None,
    interface: Annotated[
        list[str] | None,
        typer.Option("--interface", "-i", metavar="IFACE", help="publish a live interface, again for more"),
    ] = None,
    kafka: Kafka = None,
    kafka_config: KafkaConfig = None,
    site: SiteFile = None,
    agent: Annotated[str, typer.Option("--agent", help="name of this agent; the host's otherwise")] = "",
    epoch: Annotated[
        str, typer.Option("--epoch", help="a number, or `new`; the same files have the same otherwise")
    ] = "",
    pace: Annotated[str, typer.Option("--pace", help="max, realtime, or N times as fast, such as 10x")] = "max",
    spool: Annotated[Path | None, typer.Option("--spool", help="folder to write to while the broker is away")] = None,
    spool_size: Annotated[
        int, typer.Option("--spool-size", help="megabytes of the spool", min=1, max=100_000_000)
    ] = 1024,
    strict: Annotated[bool, typer.Option("--strict", help="damage in a capture ends with exit code 1")] = False,
    bpf: Bpf = "",
    snaplen: Snaplen = 262_144,
    promisc: Promisc = True,
    duration: Duration = 0,
    count: Count = 0,
    write: Write = None,
    ring_files: RingFiles = 10,
    ring_size: RingSize = 0,
    backend: Listening = Backend.AUTO,
    message_every: Annotated[
        int,
        typer.Option(
            "--message-every", metavar="MS", help="of a live link: longer is cheaper, and later", min=10, max=10_000
        ),
    ] = 10,
    metrics: Metrics = "",
    link: LinkName = "",
    user: AsUser = "",
) -> None:
    """Publish captures, or a live interface, as feature batches to Kafka for workers; the ledger at the end."""
    from offramp_kafka import kafka_settings
    from stream.listen import ListenOptions
    from stream.publish import PublishOptions, run_publish

    settings = kafka_settings(kafka, kafka_config)
    listen = ListenOptions(
        tuple(interface or ()), bpf, snaplen, promisc, duration, count, write, ring_files, ring_size, backend.value,
        link if interface else "", user,
    )  # fmt: skip
    run_publish(
        PublishOptions(
            tuple(files or ()), settings, site, agent, epoch, pace, spool, spool_size << 20, strict,
            None if listen == ListenOptions(()) else listen, metrics, message_every, link,
        )
    )  # fmt: skip


@app.command(epilog="Example: offramp worker --site site.toml --kafka 127.0.0.1:9092")
def worker(
    kafka: Kafka = None,
    kafka_config: KafkaConfig = None,
    site: SiteFile = None,
    model: Annotated[Path | None, typer.Option("--model", help="artifact folder; the shipped model otherwise")] = None,
    group: Annotated[str, typer.Option("--group", help="its workers share the links; PREFIX-SITE otherwise")] = "",
    forecasts: Annotated[bool, typer.Option("--forecasts/--no-forecasts", help="publish forecasts too")] = True,
    checkpoint: Annotated[
        float, typer.Option("--checkpoint", help="seconds between checkpoints", min=0.05, max=3_600)
    ] = 5.0,
    session: Annotated[
        float, typer.Option("--session", help="seconds of silence until others take its links", min=1, max=600)
    ] = 10.0,
    max_age: Annotated[
        float,
        typer.Option(
            "--max-age", help="seconds; older live messages are shed under overload; 0: never", min=0, max=3_600
        ),
    ] = 1.0,
    stall: Annotated[
        float,
        typer.Option(
            "--stall", help="seconds that messages may wait in vain before it ends; 0: for ever", min=0, max=DAY_S
        ),
    ] = 30.0,
    metrics: Metrics = "",
    serve_by: ServedBy = ServeBy.COMPILED,
) -> None:
    """Decide on published features: a worker, of as many as wanted, until Ctrl-C; the ledger at the end."""
    from offramp_kafka import kafka_settings
    from stream.worker import WorkerOptions, run_worker

    settings = kafka_settings(kafka, kafka_config)
    waits = (checkpoint, session, max_age, stall)
    run_worker(WorkerOptions(settings, site, model, group, forecasts, *waits, metrics, serve_by.value))


@app.command(epilog="Example: offramp refine refined --site site.toml --kafka 127.0.0.1:9092")
def refine(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="events and models of each link go here")],
    site: Annotated[Path, typer.Option("--site", help="site.toml: whose links are refined")],
    kafka: Kafka = None,
    kafka_config: KafkaConfig = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="artifact that service begins with; the shipped model otherwise")
    ] = None,
    every: Annotated[
        int, typer.Option("--every", help="seconds from one challenger to the next", min=5, max=DAY_S)
    ] = 60,
    start: Annotated[str, typer.Option("--from", help="beginning, end, an offset, or a time")] = "end",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="at the end of the topic wait for more")] = True,
) -> None:
    """Refine the model of each link from published features, beside the workers; each champion goes to `models`."""
    from offramp_kafka import kafka_settings
    from stream.refine_service import RefineOptions, run_refine

    run_refine(RefineOptions(kafka_settings(kafka, kafka_config), site, folder, model, every, start, wait))


class Look(StrEnum):
    """How follow writes messages."""

    PRETTY = "pretty"
    JSONL = "jsonl"


@app.command(epilog="Example: offramp follow --topic decisions --from beginning --format jsonl")
def follow(
    kafka: Kafka = None,
    kafka_config: KafkaConfig = None,
    topic: Annotated[
        str, typer.Option("--topic", help="features, forecasts, acks, models, dead-letters")
    ] = "decisions",
    start: Annotated[str, typer.Option("--from", help="beginning, end, an offset, or a time")] = "end",
    form: Annotated[Look, typer.Option("--format", help="a line to read, or JSON lines")] = Look.PRETTY,
    count: Annotated[int, typer.Option("--count", help="end after this many; 0: never", min=0, max=MOST_PACKETS)] = 0,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="at the end of the topic wait for more")] = True,
) -> None:
    """Print what goes over a topic, checked against its contract."""
    from offramp_kafka import kafka_settings
    from stream.follow import FollowOptions, run_follow

    run_follow(FollowOptions(kafka_settings(kafka, kafka_config), topic, start, form.value, count, wait))


@app.command()
def doctor() -> None:
    """Check this machine: packages, compiled kernels, shipped model, tools and privileges; say how to mend."""
    from stream.doctor import run_doctor

    raise typer.Exit(run_doctor())


INTERRUPTED = 130
"""What Typer makes of Ctrl-C."""


def main() -> None:
    """Run the command line; every error is one line, an interrupt ends in order."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with standard_streams():
            _heed_address_space()
            app()
    except ReaderGoneError:
        forget_output()
        sys.exit(0)
    except OfframpError as error:
        _end(str(error), error.exit_code)
    except (SystemExit, KeyboardInterrupt) as ended:
        if isinstance(ended, SystemExit) and ended.code != INTERRUPTED:
            raise
        with suppress(OfframpError, OSError):
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)  # a thread that waits for standard input lets the interpreter not end in order
    except MemoryError:
        _end(NO_MEMORY, 1)
    except OSError as error:  # of the machine: a full disk, no memory, no file left to open
        where = f"{error.filename}: " if error.filename else ""
        _end(NO_MEMORY if error.errno == errno.ENOMEM else f"{where}{error.strerror or error}", 1)


def _heed_address_space() -> None:
    """Raise OfframpError where the command's libraries would crash, or wait for ever, for want of address space."""
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    if allowed == resource.RLIM_INFINITY:
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # it waits for ever where a thread's buffer has no room
    if allowed < LEAST_ADDRESS_SPACE and sys.argv[1:2] not in ([], ["-h"], ["--help"], ["follow"], ["topics"]):
        raise OfframpError(
            f"{allowed >> 20} MiB of address space are too few; allow {LEAST_ADDRESS_SPACE >> 20} (ulimit -v)"
        )


def _end(text: str, exit_code: int) -> NoReturn:
    """End with a line on standard error."""
    forget_output()
    print(f"offramp: {text}", file=sys.stderr)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
