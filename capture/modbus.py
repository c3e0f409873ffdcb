"""Modbus/TCP (Modbus Messaging on TCP/IP 1.0b, section 3.1.3): the header of every message, as tshark tells it."""

from __future__ import annotations

from typing import Any

from capture.emit import Table, put
from capture.layers import u16
from capture.schema import INDEX
from offramp_kernels import kernel_lean

TRANSACTION, LENGTH, UNIT = INDEX["mbtcp.trans_id"], INDEX["mbtcp.len"], INDEX["mbtcp.unit_id"]
PREFIX = 6  # transaction, protocol, length


@kernel_lean
def is_modbus(buf: Any, pos: int, end: int) -> bool:
    """Tell whether the bytes look like Modbus/TCP: protocol 0, a length of two or more."""
    return bool(end - pos >= 8 and u16(buf, pos + 2) == 0 and u16(buf, pos + 4) >= 2)


@kernel_lean
def modbus_message(out: Table, row: int, buf: Any, pos: int, end: int) -> None:
    """Put the header fields of the message in buf[pos:end], as far as it goes."""
    if end - pos >= 2:
        put(out, row, TRANSACTION, u16(buf, pos))
    if end - pos >= PREFIX:
        put(out, row, LENGTH, u16(buf, pos + 4))
    if end - pos > PREFIX:
        put(out, row, UNIT, int(buf[pos + 6]))
