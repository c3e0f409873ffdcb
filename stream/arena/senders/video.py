"""Paced video over UDP that adapts its rate: frames, a pacer, reports of the receiver, layers of rates.

The control is simple, in the manner of Google's for WebRTC (a draft of RMCAT) but not it: no Kalman filter, no probing.
A report that tells of more than 10 % lost or of 100 ms more delay than the least halves the rate; any other adds 5 % a
second.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from offramp.kernels import kernel_lean
from offramp.stream.arena.senders.events import (
    FRAME,
    PACE,
    REPORT,
    REPORT_TIMER,
    VIDEO,
    Events,
    Outbox,
    hand_over,
    push,
)
from offramp.stream.channels import Counter, mark

LAYERS_BPS = (0.5e6, 0.75e6, 1e6, 1.5e6, 2e6, 3e6, 4e6)
"""Rates that an encoder offers; the largest below the target is sent."""
FIRST_BPS = 1e6
"""What a sender begins with, where its most is not less."""
FRAME_NS = 33_333_333
GROUP, KEY = 60, 4.0
"""A key frame every two seconds, and how many times as large as the others it is."""
VARIES = 0.2
"""Frames are larger or smaller than their mean by up to this share, made-up."""
PAYLOAD, HEADERS, REPORT_BYTES = 1_200, 54, 90
"""Bytes of a packet's payload, as WebRTC cuts it; Ethernet, IPv4, UDP and RTP before it; a report of the receiver."""
PACING = 2.5
"""How many times its rate a sender sends at, so that a key frame leaves in time: WebRTC's factor."""
REPORT_NS, HOLD_NS, SILENCE_NS = 100_000_000, 500_000_000, 1_000_000_000
"""Between reports; between two halvings, so that one congestion counts once; without a report this is a loss."""
LOSS, GROWTH_NS = 0.1, 100_000_000
"""Share lost and growth of the delay over its least that halve the rate."""
KEPT = 0.9
"""What counts of earlier reports when the next comes, so that a loss is one of a second, not of a few packets."""
FORGET = 50
"""The least delay drifts up by this part of the growth a report, so that a longer path is the rule after some 5 s."""
CLIMB = 0.05
"""Share that the target grows by in a second."""
UDP, FIRST = mark(Counter.UDP), mark(Counter.UDP) | mark(Counter.NEW_FLOW)
LUCK, MODULUS = 48_271, 2_147_483_647
"""Of the random numbers: Park and Miller's, exact on any processor."""

CAMERA = np.dtype(
    [
        # who it is: rows of its packets and of the reports, the pace of the far end, the most it may send, when it ends
        ("row", "i8"), ("back", "i8"), ("far_ns", "i8"), ("back_ns", "i8"), ("most_bps", "f8"), ("end_ns", "i8"),
        # the sender: what it wants and what it sends, bit/s; frames so far, bytes that wait for the pacer, packets so
        # far; the last report, until when it is not halved again, packets of the last second that came and that went
        ("target_bps", "f8"), ("rate_bps", "f8"), ("frame", "i8"), ("backlog", "i8"), ("pacing", "i8"), ("sent", "i8"),
        ("reported_ns", "i8"), ("held_ns", "i8"), ("came", "f8"), ("went", "f8"), ("luck", "i8"),
        # the receiver: packets since the last report and the sum of their delays, the newest, that of the last report
        ("got", "i8"), ("delay_ns", "i8"), ("newest", "i8"), ("before", "i8"), ("least_ns", "i8"), ("awake", "i8"),
        # halvings so far
        ("halved", "i8"),
    ],
    align=True,
)  # fmt: skip
"""A sender of video and its receiver."""


@kernel_lean
def luck(s: Any) -> float:
    """Return a random number from 0 to 1."""
    s.luck = s.luck * LUCK % MODULUS
    return float(s.luck / MODULUS)


@kernel_lean
def layer(target_bps: float) -> float:
    """Return the largest rate that an encoder offers and the target allows; the smallest in any case."""
    found = LAYERS_BPS[0]
    for rate in LAYERS_BPS:
        if rate <= target_bps:
            found = rate
    return found


