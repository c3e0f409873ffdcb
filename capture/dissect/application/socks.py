"""SOCKS 4 and 5 (RFC 1928): the opening of a conversation through a proxy, and the port it leads to."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.conversation.state import SOCKS_PORT, SOCKS_STATE, Applications
from offramp.capture.dissect.packet.cursor import u16
from offramp.kernels import kernel_lean

# what SOCKS_STATE remembers
UNKNOWN = 0
GREETED = 1  # version 5, no request yet
ASKED = 2
OPEN = 3
REFUSED = 4

FOUR, FIVE = 4, 5
CONNECT = 1
ADDRESS_4, ADDRESS_NAME, ADDRESS_6 = 1, 3, 4


@kernel_lean
def socks_open(apps: Applications, slot: int, buf: Any, pos: int, end: int, from_client: bool) -> bool:
    """Follow the opening messages of a conversation; True where buf[pos:end] is what it carries once it is open."""
    kind = apps.kind
    state = kind[slot, SOCKS_STATE]
    first = int(buf[pos])
    if state == OPEN:
        return True
    if state == UNKNOWN and from_client:
        kind[slot, SOCKS_STATE] = REFUSED
        if first == FIVE and end - pos >= 3 and end - pos == 2 + int(buf[pos + 1]):
            kind[slot, SOCKS_STATE] = GREETED
        elif first == FOUR and end - pos >= 9 and buf[pos + 1] == CONNECT:
            kind[slot, SOCKS_STATE] = ASKED
            kind[slot, SOCKS_PORT] = u16(buf, pos + 2)
    elif state == GREETED and from_client and first == FIVE and end - pos >= 7 and buf[pos + 1] == CONNECT:
        at = pos + 4
        if buf[pos + 3] == ADDRESS_4:
            at += 4
        elif buf[pos + 3] == ADDRESS_6:
            at += 16
        elif buf[pos + 3] == ADDRESS_NAME:
            at += 1 + int(buf[pos + 4])
        if at + 2 <= end:
            kind[slot, SOCKS_STATE] = ASKED
            kind[slot, SOCKS_PORT] = u16(buf, at)
    elif state == ASKED and not from_client:
        kind[slot, SOCKS_STATE] = OPEN
    return False
