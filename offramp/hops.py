"""Hops: the time at which each stage had what led to a command, as one header of feature and decision messages.

The header's text is `name=ns,name=ns`, in order of the stages; each time is by the clock of the machine that the stage
ran on. It is no part of the body, which is the same whenever a message is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

HEADER = "hops"
NAMES = ("packet", "read", "dissected", "published", "fetched", "begun", "decoded", "decided", "sent", "arrived")
"""packet: the newest packet's capture time; read: its block got from the kernel; dissected: its batch made; published:
handed to the agent's producer; fetched: taken up by the worker's partition processor; begun, decoded, decided: in
the worker's thread; sent: the command handed to its producer; arrived: with the client. A stage that was not passed
is left out."""

Hops = Mapping[str, int]
NONE: Hops = MappingProxyType({})
MAX_LENGTH = 512
_HOP = re.compile(rb"([a-z]{1,16})=(\d{1,19})")


def encode_hops(hops: Hops) -> bytes:
    """Return the header's value."""
    return ",".join(f"{name}={hops[name]}" for name in NAMES if name in hops).encode()


def decode_hops(value: object) -> Hops:
    """Return the hops of a header's value; what cannot be read is left out, as nothing depends on it."""
    if not isinstance(value, bytes) or not value or len(value) > MAX_LENGTH:
        return NONE
    found = (_HOP.fullmatch(part) for part in value.split(b","))
    return {each[1].decode(): int(each[2]) for each in found if each is not None and each[1].decode() in NAMES}


def hops_of(headers: Iterable[tuple[str, object]]) -> Hops:
    """Return the hops in a message's headers."""
    return next((decode_hops(value) for name, value in headers if name == HEADER), NONE)
