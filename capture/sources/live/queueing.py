"""Which queueing disciplines an interface sends by (rtnetlink(7), RTM_GETQDISC).

One that shapes holds packets back before a packet socket sees them: what is sent is seen as it leaves that queue, so
its congestion cannot be seen there.
"""

from __future__ import annotations

import socket
import struct

SHAPING = frozenset(("tbf", "htb", "hfsc", "cbq", "cake", "netem"))
"""Kinds that send no faster than they are told to, or later."""
NETLINK_ROUTE, GET_QDISC, NEW_QDISC, DONE, ERROR = 0, 38, 36, 3, 2
REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
HEADER, MESSAGE = struct.Struct("=IHHII"), struct.Struct("=BxxxiIII")
"""nlmsghdr: length, type, flags, sequence, port; tcmsg: family, interface, handle, parent, info."""
KIND = 1  # TCA_KIND


def disciplines(interface: str) -> list[str]:
    """Return the kinds of an interface's queueing disciplines, the root's among them; none where they are not told."""
    try:
        index = socket.if_nametoindex(interface)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as asked:
            asked.settimeout(1)
            body = MESSAGE.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
            asked.send(HEADER.pack(HEADER.size + len(body), GET_QDISC, REQUEST_DUMP, 1, 0) + body)
            return _answers(asked, index)
    except (OSError, AttributeError):  # no such interface, no netlink, no right to ask
        return []


def shapes(interface: str) -> str:
    """Return the kind of the discipline by which an interface shapes what it sends, empty where it does not."""
    return next((kind for kind in disciplines(interface) if kind in SHAPING), "")


def _answers(asked: socket.socket, index: int) -> list[str]:
    found: list[str] = []
    while True:
        data = asked.recv(1 << 16)
        at = 0
        while at + HEADER.size <= len(data):
            size, kind, *_ = HEADER.unpack_from(data, at)
            if kind in (DONE, ERROR) or size < HEADER.size:
                return found
            body = data[at + HEADER.size : at + size]
            if kind == NEW_QDISC and len(body) >= MESSAGE.size and MESSAGE.unpack_from(body)[1] == index:
                found += _kinds(body[MESSAGE.size :])
            at += (size + 3) & ~3


def _kinds(attributes: bytes) -> list[str]:
    """Return the values of TCA_KIND among attributes."""
    found, at = [], 0
    while at + 4 <= len(attributes):
        size, kind = struct.unpack_from("=HH", attributes, at)
        if size < 4:
            break
        if kind == KIND:
            found.append(attributes[at + 4 : at + size].rstrip(b"\0").decode(errors="replace"))
        at += (size + 3) & ~3
    return found
