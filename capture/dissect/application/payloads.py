"""Entry to the application layers: dissect the payload of UDP datagrams and TCP segments, reassembling TCP messages.

`application_udp` and `application_tcp` are called for every header of their kind, so that sequence numbers are
followed; payloads of no known protocol return at once.
"""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.application.dns import dns_message, looks_like_dns
from offramp.capture.dissect.application.http.completeness import READY, TOO_LONG, WAITS, chunks_wait, head_waits
from offramp.capture.dissect.application.http.message import http_message
from offramp.capture.dissect.application.modbus import is_modbus, modbus_message
from offramp.capture.dissect.application.tcp_stream import stream
from offramp.capture.dissect.conversation.ports import DNS, MDNS, MODBUS, NONE, SSDP
from offramp.capture.dissect.conversation.reassembly import (
    ABORT,
    BYTES,
    CHUNK_LINES,
    COMPLETE,
    HEAD_LINES,
    SWALLOW,
    UNTIL_FIN,
    assemble,
    begin,
    give_up,
    store,
)
from offramp.capture.dissect.conversation.segments import (
    ACK,
    FIN,
    KEEP_ALIVE,
    OUT_OF_ORDER,
    RETRANSMISSION,
    SPURIOUS,
    SYN,
    WORD,
    follow,
)
from offramp.capture.dissect.conversation.state import (
    HAVE,
    MODE,
    SERVER_PORT,
    START,
    WANT,
    Applications,
)
from offramp.capture.dissect.packet.notes import NOTE_GAP, NOTE_GIVEN_UP
from offramp.capture.dissect.packet.table import TEXT, Table, drop_text
from offramp.kernels import kernel_lean, read_only


@kernel_lean
def application_udp(
    out: Table, apps: Applications, row: int, data: Any, pos: int, end: int, source: int, target: int, slot: int,
    number: int, time_ns: int, in_error: bool,
) -> None:  # fmt: skip
    """Dissect the payload data[pos:end] of a UDP datagram; in_error: it is quoted by an ICMP error."""
    if pos >= end:
        return
    protocol = apps.ports[1, min(source, target)]
    if protocol == NONE:
        protocol = apps.ports[1, max(source, target)]
    if protocol in (DNS, MDNS):
        dns_message(out, apps, row, data, pos, end, protocol == MDNS, slot, number, time_ns, in_error)
    elif protocol == SSDP:
        http_message(out, apps, apps.head, row, data, True, pos, end, False, False, slot, False)
    elif protocol == MODBUS and is_modbus(data, pos, end):
        modbus_message(out, row, data, pos, end)
    elif protocol == NONE and looks_like_dns(data, pos, end):
        dns_message(out, apps, row, data, pos, end, False, slot, number, time_ns, in_error)


@kernel_lean
def application_tcp(
    out: Table, apps: Applications, row: int, data: Any, pos: int, end: int, size: int, source: int, target: int,
    slot: int, direction: int, sequence: int, acknowledged: int, flags: int, window: int, number: int, time_ns: int,
    in_error: bool,
) -> None:  # fmt: skip
    """Follow a TCP segment and dissect its payload data[pos:end], which is `size` bytes on the wire."""
    which = 2 * slot + direction
    if flags & SYN:
        apps.kind[slot, SERVER_PORT] = source if flags & ACK else target
    again = 0
    if not in_error:
        again = follow(apps, slot, direction, sequence, size, flags, acknowledged, window, time_ns)
    sequence = (sequence + ((flags & SYN) >> 1)) & WORD
    fin = flags & FIN != 0
    side = apps.side
    if pos >= end and not (fin and side[which, MODE] == UNTIL_FIN):
        return
    hidden = again in (KEEP_ALIVE, OUT_OF_ORDER, RETRANSMISSION)
    if in_error or end - pos < size:
        if not hidden:
            stream(out, apps, row, data, True, pos, end, False, fin, source, target, slot, number, time_ns, in_error)
        return
    if fin and side[which, MODE] == UNTIL_FIN:
        finish(out, apps, row, data, pos, end, sequence, hidden, source, target, slot, which, number, time_ns)
        return
    if again in (SPURIOUS, RETRANSMISSION, KEEP_ALIVE):
        return
    if sequence == side[which, START] and size <= side[which, WANT]:
        return
    while pos < end:
        offset = (sequence - side[which, START]) & WORD
        taken = end - pos
        if side[which, MODE] != COMPLETE and offset < side[which, WANT]:
            taken = go_on(
                out, apps, row, data, pos, end, offset, hidden, fin, source, target, slot, which, number, time_ns
            )
        elif not hidden:
            kept, mode, need = stream(
                out, apps, row, data, True, pos, end, True, fin, source, target, slot, number, time_ns, False
            )
            if mode != COMPLETE and mode != ABORT:
                begin(out, apps, which, data, kept, end, sequence + kept - pos, mode, need)
        pos, sequence = pos + taken, (sequence + taken) & WORD


