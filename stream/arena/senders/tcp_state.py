"""What TCP senders and their receivers hold: a row a sender, and the segments of its window."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.stream.arena.senders.events import BURST

CLOSED, OPENING, ASKING, SENDING, BROKEN = range(5)
"""States: none; SYN sent; request sent, no data yet; data on the way; cut off by the network, until it begins anew."""
STEADY, RECOVERY, TIMED_OUT = range(3)
"""Phases of loss recovery (RFC 6675; RFC 6298 section 5)."""
FLYING, SACKED, LOST, RESENT = range(4)
"""A segment of the window, to its sender."""

RING = 2 * BURST
"""Transmissions that are remembered: all that can be under way, and as many again that were taken for lost."""

SENDER = np.dtype(
    [
        # who it is: its jobs, and rows of flows, two a job from the first on (up, down, up, down ...)
        ("first_row", "i8"), ("first_job", "i8"), ("jobs", "i8"), ("down", "i8"), ("far_ns", "i8"),
        # where it stands: the job, the connection (turn counts them), what of the transfer is left
        ("state", "i8"), ("job", "i8"), ("turn", "i8"), ("up", "i8"), ("to", "i8"), ("bytes", "i8"), ("total", "i8"),
        # the sender's window, segments: [una, nxt) is under way, none below `resend` is lost; the newest stretch SACKed
        ("una", "i8"), ("nxt", "i8"), ("recover", "i8"), ("phase", "i8"), ("sacked", "i8"), ("lost", "i8"),
        ("resend", "i8"), ("from_left", "i8"), ("from_right", "i8"), ("full", "i8"),
        # transmissions by number: so many so far, the newest that arrived, those before `settled` are looked after
        ("serial", "i8"), ("newest", "i8"), ("settled", "i8"),
        # congestion control (cubic.py)
        ("cwnd", "f8"), ("ssthresh", "f8"), ("w_max", "f8"), ("prior", "f8"), ("k", "f8"), ("w_est", "f8"),
        ("epoch_ns", "i8"),
        # the retransmission timer: due, and when the event is that looks after it (0: none)
        ("due_ns", "i8"), ("armed_ns", "i8"), ("rto_ns", "i8"), ("srtt_ns", "f8"), ("rttvar_ns", "f8"),
        # the receiver: all before `next` is there; `beyond` segments behind a gap, the newest stretch of them
        ("next", "i8"), ("beyond", "i8"), ("left", "i8"), ("right", "i8"),
        # its delayed acknowledgement: segments, since when, the oldest one's number, whether an event stands for it
        ("waiting", "i8"), ("since_ns", "i8"), ("echo", "i8"), ("ack_armed", "i8"),
        # counts: transfers done, connections begun, retransmissions, time-outs
        ("done", "i8"), ("begun", "i8"), ("again", "i8"), ("timeouts", "i8"),
    ],
    align=True,
)  # fmt: skip
"""A sender; times in ns, windows in segments."""


class Tcp(NamedTuple):
    """Senders that use TCP.

    each: records of SENDER [n]; board: int8 [n, BURST] what became of each segment of the window; serial_of: int64
    [n, BURST] the number of its last transmission; segment_of, sent_ns: int64 [n, RING] of the last transmissions, by
    their number, what and when; got: int8 [n, BURST] what lies beyond a gap at the receiver;
    job_bytes, job_pause_ns: int64 [jobs] what is to be transferred, and the pause before.
    """

    each: Any
    board: NDArray[np.int8]
    serial_of: NDArray[np.int64]
    segment_of: NDArray[np.int64]
    sent_ns: NDArray[np.int64]
    got: NDArray[np.int8]
    job_bytes: NDArray[np.int64]
    job_pause_ns: NDArray[np.int64]


def new_tcp(count: int, job_bytes: NDArray[np.int64], job_pause_ns: NDArray[np.int64]) -> Tcp:
    """Return so many senders, all closed, who they are still to be written."""
    return Tcp(
        np.zeros(count, SENDER).view(np.recarray), np.zeros((count, BURST), np.int8),
        np.zeros((count, BURST), np.int64), np.zeros((count, RING), np.int64), np.zeros((count, RING), np.int64),
        np.zeros((count, BURST), np.int8), job_bytes, job_pause_ns,
    )  # fmt: skip
