"""Modbus/TCP (Modbus Messaging on TCP/IP 1.0b, section 3.1.3): the header of every message, as in tshark."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.packet.cursor import u16
from offramp.capture.dissect.packet.table import Table, put
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_lean

TRANSACTION, LENGTH, UNIT = INDEX["mbtcp.trans_id"], INDEX["mbtcp.len"], INDEX["mbtcp.unit_id"]
PREFIX = 6  # transaction, protocol, length
EXCEPTION = 0x80


@kernel_lean
def is_modbus(buf: Any, pos: int, end: int) -> bool:
    """Return whether the bytes look like Modbus/TCP: protocol 0, a length of two or more."""
    return bool(end - pos >= 8 and u16(buf, pos + 2) == 0 and u16(buf, pos + 4) >= 2)


@kernel_lean
def modbus_message(out: Table, row: int, buf: Any, pos: int, end: int) -> None:
    """Put the header fields of the message in buf[pos:end].

    As in tshark, one without a function code, or an exception without its code, is malformed and shows nothing.
    """
    function = pos + PREFIX + 1
    if function >= end or (buf[function] & EXCEPTION and function + 1 >= end):
        return
    put(out, row, TRANSACTION, u16(buf, pos))
    put(out, row, LENGTH, u16(buf, pos + 4))
    put(out, row, UNIT, int(buf[pos + PREFIX]))
