"""MQTT 3.1, 3.1.1 and 5 (OASIS MQTT 5.0, section 2): every message, within a segment or over several, as in tshark."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.conversation.state import MQTT_VERSION, Applications
from offramp.capture.dissect.packet.cursor import u16
from offramp.capture.dissect.packet.notes import NOTE_STEPS
from offramp.capture.dissect.packet.table import TEXT, Table, copy_text, put, put_bytes, put_text, row_full
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_lean

HEADER, MESSAGE_TYPE, LENGTH = INDEX["mqtt.hdrflags"], INDEX["mqtt.msgtype"], INDEX["mqtt.len"]
PROTOCOL_LENGTH, PROTOCOL_NAME, VERSION = INDEX["mqtt.proto_len"], INDEX["mqtt.protoname"], INDEX["mqtt.ver"]
CONNECT_FLAGS, CLEAN, CONNACK_FLAGS = (
    INDEX["mqtt.conflags"],
    INDEX["mqtt.conflag.cleansess"],
    INDEX["mqtt.conack.flags"],
)
TOPIC_LENGTH, TOPIC, MESSAGE = INDEX["mqtt.topic_len"], INDEX["mqtt.topic"], INDEX["mqtt.msg"]

CONNECT, CONNACK, PUBLISH, SUBSCRIBE, UNSUBSCRIBE = 1, 2, 3, 8, 10
V31, V5 = 3, 5
ALIAS, SUBSCRIPTION, USER_PROPERTY = 0x23, 0x0B, 0x26  # properties, and by the size of their values:
ONE_BYTE = b"\x01\x17\x19\x24\x25\x28\x29\x2a"
TWO_BYTES = b"\x13\x21\x22"
FOUR_BYTES = b"\x02\x11\x18\x27"
STRINGS = b"\x03\x08\x09\x12\x15\x16\x1a\x1c\x1f"


@kernel_lean
def variable_length(buf: Any, pos: int, end: int) -> Any:
    """Return the value of a variable byte integer and its size: 0 where cut, -1 where malformed.

    MQTT allows four bytes; tshark reads on up to ten, and so does this, but for values that no message can have.
    """
    value = 0
    for size in range(1, 11):
        if pos + size > end:
            return 0, 0
        byte = int(buf[pos + size - 1])
        if size < 9:
            value |= (byte & 0x7F) << (7 * (size - 1))
        if byte < 0x80:
            return value, size
    return 0, -1


@kernel_lean
def mqtt_message(
    out: Table, apps: Applications, row: int, buf: Any, in_block: bool, pos: int, end: int, slot: int
) -> None:
    """Put the fields of the message that stands in buf[pos:end], as far as it goes."""
    kind = int(buf[pos]) >> 4
    length, size = variable_length(buf, pos + 1, end)
    out.notes[NOTE_STEPS] += 2 + size
    put(out, row, HEADER, int(buf[pos]))
    put(out, row, MESSAGE_TYPE, kind)
    if size <= 0:
        return
    put(out, row, LENGTH, length)
    at = pos + 1 + size
    stop = min(end, at + length)
    if kind == CONNECT:
        connect(out, apps, row, buf, in_block, at, end, slot)
    elif kind == CONNACK:
        if at < stop and apps.kind[slot, MQTT_VERSION] != V31:
            put(out, row, CONNACK_FLAGS, int(buf[at]))
    elif kind == PUBLISH:
        publish(out, apps, row, buf, in_block, at, at + length, end, (int(buf[pos]) >> 1) & 3, slot)
    elif kind in (SUBSCRIBE, UNSUBSCRIBE):
        topics(out, row, buf, in_block, at, stop, kind, apps.kind[slot, MQTT_VERSION])


@kernel_lean
def connect(out: Table, apps: Applications, row: int, buf: Any, in_block: bool, at: int, end: int, slot: int) -> None:
    """Put a CONNECT's protocol name, version and flags, and keep the version for the conversation."""
    if at + 2 > end:
        return
    length = u16(buf, at)
    put(out, row, PROTOCOL_LENGTH, length)
    at += 2
    if at + length > end:
        return
    put_bytes(out, row, PROTOCOL_NAME, buf, in_block, at, length)
    at += length
    if at >= end:
        return
    apps.kind[slot, MQTT_VERSION] = int(buf[at])
    put(out, row, VERSION, int(buf[at]))
    if at + 1 >= end:
        return
    put(out, row, CONNECT_FLAGS, int(buf[at + 1]))
    put(out, row, CLEAN, (int(buf[at + 1]) >> 1) & 1)


@kernel_lean
def put_topic(out: Table, row: int, buf: Any, in_block: bool, at: int, end: int) -> Any:
    """Put a topic and its length; return where it ends, or -1 where the bytes end before."""
    if at + 2 > end:
        return -1
    length = u16(buf, at)
    put(out, row, TOPIC_LENGTH, length)
    if at + 2 + length > end:
        return -1
    if length:
        put_bytes(out, row, TOPIC, buf, in_block, at + 2, length)
    return at + 2 + length