@kernel_lean
def halve(s: Any, now_ns: int) -> None:
    """Halve the rate, unless that was done just now."""
    if now_ns >= s.held_ns:
        s.target_bps = max(s.rate_bps / 2, LAYERS_BPS[0])
        s.held_ns, s.came, s.went = now_ns + HOLD_NS, 0.0, 0.0
        s.halved += 1


@kernel_lean
def frame(s: Any, who: int, now_ns: int, events: Events) -> None:
    """Encode a frame, hand it to the pacer, and have the next one come."""
    if now_ns >= s.end_ns:
        return
    if s.frame == 0:
        s.reported_ns = now_ns
    if now_ns - s.reported_ns > SILENCE_NS:
        halve(s, now_ns)
        s.backlog = 0  # nobody wants old frames
    s.rate_bps = layer(s.target_bps)
    mean = s.rate_bps / 8e9 * FRAME_NS * GROUP / (GROUP - 1 + KEY)
    size = mean * (KEY if s.frame % GROUP == 0 else 1.0) * (1 + VARIES * (2 * luck(s) - 1))
    s.backlog += int(size)
    s.frame += 1
    push(events, now_ns + FRAME_NS, FRAME, who, 0, 0, 0, 0, 0)
    if not s.pacing:
        s.pacing = 1
        push(events, now_ns, PACE, who, 0, 0, 0, 0, 0)


@kernel_lean
def pace(s: Any, who: int, now_ns: int, events: Events, out: Outbox) -> None:
    """Send a packet of what waits, and have the next one come after it."""
    payload = min(s.backlog, PAYLOAD)
    s.pacing = int(payload > 0)
    if not s.pacing:
        return
    size = HEADERS + payload
    hand_over(out, s.row, size, UDP if s.sent else FIRST, s.far_ns, VIDEO, who, 0, s.sent, now_ns, 0, 0)
    s.backlog -= payload
    s.sent += 1
    push(events, now_ns + int(size * 8e9 / (PACING * s.rate_bps)), PACE, who, 0, 0, 0, 0, 0)


@kernel_lean
def seen(s: Any, who: int, number: int, sent_ns: int, now_ns: int, events: Events) -> None:
    """Take a packet at the receiver."""
    delay_ns = now_ns - sent_ns
    s.least_ns = delay_ns if s.newest == 0 else min(s.least_ns, delay_ns)
    s.got += 1
    s.delay_ns += delay_ns
    s.newest = max(s.newest, number + 1)
    if not s.awake:
        s.awake = 1
        push(events, now_ns + REPORT_NS, REPORT_TIMER, who, 0, 0, 0, 0, 0)


@kernel_lean
def report(s: Any, who: int, now_ns: int, events: Events, out: Outbox) -> None:
    """Tell the sender what came since the last report: packets, of how many, and by how much their delay has grown."""
    growth_ns = s.delay_ns // s.got - s.least_ns if s.got else 0
    s.least_ns += growth_ns // FORGET
    first = UDP if s.before else FIRST
    hand_over(
        out, s.back, REPORT_BYTES, first, s.back_ns, REPORT, who, 0, s.got, s.newest - s.before, growth_ns, 0,
    )  # fmt: skip
    s.got, s.delay_ns, s.before = 0, 0, s.newest
    if now_ns < s.end_ns:
        push(events, now_ns + REPORT_NS, REPORT_TIMER, who, 0, 0, 0, 0, 0)


@kernel_lean
def reported(s: Any, got: int, of: int, growth_ns: int, now_ns: int) -> None:
    """Take a report at the sender, and set the target."""
    s.reported_ns = now_ns
    s.came = s.came * KEPT + got
    s.went = s.went * KEPT + of
    if of == 0 or s.went - s.came > LOSS * s.went or growth_ns > GROWTH_NS:
        halve(s, now_ns)
    else:
        s.target_bps = min(s.target_bps * (1 + CLIMB * REPORT_NS / 1e9), s.most_bps)


def new_cameras(count: int) -> Any:
    """Return so many senders of video, records of CAMERA [n], who they are still to be written."""
    return np.zeros(count, CAMERA).view(np.recarray)
