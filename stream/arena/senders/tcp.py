"""A TCP connection, both ends, segment by segment: handshake, window, acknowledgements, recovery, time-outs.

Initial window RFC 6928, growth CUBIC (cubic.py), recovery by SACK with a count of what is under way (RFC 6675); lost is
what was sent three or more before something that arrived (RFC 9002 section 6.1.1; by number what RACK, RFC 8985, does
by time); timer RFC 6298, with Linux' least. Simplified: a transfer is a connection; the receiver's window is never
closed; no ECN, HyStart++, pacing, tail loss probe, undo or reneging.
"""

from __future__ import annotations

from typing import Any

from offramp.kernels import kernel_lean
from offramp.stream.arena.senders.cubic import grow, shrink
from offramp.stream.arena.senders.events import (
    ACK,
    ACK_TIMER,
    BURST,
    DATA,
    REQUEST,
    START,
    SYN,
    TIMER,
    Events,
    Outbox,
    hand_over,
    push,
)
from offramp.stream.arena.senders.tcp_state import (
    ASKING,
    BROKEN,
    CLOSED,
    FLYING,
    LOST,
    OPENING,
    RECOVERY,
    RESENT,
    RING,
    SACKED,
    SENDING,
    STEADY,
    TIMED_OUT,
    Tcp,
)
from offramp.stream.channels import Counter, mark

MSS = 1_448
"""Bytes of a full segment: 1,500 of IP less 20 of IP and 32 of TCP with time stamps."""
HEADERS, SYN_BYTES, REQUEST_BYTES = 66, 74, 500
"""Bytes on the wire of a segment without data, of a SYN, and of a request (made-up: a GET with its usual headers)."""
INITIAL_WINDOW, REORDERING = 10, 3
"""Segments of the first round trip (RFC 6928); transmissions by which one may be late before it is taken for lost."""
FIRST_RTO_NS, LEAST_RTO_NS, MOST_RTO_NS = 1_000_000_000, 200_000_000, 60_000_000_000
"""Of the timer: before a sample; the least beyond the round trip (Linux'; RFC 6298: a second in all); the most."""
DELAYED_ACK_NS = 40_000_000
"""How long a receiver waits for a second segment: Linux' least."""
SYN_MARKS = mark(Counter.SYN) | mark(Counter.NEW_FLOW)
FIN, PURE_ACK = mark(Counter.FIN_RST), mark(Counter.PURE_ACK)


@kernel_lean
def begin(tcp: Tcp, who: int, now_ns: int, left: int, events: Events, out: Outbox) -> None:
    """Begin the connection of the job; left: bytes of the transfer."""
    s = tcp.each[who]
    s.turn += 1
    s.begun += 1
    s.up = s.first_row + 2 * s.job
    s.to = s.up + 1
    s.state, s.bytes, s.total = OPENING, left, (left + MSS - 1) // MSS
    s.una, s.nxt, s.recover, s.phase, s.sacked, s.lost = 0, 0, 0, STEADY, 0, 0
    s.resend, s.from_left, s.from_right, s.full, s.serial, s.newest, s.settled = 0, 0, 0, 0, 0, 0, 0
    s.cwnd, s.ssthresh, s.w_max, s.prior, s.epoch_ns = float(INITIAL_WINDOW), 1e18, 0.0, 0.0, -1
    s.rto_ns, s.srtt_ns, s.rttvar_ns = FIRST_RTO_NS, 0.0, 0.0
    s.next, s.beyond, s.left, s.right, s.waiting = 0, 0, 0, 0, 0
    tcp.board[who], tcp.got[who] = FLYING, 0
    open_up(s, who, now_ns, events, out)


@kernel_lean
def start(tcp: Tcp, who: int, again: int, now_ns: int, events: Events, out: Outbox) -> None:
    """Begin the next transfer; again: go on with the one that was broken."""
    s = tcp.each[who]
    if again and s.state == BROKEN:
        done = s.next if s.down else s.una
        begin(tcp, who, now_ns, max(s.bytes - done * MSS, 1), events, out)
    elif not again:
        begin(tcp, who, now_ns, tcp.job_bytes[s.first_job + s.job], events, out)