@kernel_lean
def properties_end(buf: Any, at: int, end: int) -> Any:
    """Return where the properties of an MQTT 5 message end, or -1 where the bytes end before."""
    length, size = variable_length(buf, at, end)
    if size <= 0 or at + size + length > end:
        return -1
    return at + size + length


@kernel_lean
def publish(
    out: Table, apps: Applications, row: int, buf: Any, in_block: bool, at: int, stop: int, end: int, quality: int,
    slot: int,
) -> None:  # fmt: skip
    """Put a PUBLISH's topic, also where an alias stands for it, and its message."""
    topic = at + 2
    at = put_topic(out, row, buf, in_block, at, end)
    if at < 0:
        return
    size = at - topic
    if quality != 0:
        at += 2
    if apps.kind[slot, MQTT_VERSION] == V5:
        properties = at
        at = properties_end(buf, at, end)
        if at < 0:
            return
        alias = topic_alias(out.notes, buf, properties, at)
        if alias != 0 and size == 0:
            put_alias(out, apps, row, slot, alias)
        elif alias != 0:
            keep_alias(apps, buf, topic, size, slot, alias)
    if at <= stop <= end:
        put_bytes(out, row, MESSAGE, buf, in_block, at, stop - at)


@kernel_lean
def topic_alias(notes: Any, buf: Any, at: int, end: int) -> Any:
    """Return the topic alias among the properties in buf[at:end] (MQTT 5.0, section 2.2.2), 0 where there is none."""
    _, size = variable_length(buf, at, end)
    at += size
    alias = 0
    while at < end:
        notes[NOTE_STEPS] += 1 + len(ONE_BYTE) + len(TWO_BYTES) + len(FOUR_BYTES) + len(STRINGS)
        kind = int(buf[at])
        at += 1
        if kind == ALIAS:
            alias = u16(buf, at) if at + 2 <= end else 0
            at += 2
        elif among(kind, ONE_BYTE):
            at += 1
        elif among(kind, TWO_BYTES):
            at += 2
        elif among(kind, FOUR_BYTES):
            at += 4
        elif kind == SUBSCRIPTION:
            _, size = variable_length(buf, at, end)
            if size <= 0:
                break
            at += size
        elif among(kind, STRINGS) or kind == USER_PROPERTY:
            for _ in range(2 if kind == USER_PROPERTY else 1):
                if at + 2 <= end:
                    at += u16(buf, at)
                at += 2
        else:
            break
    return alias


@kernel_lean
def among(kind: int, kinds: bytes) -> bool:
    """Return whether a property is one of `kinds`."""
    for at in range(len(kinds)):  # noqa: SIM110 - kernels know no generators
        if kinds[at] == kind:
            return True
    return False


@kernel_lean
def alias_place(apps: Applications, slot: int, alias: int) -> Any:
    """Return the key of a conversation's alias, never 0, and its place in the table of aliases."""
    key = ((slot & 0xFFFFF) << 43) | ((apps.generation[slot] & 0x7FFFFFF) << 16) | alias
    return key, ((key * 0x9E3779B97F4A7C1) >> 20) % apps.alias.shape[0]


@kernel_lean
def keep_alias(apps: Applications, buf: Any, topic: int, size: int, slot: int, alias: int) -> None:
    """Remember which topic an alias stands for; long ones are cut, old ones overwritten."""
    key, place = alias_place(apps, slot, alias)
    size = min(size, apps.alias_text.shape[1])
    apps.alias[place, 0] = key
    apps.alias[place, 1] = size
    for step in range(size):
        apps.alias_text[place, step] = buf[topic + step]


@kernel_lean
def put_alias(out: Table, apps: Applications, row: int, slot: int, alias: int) -> None:
    """Put the topic that an alias stands for, empty where that is not known."""
    key, place = alias_place(apps, slot, alias)
    size = apps.alias[place, 1] if apps.alias[place, 0] == key else 0
    out.notes[NOTE_STEPS] += size >> 3
    copy_text(out, out.cursor[TEXT], apps.alias_text[place], 0, size)
    put_text(out, row, TOPIC, size, 0)


@kernel_lean
def topics(out: Table, row: int, buf: Any, in_block: bool, at: int, stop: int, kind: int, version: int) -> None:
    """Put the topics of a SUBSCRIBE or UNSUBSCRIBE."""
    at += 2
    if version == V5:
        at = properties_end(buf, at, stop)
        if at < 0:
            return
    while at < stop and not row_full(out):
        out.notes[NOTE_STEPS] += 1
        at = put_topic(out, row, buf, in_block, at, stop)
        if at < 0:
            return
        if kind == SUBSCRIBE:
            at += 1
