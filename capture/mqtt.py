"""MQTT 3.1, 3.1.1 and 5: every message of a segment or of several (OASIS MQTT 5.0, section 2), as tshark tells them."""

from __future__ import annotations

from typing import Any

from capture.application_state import MQTT_VERSION, Applications
from capture.emit import Table, put, put_bytes
from capture.layers import u16
from capture.schema import INDEX
from offramp_kernels import kernel_lean

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
        publish(out, row, buf, in_block, at, stop, end, (int(buf[pos]) >> 1) & 3, apps.kind[slot, MQTT_VERSION])
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
    out: Table, row: int, buf: Any, in_block: bool, at: int, stop: int, end: int, quality: int, version: int
) -> None:
    """Put a PUBLISH's topic and message."""
    at = put_topic(out, row, buf, in_block, at, end)
    if at < 0:
        return
    if quality != 0:
        at += 2
    if version == V5:
        at = properties_end(buf, at, end)
        if at < 0:
            return
    if at <= stop:
        put_bytes(out, row, MESSAGE, buf, in_block, at, stop - at)


@kernel_lean
def topics(out: Table, row: int, buf: Any, in_block: bool, at: int, stop: int, kind: int, version: int) -> None:
    """Put the topics of a SUBSCRIBE or UNSUBSCRIBE."""
    at += 2
    if version == V5:
        at = properties_end(buf, at, stop)
        if at < 0:
            return
    while at < stop:
        at = put_topic(out, row, buf, in_block, at, stop)
        if at < 0:
            return
        if kind == SUBSCRIBE:
            at += 1