@kernel_lean
def follow(tcp: Tcp, who: int, now_ns: int, events: Events) -> None:
    """Close the connection, and have the next transfer begin after its pause."""
    s = tcp.each[who]
    s.state, s.due_ns = CLOSED, 0
    s.done += 1
    s.job += 1
    if s.job < s.jobs:
        push(events, now_ns + tcp.job_pause_ns[s.first_job + s.job], START, who, s.turn, 0, 0, 0, 0)


@kernel_lean
def broken(tcp: Tcp, who: int, now_ns: int, after_ns: int, events: Events) -> None:
    """Take it that a connection is cut off; it begins anew, with what is left, after a time."""
    s = tcp.each[who]
    if s.state == OPENING or s.state == ASKING or s.state == SENDING:
        s.state, s.due_ns = BROKEN, 0
        push(events, now_ns + after_ns, START, who, s.turn, 1, 0, 0, 0)


@kernel_lean
def open_up(s: Any, who: int, now_ns: int, events: Events, out: Outbox) -> None:
    """Send the SYN, or the request, of the device, which is always the client."""
    if s.state == OPENING:
        hand_over(out, s.up, SYN_BYTES, SYN_MARKS, s.far_ns, SYN, who, s.turn, 0, now_ns, 0, 0)
    else:
        hand_over(out, s.up, HEADERS + REQUEST_BYTES, 0, s.far_ns, REQUEST, who, s.turn, 0, now_ns, 0, 0)
    set_timer(s, who, now_ns, events)


@kernel_lean
def set_timer(s: Any, who: int, now_ns: int, events: Events) -> None:
    """Have the retransmission timer go off after its time-out."""
    s.due_ns = now_ns + s.rto_ns
    if s.armed_ns == 0 or s.due_ns < s.armed_ns:
        s.armed_ns = s.due_ns
        push(events, s.due_ns, TIMER, who, s.turn, 0, 0, 0, 0)


@kernel_lean
def timer(tcp: Tcp, who: int, now_ns: int, events: Events, out: Outbox) -> None:
    """Look whether the retransmission timer is over; if so, send again and wait twice as long (RFC 6298 section 5)."""
    s = tcp.each[who]
    if now_ns != s.armed_ns:  # an earlier one took its place
        return
    s.armed_ns = 0
    if s.due_ns == 0:
        return
    if now_ns < s.due_ns:
        s.armed_ns = s.due_ns
        push(events, s.due_ns, TIMER, who, s.turn, 0, 0, 0, 0)
        return
    s.timeouts += 1
    s.rto_ns = min(2 * s.rto_ns, MOST_RTO_NS)
    if s.state != SENDING:
        open_up(s, who, now_ns, events, out)
        return
    board = tcp.board[who]
    for segment in range(s.una, s.nxt):
        if board[segment % BURST] == FLYING or board[segment % BURST] == RESENT:
            board[segment % BURST] = LOST
            s.lost += 1
    if s.phase != TIMED_OUT:
        shrink(s)
    s.phase, s.recover, s.settled, s.resend, s.cwnd, s.epoch_ns = TIMED_OUT, s.nxt, s.serial, s.una, 1.0, -1
    pump(tcp, who, now_ns, events, out)
    set_timer(s, who, now_ns, events)


@kernel_lean
def measure(s: Any, trip_ns: int) -> None:
    """Take a sample of the round trip into the time-out (RFC 6298 section 2)."""
    if s.srtt_ns == 0.0:
        s.srtt_ns, s.rttvar_ns = float(trip_ns), trip_ns / 2
    else:
        s.rttvar_ns += (abs(s.srtt_ns - trip_ns) - s.rttvar_ns) / 4
        s.srtt_ns += (trip_ns - s.srtt_ns) / 8
    s.rto_ns = min(int(s.srtt_ns + max(4 * s.rttvar_ns, LEAST_RTO_NS)), MOST_RTO_NS)