@kernel_lean
def go_on(
    out: Table, apps: Applications, row: int, data: Any, pos: int, end: int, offset: int, hidden: bool, fin: bool,
    source: int, target: int, slot: int, which: int, number: int, time_ns: int,
) -> Any:  # fmt: skip
    """Add data[pos:end] at `offset` to the side's incomplete message; return how many bytes it took."""
    side = apps.side
    mode = side[which, MODE]
    taken = end - pos
    if mode in (BYTES, SWALLOW):
        taken = min(taken, side[which, WANT] - offset)
    if mode == SWALLOW:
        return taken
    fresh = pos + side[which, HAVE] - offset
    if not store(apps, which, data, pos, taken, offset):
        give_up(out, apps, which, NOTE_GIVEN_UP)
        return taken
    if mode == UNTIL_FIN or side[which, HAVE] < side[which, WANT]:
        return taken
    found = READY
    if mode == HEAD_LINES:
        found = head_waits(out.notes, apps, which, data, fresh, end)
    elif mode == CHUNK_LINES:
        found = chunks_wait(out.notes, apps, which, data, fresh, end)
    if found == TOO_LONG:
        give_up(out, apps, which, NOTE_GIVEN_UP)
        return taken
    if found == WAITS:
        side[which, WANT] = side[which, HAVE] + 1
        return taken
    have, first, row_text = side[which, HAVE], side[which, START], out.cursor[TEXT]
    start = assemble(out, apps, which)
    side[which, WANT] = have
    if hidden or start < 0:
        return taken
    text = read_only(out.text)
    kept, mode, need = stream(
        out, apps, row, text, False, start, start + have, True, fin, source, target, slot, number, time_ns, False
    )
    if mode == ABORT:
        return end - pos
    if mode != COMPLETE:
        begin(out, apps, which, text, kept, start + have, first + kept - start, mode, need)
        if kept == start:
            drop_text(out, row_text)
    return taken


@kernel_lean
def finish(
    out: Table, apps: Applications, row: int, data: Any, pos: int, end: int, sequence: int, hidden: bool, source: int,
    target: int, slot: int, which: int, number: int, time_ns: int,
) -> None:  # fmt: skip
    """Dissect the message that waited for the end of the connection; bytes after it are not looked at."""
    side = apps.side
    last = ((sequence - side[which, START]) & WORD) + end - pos
    if not store(apps, which, data, pos, end - pos, last - end + pos):
        give_up(out, apps, which, NOTE_GIVEN_UP)
        return
    have = side[which, HAVE]
    if have < last:
        give_up(out, apps, which, NOTE_GAP)
        return
    start = assemble(out, apps, which)
    side[which, MODE] = SWALLOW
    if not hidden and start >= 0:
        stream(
            out, apps, row, read_only(out.text), False, start, start + have, False, True, source, target, slot, number,
            time_ns, False,
        )  # fmt: skip
