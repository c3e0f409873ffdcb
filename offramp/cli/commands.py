"""The door: parses the command line, then calls one function of a stage. Heavy imports wait until they are needed."""

from __future__ import annotations

import errno
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from offramp.cli.learning import learning
from offramp.cli.options import (
    DAY_S,
    MOST_PACKETS,
    AsUser,
    Backend,
    Bpf,
    Captures,
    Count,
    DissectorName,
    Duration,
    Format,
    Kafka,
    KafkaConfig,
    Layout,
    LinkName,
    Listening,
    Look,
    Metrics,
    Profile,
    Promisc,
    RefineEvery,
    RefineFolder,
    RingFiles,
    RingSize,
    ServeBy,
    ServedBy,
    SiteFile,
    Snaplen,
    Write,
)
from offramp.errors import OfframpError, ReaderGoneError
from offramp.extras import missing_extra
from offramp.streams import forget_output, standard_streams
from offramp.topics import topics

app = typer.Typer(
    name="offramp",
    help="Watch a link, foresee its congestion, and tell the network what to move before users feel it.\n\n"
    "Start with: offramp replay CAPTURE.pcap",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or input. Data goes to stdout, everything else to stderr.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


LEAST_ADDRESS_SPACE = 1_000 << 20
"""Bytes. With 600 to 900 MiB the numeric libraries crash, or wait for ever; with more Python tells what it lacks."""
FRUGAL = ("-h", "--help", "--version", "follow", "topics")
"""What does with less."""
NO_MEMORY = "not enough memory: give it more (ulimit -v, the service's MemoryMax), or less to do at once"


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"offramp {version('offramp')}")
        raise typer.Exit


@app.callback()
def door(
    _: Annotated[
        bool, typer.Option("--version", help="show the version and exit", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Take what concerns no command."""


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
    from offramp.stream.local.replay import ReplayOptions, run_replay

    run_replay(
        ReplayOptions(
            tuple(files), site, model, form.value, out, pace, strict, every, serve_by.value, refine, refine_every, link
        )
    )


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
    from offramp.cli.listen import ListenOptions
    from offramp.cli.tap import TapOptions, run_tap

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
    from offramp.cli.features import FeatureOptions, run_features

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
    from offramp.cli.edge_iiotset import run_edge

    run_edge(tuple(files), out)


app.add_typer(learning)
app.add_typer(topics, name="topics")


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
    from offramp.cli.listen import ListenOptions
    from offramp.cli.publish import PublishOptions, run_publish
    from offramp.kafka import kafka_settings

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
    from offramp.cli.worker import WorkerOptions, run_worker
    from offramp.kafka import kafka_settings

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
    from offramp.kafka import kafka_settings
    from offramp.stream.refine.service import RefineOptions, run_refine

    run_refine(RefineOptions(kafka_settings(kafka, kafka_config), site, folder, model, every, start, wait))


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
    from offramp.cli.follow import FollowOptions, run_follow
    from offramp.kafka import kafka_settings

    run_follow(FollowOptions(kafka_settings(kafka, kafka_config), topic, start, form.value, count, wait))


@app.command(epilog="Example: offramp kernels")
def kernels(
    processor: Annotated[
        str, typer.Option("--processor", help="native; x86-64-v3, what wheels bring; or another name of LLVM's")
    ] = "native",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="a folder of their own, instead of the cache")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="processes; 0: one a core", min=0, max=1_024)] = 0,
) -> None:
    """Compile all kernels now, on all cores, so that no command has to: once a version and machine."""
    from offramp.kernel_set import run_build

    run_build(processor, out, jobs)


@app.command()
def doctor() -> None:
    """Check this machine: packages, compiled kernels, shipped model, tools and privileges; say how to mend."""
    from offramp.cli.doctor import run_doctor

    raise typer.Exit(run_doctor())


INTERRUPTED = 130
"""What Typer makes of Ctrl-C."""


def main() -> None:
    """Run the command line; every error is one line, an interrupt ends in order."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with standard_streams():
            _heed_address_space()
            app(prog_name="offramp")
    except ReaderGoneError:
        forget_output()
        sys.exit(0)
    except OfframpError as error:
        _end(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        told = missing_extra(error, f"offramp {sys.argv[1]}")
        if told is None:
            raise
        _end(str(told), told.exit_code)
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
    if allowed < LEAST_ADDRESS_SPACE and sys.argv[1:2] and sys.argv[1] not in FRUGAL:
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