@kernel_lean
def opened(tcp: Tcp, who: int, echo_ns: int, now_ns: int, events: Events, out: Outbox) -> None:
    """Take the SYN/ACK at the device, which asks for a download, or begins to send."""
    s = tcp.each[who]
    if s.state != OPENING:
        return
    measure(s, now_ns - echo_ns)
    if s.down:
        s.state = ASKING
        open_up(s, who, now_ns, events, out)
    else:
        send_all(tcp, who, now_ns, events, out)


@kernel_lean
def send_all(tcp: Tcp, who: int, now_ns: int, events: Events, out: Outbox) -> None:
    """Begin to send data."""
    s = tcp.each[who]
    s.state = SENDING
    pump(tcp, who, now_ns, events, out)
    set_timer(s, who, now_ns, events)


@kernel_lean
def pump(tcp: Tcp, who: int, now_ns: int, events: Events, out: Outbox) -> None:
    """Send what the window has room for, lost segments first; the oldest one sets the timer anew, as in Linux."""
    s, board = tcp.each[who], tcp.board[who]
    row = s.to if s.down else s.up
    far_ns = 0 if s.down else s.far_ns
    while True:
        s.full = int(s.nxt - s.una - s.sacked - s.lost >= int(s.cwnd))
        if s.full:
            return
        if s.lost > 0:
            s.resend = max(s.resend, s.una)
            while board[s.resend % BURST] != LOST:
                s.resend += 1
            segment = s.resend
            board[segment % BURST] = RESENT
            s.lost -= 1
            s.again += 1
            if segment == s.una:
                set_timer(s, who, now_ns, events)
        elif s.nxt < s.total and s.nxt - s.una < BURST:
            segment = s.nxt
            board[segment % BURST] = FLYING
            s.nxt += 1
        else:
            return
        last = segment == s.total - 1
        payload = s.bytes - segment * MSS if last else MSS
        tcp.serial_of[who, segment % BURST] = s.serial
        tcp.segment_of[who, s.serial % RING], tcp.sent_ns[who, s.serial % RING] = segment, now_ns
        hand_over(
            out, row, HEADERS + payload, FIN if last else 0, far_ns, DATA, who, s.turn, segment, s.serial, 0, 0,
        )  # fmt: skip
        s.serial += 1


@kernel_lean
def received(tcp: Tcp, who: int, segment: int, serial: int, now_ns: int, events: Events, out: Outbox) -> None:
    """Take a segment of data at its receiver."""
    s, got = tcp.each[who], tcp.got[who]
    fresh = segment >= s.next and not got[segment % BURST]
    gap = False
    if fresh and segment == s.next:
        s.next += 1
        gap = s.beyond > 0
        while s.beyond > 0 and got[s.next % BURST]:
            got[s.next % BURST] = 0
            s.beyond -= 1
            s.next += 1
        if s.waiting == 0:
            s.since_ns, s.echo = now_ns, serial
        s.waiting += 1
    elif fresh:
        got[segment % BURST] = 1
        s.beyond += 1
        if not (s.left < segment and segment == s.right):
            s.left = segment
            while s.left - 1 > s.next and got[(s.left - 1) % BURST]:
                s.left -= 1
        s.right = segment + 1
        while s.beyond > s.right - s.left and got[s.right % BURST] and s.right - s.next < BURST:
            s.right += 1
    if fresh and segment >= s.next:
        acknowledge(s, who, s.left, s.right, serial, out)
    elif not fresh or gap or s.waiting >= 2 or s.next == s.total:
        acknowledge(s, who, 0, 0, s.echo if s.waiting else serial, out)
    elif not s.ack_armed:
        s.ack_armed = 1
        push(events, now_ns + DELAYED_ACK_NS, ACK_TIMER, who, s.turn, 0, 0, 0, 0)
    if s.down and s.next == s.total:
        follow(tcp, who, now_ns, events)


