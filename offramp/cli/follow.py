"""Look into a topic: `offramp follow` prints its messages as they come, checked against their contract."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from offramp.errors import ConfigError, ContractError
from offramp.kafka import KafkaSettings, close_client, kafka_errors, topic_states
from offramp.reach import reach_watched
from offramp.records import open_consumer
from offramp.stream.topics.followed import READING, Followed
from offramp.stream.topics.table import TOPICS
from offramp.toml import shown

POLL_MS = 200
NAMES = tuple(topic.name for topic in TOPICS if topic.name != "state")


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """What `offramp follow` was asked for; count: end after that many, 0: never; wait: for more at the end."""

    settings: KafkaSettings
    topic: str = "decisions"
    start: str = "end"
    form: str = "pretty"
    count: int = 0
    wait: bool = True


def run_follow(options: FollowOptions) -> None:
    """Run `offramp follow`: data to standard output; messages that break their contract are told on standard error."""
    if options.topic not in NAMES:
        raise ConfigError(f"--topic {options.topic}: expected one of {', '.join(NAMES)}")
    start = parse_start(options.start)
    settings = options.settings
    topics = topic_states(settings, "follow", options.topic)
    with kafka_errors(settings, "follow"), reach_watched(settings, "follow", options.topic) as watch:
        consumer = open_consumer(**settings.client_arguments(), **READING)
        try:
            followed = Followed(consumer, watch, topics)
            places = followed.places()
            seek(consumer, places, start)
            ends = None if options.wait else consumer.end_offsets(places)
            for shown, record in enumerate(_records(consumer, followed, ends), start=1):
                _show(record, options)
                if shown == options.count:
                    break
        finally:
            close_client(consumer)


def parse_start(text: str) -> str | int | float:
    """Return `beginning`, `end`, an offset as int, or a time as float ms since the epoch. Raises ConfigError."""
    if text in ("beginning", "end"):
        return text
    if text.isdecimal() and len(text) < 20:  # more digits than an offset has
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"--from {shown(text)}: expected beginning, end, an offset or a time such as 2026-01-31T08:00:00Z"
        ) from error
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1e3


def seek(consumer: Any, places: list[Any], start: str | int | float) -> None:
    """Go to where reading begins, in every partition."""
    if start == "beginning":
        consumer.seek_to_beginning(*places)
    elif start == "end":
        consumer.seek_to_end(*places)
    elif isinstance(start, int):
        ends = consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, min(start, ends[place]))
    else:
        ends = consumer.end_offsets(places)
        found = consumer.offsets_for_times(dict.fromkeys(places, int(float(start))))
        for place in places:
            consumer.seek(place, found[place].offset if found.get(place) else ends[place])


def _records(consumer: Any, followed: Followed, ends: Mapping[Any, int] | None) -> Iterator[Any]:
    while ends is None or any(consumer.position(place) < end for place, end in ends.items()):
        followed.keep_up()
        for records in consumer.poll(POLL_MS).values():
            yield from records


def _show(record: Any, options: FollowOptions) -> None:
    """Print a message in the format asked for, or say on standard error why it cannot be."""
    try:
        line = _line(record, options)
    except Exception as error:  # nothing that a message holds may end who looks at it
        text = str(error) if isinstance(error, ContractError) else f"{type(error).__name__}: {error}"
        line = f"warning: {record.topic}/{record.partition}/{record.offset}: {' '.join(text.split())[:500]}"
        print(_printable(line), file=sys.stderr, flush=True)
        return
    print(_printable(line), flush=True)


def _line(record: Any, options: FollowOptions) -> str:
    """Return a message as a line."""
    told = READERS.get(options.topic, read_json)(record)
    if options.form == "jsonl":
        return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    when = datetime.fromtimestamp(record.timestamp / 1e3, UTC)
    key = (record.key or b"").decode(errors="replace")
    return f"{f'{when:%H:%M:%S.%f}'[:-3]} {record.partition}/{record.offset} {key} {pretty(told)}"


def _printable(line: str) -> str:
    """Return a line in which halves of characters, which JSON may hold, are escaped."""
    return line.encode(errors="backslashreplace").decode()


def read_features(record: Any) -> dict[str, Any]:
    """Return what a feature message tells of itself; its rows are checked, not shown."""
    from offramp.capture.message.decode import decode_message

    message = decode_message(record.key, record.headers or (), record.value)
    assert message is not None  # noqa: S101 - no site was asked for
    told = message.headers
    return {"link": message.link, **{name: getattr(told, name) for name in told.__dataclass_fields__},
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
    told = {
        name: value.decode(errors="replace") if isinstance(value, bytes) else None
        for name, value in record.headers or ()
        if name.startswith("dead_")
    }
    return {**told, "bytes": len(record.value or b"")}


def read_model(record: Any) -> dict[str, Any]:
    """Return what a model's message tells of it, once it was read in full."""
    from offramp.stream.topics.model_message import decode_model

    model = decode_model(record.key, record.headers or (), record.value)
    told = model.artifact.manifest
    return {"site": model.site, "link": model.link, "model": model.artifact.sha, "base": model.base,
            "reason": model.reason, "serves_from": model.serves_from, "name": told["name"],
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


def pretty(told: dict[str, Any]) -> str:
    """Return the members of a message that a reader looks for, in one line."""
    action = told.get("action")
    if isinstance(action, dict) and "phase" in told:
        words = [told["phase"], told["mode"], action["type"], *moved(action), f"({told['reason']['rule']})"]
        return " ".join(words)
    return " ".join(f"{name}={value}" for name, value in told.items() if not isinstance(value, dict))
