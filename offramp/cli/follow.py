"""`offramp follow`: the messages of a topic as they come, checked against their contract."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from offramp.cli.door import OneOf
from offramp.cli.options import MAX_PACKETS, KafkaOptions, Start, Wait
from offramp.errors import ConfigError, ContractError
from offramp.stream.topics.acl import READABLE


@dataclass(frozen=True, kw_only=True)
class FollowOptions(KafkaOptions):
    """What `offramp follow` was asked for."""

    topic: Annotated[str, typer.Option("--topic", help=", ".join(READABLE))] = "decisions"
    start: Start = "end"
    form: Annotated[
        str,
        OneOf(("pretty", "jsonl")),
        typer.Option("--format", help="a line to read, or JSON lines"),
    ] = "pretty"
    count: Annotated[int, typer.Option("--count", help="end after this many; 0: never", min=0, max=MAX_PACKETS)] = 0
    wait: Wait = True


def follow(options: FollowOptions) -> None:
    """Print what goes over a topic, checked against its contract.

    Example: offramp follow --topic decisions --from beginning --format jsonl
    """
    from offramp.kafka import close_client, kafka_errors, topic_states
    from offramp.reach import reach_watched
    from offramp.records import open_consumer
    from offramp.stream.topics.consume import parse_start, records, seek
    from offramp.stream.topics.followed import READING, Followed

    if options.topic not in READABLE:
        raise ConfigError(f"--topic {options.topic}: expected one of {', '.join(READABLE)}")
    start, settings = parse_start(options.start), options.kafka_settings()
    topics = topic_states(settings, "follow", options.topic)
    with kafka_errors(settings, "follow"), reach_watched(settings, "follow", options.topic) as watch:
        consumer = open_consumer(**settings.client_arguments(), **READING)
        try:
            followed = Followed(consumer, watch, topics)
            places = followed.places()
            seek(consumer, places, start)
            ends = None if options.wait else consumer.end_offsets(places)
            for shown, record in enumerate(records(consumer, ends, followed.keep_up), start=1):
                _show(record, options)
                if shown == options.count:
                    break
        finally:
            close_client(consumer)


def _show(record: Any, options: FollowOptions) -> None:
    """Print a message in the format asked for, or say on standard error why it cannot be."""
    try:
        line = _line(record, options)
    except Exception as error:  # nothing that a message holds may end its reader
        text = str(error) if isinstance(error, ContractError) else f"{type(error).__name__}: {error}"
        line = f"warning: {record.topic}/{record.partition}/{record.offset}: {' '.join(text.split())[:500]}"
        print(_printable(line), file=sys.stderr, flush=True)
        return
    print(_printable(line), flush=True)


def _line(record: Any, options: FollowOptions) -> str:
    """Return a message as a line."""
    event = READERS.get(options.topic, read_json)(record)
    if options.form == "jsonl":
        return json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    when = datetime.fromtimestamp(record.timestamp / 1e3, UTC)
    key = (record.key or b"").decode(errors="replace")
    return f"{f'{when:%H:%M:%S.%f}'[:-3]} {record.partition}/{record.offset} {key} {pretty(event)}"


def _printable(line: str) -> str:
    """Return a line in which halves of characters, which JSON may hold, are escaped."""
    return line.encode(errors="backslashreplace").decode()


def read_features(record: Any) -> dict[str, Any]:
    """Return a summary of a feature message; its rows are checked, not shown."""
    from offramp.capture.message.decode import decode_message
    from offramp.capture.message.mark import decode_mark

    mark = decode_mark(record.headers or (), record.value)
    if mark is not None:
        return {"mark": mark.kind, "site": mark.site, **mark.members}
    message = decode_message(record.key, record.headers or (), record.value)
    assert message is not None  # noqa: S101 - no site was asked for
    headers = message.headers
    return {"link": message.link, **{name: getattr(headers, name) for name in headers.__dataclass_fields__},
            "bytes": len(record.value or b"")}  # fmt: skip


def read_command(record: Any) -> dict[str, Any]:
    """Return a command that keeps its contract."""
    from offramp.decision.command import validate

    body = read_json(record)
    validate(body)
    return body


def read_json(record: Any) -> dict[str, Any]:
    """Return a JSON object."""
    try:
        body = json.loads(record.value or b"")
    except (ValueError, RecursionError) as error:
        raise ContractError(f"is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise ContractError("is no JSON object")
    return body


def read_dead_letter(record: Any) -> dict[str, Any]:
    """Return why a message was refused, and where it was."""
    reasons = {
        name: value.decode(errors="replace") if isinstance(value, bytes) else None
        for name, value in record.headers or ()
        if name.startswith("dead_")
    }
    return {**reasons, "bytes": len(record.value or b"")}


def read_model(record: Any) -> dict[str, Any]:
    """Return a summary of a model's message, once it was read in full."""
    from offramp.stream.topics.model_message import decode_model

    model = decode_model(record.key, record.headers or (), record.value)
    manifest = model.artifact.manifest
    return {"site": model.site, "link": model.link, "model": model.artifact.sha, "base": model.base,
            "reason": model.reason, "serves_from": model.serves_from, "name": manifest["name"],
            "rows": model.rows, "bytes": len(record.value or b"")}  # fmt: skip


READERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "features": read_features,
    "decisions": read_command,
    "dead-letters": read_dead_letter,
    "models": read_model,
}


def moved(action: dict[str, Any]) -> list[str]:
    """Return in words what an action moves, and where to; of several flows the first, and how many more."""
    words = []
    if "device" in action:
        words.append(str(action["device"]))
    flows = action.get("flows") or []
    for flow in flows[:1]:
        near, far = (
            ":".join(str(flow[name]) for name in names if name in flow)
            for names in ((f"ipv4_{side}", f"ipv6_{side}", f"tcp_{side}", f"udp_{side}") for side in ("src", "dst"))
        )
        words.append(f"{near} > {far}")
    if len(flows) > 1:
        words.append(f"and {len(flows) - 1} more")
    if "path" in action or "to" in action:
        words.append(f"to {action.get('path') or action['to']}")
    elif "loop_id" in action:
        words.append(str(action["loop_id"]))
    if "dscp" in action:
        words.append(f"DSCP {action['dscp']}")
    return words


def pretty(event: dict[str, Any]) -> str:
    """Return the members of a message that a reader looks for, in one line."""
    action = event.get("action")
    if isinstance(action, dict) and "phase" in event:
        words = [event["phase"], event["mode"], action["type"], *moved(action), f"({event['reason']['rule']})"]
        return " ".join(words)
    return " ".join(f"{name}={value}" for name, value in event.items() if not isinstance(value, dict))
