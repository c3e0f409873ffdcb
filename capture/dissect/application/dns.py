"""DNS (RFC 1035), multicast DNS (RFC 6762), LLMNR (RFC 4795): questions and retransmissions, as in tshark."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.conversation.state import Applications
from offramp.capture.dissect.packet.cursor import u16
from offramp.capture.dissect.packet.notes import NOTE_NAMES_CUT, NOTE_STEPS
from offramp.capture.dissect.packet.table import TEXT, Table, copy_text, put, put_text, row_full, set_text
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_lean

NAME, NAME_LENGTH, QU, TYPE = (
    INDEX["dns.qry.name"],
    INDEX["dns.qry.name.len"],
    INDEX["dns.qry.qu"],
    INDEX["dns.qry.type"],
)
RETRANSMISSION = INDEX["dns.retransmission"]
RETRANSMIT_REQUEST = INDEX["dns.retransmit_request"]
RETRANSMIT_REQUEST_IN = INDEX["dns.retransmit_request_in"]

ROOT = b"<Root>"
TOO_LONG = b"<Name too long>"
LOOPS = b"<Name contains a pointer that loops>"
UNKNOWN_LABEL = b"<Unknown extended label>"
HEADER = 12
RECORD = 10  # type, class, time to live and length, behind a record's name
RESPONSE, OPCODE = 0x8000, 0x7800
MAX_ANSWERS, MAX_RECORDS = 100, 10  # of a message on other ports than DNS's own
KEY, QUERY, ASKED_NS, ANSWER = range(4)  # of a transaction: what it is, its query's frame and time, its answer's frame
MAX_NAME = 253  # characters, as tshark bounds a name
MAX_POINTERS = 255
NAME_STEPS, NAME_STEPS_A_BYTE = 1024, 32
"""Steps spent on the names of one message: ordinary ones take one or two a byte, of pointers to long names seven."""
RETRANSMISSION_NS = 5_000_000_000  # a later query of the same number is a new one (tshark's default)
WAYS = 4


@kernel_lean
def put_words(out: Table, words: bytes) -> Any:
    """Write fixed words into the text, without moving its cursor; return their length."""
    start = out.cursor[TEXT]
    for at in range(len(words)):
        set_text(out, start + at, words[at])
    return len(words)


@kernel_lean
def spell_name(out: Table, buf: Any, base: int, at: int, end: int) -> Any:
    """Write a name with dots into the text, without moving its cursor; return where it ends, its bytes and its length.

    base: where the message starts. The end is -1 where the message ends, or is malformed, within the name. The length
    is what tshark shows: 0 for a name of one character. A pointer must lead before all labels read so far ("prior
    occurrence", RFC 1035 4.1.4), and none is followed once the name is too long to be shown.
    """
    start = out.cursor[TEXT]
    total = 0
    after = -1
    pointers = 0
    labels = at
    while True:
        out.notes[NOTE_STEPS] += 1
        if at >= end:
            return -1, 0, 0
        size = int(buf[at])
        at += 1
        if size == 0:
            break
        if size >= 0xC0:
            if at >= end:
                return -1, 0, 0
            if after < 0:
                after = at + 1
            if total > MAX_NAME:
                break
            at = base + (((size & 0x3F) << 8) | int(buf[at]))
            pointers += 1
            if at < end and (at >= labels or pointers > MAX_POINTERS):
                words = put_words(out, LOOPS)
                return after, words, words
            labels = at
            continue
        if size >= 0x80:
            return -1, 0, 0
        if size >= 0x40:
            words = put_words(out, UNKNOWN_LABEL)
            return after if after >= 0 else at, words, words
        if at + size > end:
            return -1, 0, 0
        if total > 0:
            if total < MAX_NAME:
                set_text(out, start + total, 46)
            total += 1
        copy_text(out, start + total, buf, at, min(size, MAX_NAME - total))
        out.notes[NOTE_STEPS] += size
        total += size
        at += size
        if total > MAX_NAME and after >= 0:
            break
    if after < 0:
        after = at
    if total > MAX_NAME:
        words = put_words(out, TOO_LONG)
        return after, words, words
    if total == 0:
        words = put_words(out, ROOT)
        return after, words, words
    return after, total, 0 if total == 1 else total


@kernel_lean
def looks_like_dns(buf: Any, pos: int, end: int) -> bool:
    """Return whether a UDP datagram on other ports looks like DNS (tshark's heuristic): a query, or an answer."""
    if end - pos <= HEADER:
        return False
    flags, questions, answers = u16(buf, pos + 2), u16(buf, pos + 4), u16(buf, pos + 6)
    authorities, additional = u16(buf, pos + 8), u16(buf, pos + 10)
    if flags & OPCODE or additional > MAX_RECORDS:
        return False
    if flags & RESPONSE:
        return bool(questions <= 1 and answers <= MAX_ANSWERS and authorities <= MAX_RECORDS)
    return bool(questions == 1 and answers == 0 and authorities == 0)


@kernel_lean
def dns_message(
    out: Table, apps: Applications, row: int, buf: Any, pos: int, end: int, mdns: bool, slot: int, number: int,
    time_ns: int, in_error: bool,
) -> None:  # fmt: skip
    """Put the questions of one DNS message and whether it was seen before."""
    if end - pos < 4:
        return
    flags = u16(buf, pos + 2)
    first = 0
    again = False
    if not in_error:
        first, again = transaction(apps, slot, u16(buf, pos), flags & RESPONSE != 0, number, time_ns)
    if end - pos < HEADER:
        return
    at = pos + HEADER
    limit = out.notes[NOTE_STEPS] + NAME_STEPS + NAME_STEPS_A_BYTE * (end - pos)
    for _ in range(u16(buf, pos + 4)):
        if out.notes[NOTE_STEPS] > limit:
            out.notes[NOTE_NAMES_CUT] += 1
            return
        following, size, length = spell_name(out, buf, pos, at, end)
        if following < 0 or following + 4 > end or row_full(out):
            return
        put_text(out, row, NAME, size, 0)
        put(out, row, NAME_LENGTH, length)
        put(out, row, TYPE, u16(buf, following))
        if mdns:
            put(out, row, QU, int(buf[following + 2]) >> 7)
        at = following + 4
    if again and records_fit(out, buf, pos, at, end, limit):
        put(out, row, RETRANSMISSION, 1)
        if flags & RESPONSE == 0:
            put(out, row, RETRANSMIT_REQUEST, 1)
            put(out, row, RETRANSMIT_REQUEST_IN, first)


@kernel_lean
def records_fit(out: Table, buf: Any, pos: int, at: int, end: int, limit: int) -> bool:
    """Return whether the records behind the questions, from `at` on, are within the message: else it is malformed."""
    for _ in range(u16(buf, pos + 6) + u16(buf, pos + 8) + u16(buf, pos + 10)):
        if out.notes[NOTE_STEPS] > limit:
            out.notes[NOTE_NAMES_CUT] += 1
            return False
        following, _, _ = spell_name(out, buf, pos, at, end)
        if following < 0 or following + RECORD > end:
            return False
        at = following + RECORD + u16(buf, following + RECORD - 2)
        if at > end:
            return False
    return True


@kernel_lean
def transaction(apps: Applications, slot: int, identifier: int, response: bool, number: int, time_ns: int) -> Any:
    """Enter a message into the transactions of its conversation.

    Return the frame number of the query and whether this message was seen before: a query not yet answered and at
    most five seconds old, or an answer to an answered query.
    """
    key = ((slot & 0xFFFFF) << 43) | ((apps.generation[slot] & 0x7FFFFFF) << 16) | identifier
    sets = apps.dns.shape[0] // WAYS
    base = ((key * 0x9E3779B97F4A7C1) >> 20) % sets * WAYS
    dns = apps.dns
    place = -1
    oldest = base
    for way in range(base, base + WAYS):
        if dns[way, QUERY] != 0 and dns[way, KEY] == key:
            place = way
        if dns[way, QUERY] < dns[oldest, QUERY]:
            oldest = way
    if response:
        if place < 0:
            return 0, False
        again = dns[place, ANSWER] != 0
        if not again:
            dns[place, ANSWER] = number
        return dns[place, QUERY], again
    if place >= 0 and dns[place, ANSWER] == 0 and time_ns - dns[place, ASKED_NS] <= RETRANSMISSION_NS:
        return dns[place, QUERY], True
    if place < 0:
        place = oldest
    dns[place, KEY] = key
    dns[place, QUERY] = number
    dns[place, ASKED_NS] = time_ns
    dns[place, ANSWER] = 0
    return number, False
