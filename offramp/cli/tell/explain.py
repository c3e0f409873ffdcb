"""`offramp explain`: one command in sentences, with the packets behind it."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, TextIO

import typer

from offramp.cli.options import KafkaOptions, Start
from offramp.errors import ConfigError, ContractError, InputError
from offramp.escape import escaped

if TYPE_CHECKING:
    from offramp.decision.explaining.known_commands import Found, KnownCommands
    from offramp.decision.explaining.story import Section
    from offramp.stream.local.evidence import Frames

WIDTH = 110
"""Columns that sentences are broken to; the filter, which is to be copied, is not."""
UNIT = re.compile(r"(?<=\d) (?=%|ms|s\b|[kMG]?bit/s)")
"""The blank between a number and its unit, where no line ends."""


@dataclass(frozen=True, kw_only=True)
class ExplainOptions(KafkaOptions):
    """What `offramp explain` was asked for."""

    decision: Annotated[
        str,
        typer.Argument(
            metavar="DECISION_ID", help="of a command, or the loop_id of its loop; its beginning, where that is enough"
        ),
    ]
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]", help="commands as JSON lines, as replay, tap and follow write them; - is stdin"
        ),
    ] = None
    topic: Annotated[bool, typer.Option("--topic", help="read the commands from the topic on Kafka instead")] = False
    start: Start = "beginning"
    captures: Annotated[
        tuple[str, ...],
        typer.Option(
            "--capture", metavar="FILE", help="name the frames in this capture of the link; may be repeated, - is stdin"
        ),
    ] = ()
    pcap: Annotated[
        Path | None,
        typer.Option("--pcap", metavar="OUT.pcapng", help="write the packets behind it here; needs --capture"),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of sentences")] = False


def explain(options: ExplainOptions) -> None:
    """Tell a command in sentences: what is asked, why, what was not moved and why, what came of it, of which packets.

    Example: offramp replay x.pcap --site site.toml --format jsonl > commands.jsonl;
    offramp explain 94777b5b commands.jsonl --capture x.pcap --pcap behind.pcapng
    """
    from offramp.cli.show.ledger_text import warn
    from offramp.cli.show.output import open_out
    from offramp.decision.explaining.display_filter import display_filter
    from offramp.decision.explaining.known_commands import KnownCommands
    from offramp.decision.explaining.story import headline, story
    from offramp.decision.explaining.subject import subject_of

    if options.pcap is not None and not options.captures:
        raise ConfigError(f"--pcap {options.pcap}: the packets are in a capture; name it with --capture FILE")
    if options.topic and options.file is not None:
        raise ConfigError(f"{options.file}: commands are read from a file or, with --topic, from Kafka; leave one out")
    if not options.topic and options.file in (None, "-") and "-" in options.captures:
        raise ConfigError("--capture -: standard input has the commands; name a file for one of both")
    known = KnownCommands()
    where = from_topic(options, known) if options.topic else from_file(options.file or "-", known)
    found = known.find(options.decision, where)
    try:
        subject = subject_of(found.command, found.loop)
        head, told, shown_as = headline(found), story(found), display_filter(subject)
    except (ValueError, OverflowError) as error:  # the contract lets a 13th month pass, and any number
        text = f"{found.command['decision_id']}: it or its loop has a time or number that cannot be told: {error}"
        raise InputError(text) from error
    frames: list[Frames] = []
    if options.captures:
        from offramp.kernels import announce_compiling
        from offramp.stream.local.evidence import evidence

        announce_compiling()
        frames = evidence(options.captures, subject, options.pcap, warn)
    with ExitStack() as stack:
        out = stack.enter_context(open_out(None))
        if options.as_json:
            body = as_object(found, told, shown_as, frames)
            text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            out.write(escaped(f"{text}\n"))
            return
        out.write(escaped(as_text(head, told)))
        about = "of its flows" if subject.matches else "of its device" if subject.device else "(all of that time)"
        out.write(f"\nWireshark, the packets {about} that it rests on\n  {shown_as}\n")
        for line in frame_lines(frames, options.pcap):
            out.write(escaped(f"  {line}\n"))


def from_file(name: str, known: KnownCommands) -> str:
    """Take the commands of a file of JSON lines; return what to call it. Raises InputError."""
    if name != "-":
        try:
            with Path(name).open("rb") as lines:
                take(lines, name, known)
        except OSError as error:
            raise InputError(
                f"{name}: {error.strerror}; name a file of commands, as --format jsonl writes it"
            ) from error
        return name
    if sys.stdin is None or sys.stdin.isatty():
        raise ConfigError("no commands to read: name a file of them, as --format jsonl writes it, or --topic")
    take(binary(sys.stdin), "standard input", known)
    return "standard input"


def binary(stream: TextIO) -> BinaryIO:
    """Return the bytes of standard input."""
    return stream.buffer


def take(lines: Iterable[bytes], name: str, known: KnownCommands) -> None:
    """Take a command a line. Raises InputError for a line that is none."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            known.add(line)
        except ContractError as error:
            raise InputError(
                f"{name}: line {number}: {error}; expected commands, as --format jsonl writes them"
            ) from error


