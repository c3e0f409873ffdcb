"""Bytes of a TCP stream: detect their protocol, and dissect their messages one after another.

Ports are tshark's defaults; on other ports, bytes that look like HTTP are HTTP, as in tshark.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from offramp.capture.dissect.application.dns import dns_message
from offramp.capture.dissect.application.http.head import begins, find_line
from offramp.capture.dissect.application.http.message import CONNECT_METHOD, SPEAKS_HTTP, TUNNEL_TAKEN, http_message
from offramp.capture.dissect.application.modbus import PREFIX, is_modbus, modbus_message
from offramp.capture.dissect.application.mqtt import mqtt_message, variable_length
from offramp.capture.dissect.application.socks import socks_open
from offramp.capture.dissect.conversation.ports import HTTP, MODBUS, MQTT, NONE, OTHER, SOCKS
from offramp.capture.dissect.conversation.reassembly import ABORT, BYTES, COMPLETE, SEGMENT
from offramp.capture.dissect.conversation.state import (
    HTTP_METHOD,
    HTTP_PORT,
    HTTP_SEEN,
    HTTP_STATE,
    HTTP_STATUS,
    PROTOCOL,
    SERVER_PORT,
    SOCKS_PORT,
    Applications,
)
from offramp.capture.dissect.packet.cursor import u16
from offramp.capture.dissect.packet.notes import NOTE_STEPS
from offramp.capture.dissect.packet.table import Table, row_full
from offramp.kernels import kernel_lean

TLS = 443
TLS_HEAD = 5  # bytes without which tshark does not tell whether a stream is TLS
SLASH_ONE = b"http/1."


@kernel_lean
def stream(
    out: Table, apps: Applications, row: int, buf: Any, in_block: bool, pos: int, end: int, can_wait: bool, fin: bool,
    source: int, target: int, slot: int, number: int, time_ns: int, in_error: bool,
) -> Any:  # fmt: skip
    """Dissect bytes of a TCP stream: by the protocol found for it, by its ports, by what it looks like.

    Return where the first incomplete message starts, what it waits for, and how much.
    """
    kind = apps.kind
    low, high = min(source, target), max(source, target)
    tls = low == TLS or high == TLS
    protocol = kind[slot, PROTOCOL]
    if protocol == NONE:
        protocol = protocol_named(apps, buf, pos, end, kind[slot, SERVER_PORT], low, high)
        if protocol == SOCKS:
            if not socks_open(apps, slot, buf, pos, end, apps.ports[0, target] == SOCKS):
                return end, COMPLETE, 0
            tls = kind[slot, SOCKS_PORT] == TLS
            protocol = protocol_named(apps, buf, pos, end, kind[slot, SOCKS_PORT], 0, 0)
        if protocol == NONE:
            if can_wait and tls and end - pos < TLS_HEAD and 32 <= buf[pos] <= 126:
                return pos, SEGMENT, 0
            out.notes[NOTE_STEPS] += (end - pos) >> 3
            if not looks_like_http(buf, pos, end):
                return end, COMPLETE, 0
            protocol = HTTP
            kind[slot, PROTOCOL] = HTTP
    first = False
    if protocol == HTTP and tunnelled(apps, slot):
        named = kind[slot, HTTP_PORT]
        if kind[slot, HTTP_STATE] != SPEAKS_HTTP or named < 0 or apps.ports[0, named] == HTTP:
            return end, COMPLETE, 0
        tls = named == TLS
        protocol = protocol_named(apps, buf, pos, end, named, 0, 0)
        if protocol == NONE and can_wait and tls and end - pos < TLS_HEAD:
            return pos, SEGMENT, 0
        first = protocol == NONE and looks_like_http(buf, pos, end)
        if first:
            protocol = HTTP
    if protocol in (NONE, OTHER, SOCKS):
        return end, COMPLETE, 0
    kept, mode, need = messages(
        out, apps, row, buf, in_block, pos, end, can_wait, fin, protocol, slot, tls, number, time_ns, in_error
    )
    if first:
        kind[slot, HTTP_STATE] = TUNNEL_TAKEN
    return kept, mode, need


@kernel_lean
def tunnelled(apps: Applications, slot: int) -> bool:
    """Return whether an HTTP conversation became a proxy's tunnel."""
    kind = apps.kind
    if kind[slot, HTTP_STATE] == TUNNEL_TAKEN:
        return True
    asked = kind[slot, HTTP_METHOD] == CONNECT_METHOD and kind[slot, HTTP_SEEN] != 0
    return bool(asked and kind[slot, HTTP_STATUS] == 200)


@kernel_lean
def protocol_named(apps: Applications, buf: Any, pos: int, end: int, server: int, low: int, high: int) -> Any:
    """Return the protocol that the first of three TCP ports names, unless the bytes do not look like it."""
    for step in range(3):
        protocol = apps.ports[0, server if step == 0 else low if step == 1 else high]
        if protocol != NONE and (protocol != MODBUS or is_modbus(buf, pos, end)):
            return np.int64(protocol)
    return np.int64(NONE)


@kernel_lean
def looks_like_http(buf: Any, pos: int, end: int) -> bool:
    """Return whether the first line begins or ends with HTTP/1.x (tshark's heuristic)."""
    if buf[pos] < 32 or buf[pos] > 126:
        return False
    stop, _ = find_line(buf, pos, end, True)
    size = stop - pos
    if stop < 0 or size == 8:
        return False
    return begins(buf, pos, end, SLASH_ONE) or (size > 8 and begins(buf, stop - 8, stop, SLASH_ONE))


@kernel_lean
def messages(
    out: Table, apps: Applications, row: int, buf: Any, in_block: bool, pos: int, end: int, can_wait: bool, fin: bool,
    protocol: int, slot: int, tls: bool, number: int, time_ns: int, in_error: bool,
) -> Any:  # fmt: skip
    """Dissect the messages of buf[pos:end]; return where the first incomplete one starts, and what it waits for."""
    mode, need = COMPLETE, 0
    while pos < end and mode == COMPLETE:
        if row_full(out):
            return end, ABORT, 0
        out.notes[NOTE_STEPS] += 1
        if protocol == HTTP:
            pos, mode, need = http_message(out, apps, apps.head, row, buf, in_block, pos, end, can_wait, fin, slot, tls)
            continue
        size = message_size(buf, pos, end, protocol)
        if size < 0 or (size == 0 and not can_wait):
            return end, ABORT, 0
        if size == 0:
            return pos, SEGMENT, 0
        if can_wait and pos + size > end:
            return pos, BYTES, pos + size - end
        stop = min(end, pos + size)
        if protocol == MQTT:
            mqtt_message(out, apps, row, buf, in_block, pos, stop, slot)
        elif protocol == MODBUS:
            modbus_message(out, row, buf, pos, stop)
        elif stop - pos > 2:
            dns_message(out, apps, row, buf, pos + 2, stop, False, slot, number, time_ns, in_error)
        pos += size
    return pos, mode, need


@kernel_lean
def message_size(buf: Any, pos: int, end: int, protocol: int) -> Any:
    """Return the bytes of a message by its own length field: 0 where that is cut, -1 where it is malformed."""
    left = end - pos
    if protocol == MQTT:
        if left < 2:
            return 0
        length, size = variable_length(buf, pos + 1, end)
        return -1 if size <= 0 else 1 + size + length
    if protocol == MODBUS:
        return 0 if left < PREFIX else PREFIX + u16(buf, pos + 4)
    return 0 if left < 2 else 2 + u16(buf, pos)
