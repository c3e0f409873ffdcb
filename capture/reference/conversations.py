"""Conversations for the reference dissectors: stream numbers, relative sequence numbers, time deltas, round trips.

The same rules as those of `transport.tcp` and `conversation.flow_table`, which are tshark's, one object a conversation.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

FIN, SYN, RST, ACK = 1, 2, 4, 16
WORD = 0xFFFFFFFF
HALF = 0x80000000

Address = bytes | int
End = tuple[Address, int]
"""One end of a conversation: address and port."""


class Segment(NamedTuple):
    """What a TCP header says: raw numbers, flags (12 bits), payload bytes on the wire (negative: header too long)."""

    sequence: int
    acknowledged: int
    flags: int
    size: int


class Numbers(NamedTuple):
    """What tshark adds to a TCP header: conversation number and relative numbers."""

    stream: int
    sequence: int
    acknowledged: int


@dataclass(slots=True)
class Direction:
    """One direction of a TCP conversation; all numbers are raw."""

    base: int | None = None
    pending: int | None = None
    pending_ns: int = 0
    sent: int | None = None


@dataclass(slots=True)
class Conversation:
    """A conversation: its number, when it last spoke, and its two directions by the sending end."""

    stream: int
    last_ns: int
    directions: dict[End, Direction] = field(default_factory=dict)

    def pair(self, source: End, target: End) -> tuple[Direction, Direction]:
        """Return the sender's direction and the other."""
        here = self.directions.setdefault(source, Direction())
        return here, self.directions.setdefault(target, Direction()) if source != target else here


class Conversations:
    """All conversations of a capture, at most `limit` kept; the idlest is forgotten first, and counted in `evicted`."""

    def __init__(self, limit: int) -> None:
        self.evicted = 0
        self._limit = limit
        self._known: OrderedDict[tuple[int, frozenset[End]], Conversation] = OrderedDict()
        self._started = {6: 0, 17: 0}

    def udp(self, source: End, target: End, time_ns: int, *, quoted: bool, empty: bool) -> tuple[int, int | None]:
        """Return a datagram's conversation number and time since the one before, ns.

        None for the time where tshark has none: in what an ICMP error quotes, and where there is no payload.
        """
        talk, _ = self._find(17, source, target, time_ns)
        if quoted or empty:
            return talk.stream, None
        delta, talk.last_ns = time_ns - talk.last_ns, time_ns
        return talk.stream, delta

    def tcp(
        self, source: End, target: End, segment: Segment, time_ns: int, *, quoted: bool
    ) -> tuple[Numbers, int | None]:
        """Return a segment's numbers and the round trip that it ends, ns; a quoted segment keeps its numbers raw."""
        talk, new = self._find(6, source, target, time_ns)
        here, there = talk.pair(source, target)
        if not new and _reused(here, segment):
            talk = self._start(6, (6, frozenset((source, target))), time_ns)
            here, there = talk.pair(source, target)
        talk.last_ns = time_ns
        if quoted or segment.size < 0:
            return Numbers(talk.stream, segment.sequence, segment.acknowledged), None
        _learn_base(here, there, segment)
        base = there.base if segment.flags & ACK and there.base is not None else 0
        relative = (segment.sequence - (here.base or 0)) & WORD
        numbers = Numbers(talk.stream, relative, (segment.acknowledged - base) & WORD)
        return numbers, round_trip(here, there, segment, time_ns)

    def _find(self, protocol: int, source: End, target: End, time_ns: int) -> tuple[Conversation, bool]:
        """Return the conversation of two ends, and whether it begins here."""
        key = (protocol, frozenset((source, target)))
        known = self._known.get(key)
        if known is None:
            return self._start(protocol, key, time_ns), True
        self._known.move_to_end(key)
        return known, False

    def _start(self, protocol: int, key: tuple[int, frozenset[End]], time_ns: int) -> Conversation:
        """Begin a conversation with the next number of its protocol."""
        begun = Conversation(self._started[protocol], time_ns)
        self._started[protocol] += 1
        self._known[key] = begun
        self._known.move_to_end(key)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
            self.evicted += 1
        return begun


def _reused(here: Direction, segment: Segment) -> bool:
    """Return whether a SYN begins another connection on the same ports: as tshark decides it, by its number alone."""
    return segment.flags & (SYN | ACK) == SYN and here.base is not None and segment.sequence != here.base


def _learn_base(here: Direction, there: Direction, segment: Segment) -> None:
    """Learn what the relative numbers count from; a connection met midway starts at 1.

    As in tshark, every SYN with ACK sets its side's base anew.
    """
    if here.base is None or segment.flags & (SYN | ACK) == SYN | ACK:
        here.base = segment.sequence if segment.flags & SYN else (segment.sequence - 1) & WORD
    if segment.flags & ACK and there.base is None:
        there.base = (segment.acknowledged - 1) & WORD


def round_trip(here: Direction, there: Direction, segment: Segment, time_ns: int) -> int | None:
    """Return the round trip that a segment's acknowledgement ends, ns, and time the segment itself.

    One segment a direction is timed at a time; a resent one is not (Karn's rule).
    """
    ended = None
    if segment.flags & ACK and there.pending is not None and (segment.acknowledged - there.pending) & WORD < HALF:
        ended = time_ns - there.pending_ns
        there.pending = None
    following = (segment.sequence + segment.size + bool(segment.flags & (SYN | FIN))) & WORD
    if following == segment.sequence:
        return ended
    if here.sent is not None and (following - here.sent - 1) & WORD >= HALF - 1:
        here.pending = None
        return ended
    if here.pending is None:
        here.pending, here.pending_ns = following, time_ns
    here.sent = following
    return ended