def from_topic(options: ExplainOptions, known: KnownCommands) -> str:
    """Take the commands of the decision topic up to its present end; return its name. Others are left out, and said."""
    from offramp.cli.show.ledger_text import warn
    from offramp.kafka import close_client, kafka_errors, topic_states
    from offramp.reach import reach_watched
    from offramp.records import open_consumer
    from offramp.stream.topics.consume import parse_start, records, seek
    from offramp.stream.topics.followed import READING, Followed

    start, settings = parse_start(options.start), options.kafka_settings()
    topics = topic_states(settings, "explain", "decisions")
    refused = 0
    with kafka_errors(settings, "explain"), reach_watched(settings, "explain", "decisions") as watch:
        consumer = open_consumer(**settings.client_arguments(), **READING)
        try:
            followed = Followed(consumer, watch, topics)
            places = followed.places()
            seek(consumer, places, start)
            for record in records(consumer, consumer.end_offsets(places), followed.keep_up):
                try:
                    known.add(record.value or b"")
                except ContractError:
                    refused += 1
        finally:
            close_client(consumer)
    name = settings.topic("decisions")
    if refused:
        warn(f"{name}: {refused:,} messages are no commands, and are left out (offramp follow shows them)")
    return name


def as_object(found: Found, told: Iterable[Section], shown_as: str, frames: Iterable[Frames]) -> Mapping[str, Any]:
    """Return what there is to tell as plain values."""
    return {
        "command": found.command,
        "loop": list(found.loop),
        "told": [{"title": section.title, "lines": [line.strip() for line in section.lines]} for section in told],
        "filter": shown_as,
        "frames": [each._asdict() for each in frames],
    }


def as_text(head: str, told: Iterable[Section]) -> str:
    """Return sentences under their titles."""
    lines = [head]
    for section in told:
        lines += ["", section.title]
        for line in section.lines:
            indent = " " * (len(line) - len(line.lstrip()) + 2)
            kept = UNIT.sub("\0", line.strip())
            lines += textwrap.wrap(
                kept, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_long_words=False,
                break_on_hyphens=False,
            )  # fmt: skip
    return "\n".join(lines).replace("\0", " ") + "\n"


def frame_lines(frames: Iterable[Frames], pcap: Path | None) -> list[str]:
    """Return which frames they are, a line a capture, and where they were written."""
    lines, packets = [], 0
    for each in frames:
        packets += each.packets
        of = f"of {each.of_packets:,} packets and {each.of_size:,} bytes of that time"
        if each.packets:
            some = f"frames {each.first} to {each.last}" if each.packets > 1 else f"frame {each.first}"
            lines.append(f"{each.file}: {some}, {each.packets:,} packets, {each.size:,} bytes {of}")
        else:
            lines.append(f"{each.file}: none {of}")
    if pcap is not None:
        lines.append(f"written to {pcap}" if packets else f"{pcap} is not written: there are no packets")
    return lines