@kernel_lean
def acknowledge(s: Any, who: int, left: int, right: int, echo: int, out: Outbox) -> None:
    """Send an acknowledgement of all before `next`, and of the stretch [left, right) beyond a gap (RFC 2018).

    echo: the number of the transmission that it answers, in the place of its time stamp.
    """
    row, far_ns = (s.up, s.far_ns) if s.down else (s.to, 0)
    marks = PURE_ACK | FIN if s.next == s.total else PURE_ACK
    hand_over(out, row, HEADERS, marks, far_ns, ACK, who, s.turn, s.next, left, right, echo)
    s.waiting = 0


@kernel_lean
def ack_timer(s: Any, who: int, now_ns: int, events: Events, out: Outbox) -> None:
    """Send a delayed acknowledgement, if one still waits for long enough."""
    s.ack_armed = 0
    if s.state != SENDING or s.waiting == 0:
        return
    if now_ns < s.since_ns + DELAYED_ACK_NS:
        s.ack_armed = 1
        push(events, s.since_ns + DELAYED_ACK_NS, ACK_TIMER, who, s.turn, 0, 0, 0, 0)
    else:
        acknowledge(s, who, 0, 0, s.echo, out)


@kernel_lean
def acknowledged(
    tcp: Tcp, who: int, upto: int, left: int, right: int, echo: int, now_ns: int, events: Events, out: Outbox,
) -> None:  # fmt: skip
    """Take an acknowledgement at the sender: what it covers, what it shows to be lost, what may be sent now."""
    s, board = tcp.each[who], tcp.board[who]
    if s.serial - echo < RING:
        measure(s, now_ns - tcp.sent_ns[who, echo % RING])
    newly = max(upto - s.una, 0)
    for segment in range(s.una, s.una + newly):
        s.sacked -= board[segment % BURST] == SACKED
        s.lost -= board[segment % BURST] == LOST
        board[segment % BURST] = FLYING
    s.una += newly
    note_sacked(s, board, left, right)
    s.newest = max(s.newest, echo)
    find_lost(s, board, tcp.serial_of[who], tcp.segment_of[who])
    if s.phase != STEADY and s.una >= s.recover:
        s.phase = STEADY
    if s.phase == STEADY and s.lost > 0:
        s.phase, s.recover = RECOVERY, s.nxt
        shrink(s)
    elif newly and s.full and s.phase != RECOVERY:
        grow(s, newly, now_ns)
    if s.una == s.total:
        s.due_ns = 0
        if not s.down:
            follow(tcp, who, now_ns, events)
        return
    if newly:
        set_timer(s, who, now_ns, events)
    pump(tcp, who, now_ns, events, out)


@kernel_lean
def note_sacked(s: Any, board: Any, left: int, right: int) -> None:
    """Note the segments [left, right) as received; a stretch that has only grown is not gone over again."""
    known = left == s.from_left and right > s.from_right
    begin_at = max(s.from_right if known else left, s.una)
    for segment in range(begin_at, right):
        s.lost -= board[segment % BURST] == LOST
        s.sacked += board[segment % BURST] != SACKED
        board[segment % BURST] = SACKED
    if right > left:
        s.from_left, s.from_right = left, right


@kernel_lean
def find_lost(s: Any, board: Any, serial_of: Any, segment_of: Any) -> None:
    """Note as lost what is still under way of the transmissions that went REORDERING or more before the newest."""
    while s.settled + REORDERING <= s.newest:
        segment = segment_of[s.settled % RING]
        at = segment % BURST
        if segment >= s.una and serial_of[at] == s.settled and (board[at] == FLYING or board[at] == RESENT):
            board[at] = LOST
            s.lost += 1
            s.resend = min(s.resend, segment)
        s.settled += 1
