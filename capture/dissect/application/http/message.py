"""HTTP/1 (RFC 9112) and SSDP messages, dissected one at a time as tshark does: fields put, bytes still needed."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.application.http.body import CODING_SHIFT, FILE_DATA, TOO_SHORT, join_chunks, put_body
from offramp.capture.dissect.application.http.completeness import MAX_HEAD, head_needs
from offramp.capture.dissect.application.http.head import (
    ANSWER,
    CHUNKED,
    CODING,
    HOST,
    HOST_END,
    KIND,
    LENGTH,
    MANDATORY,
    OTHER,
    REQUEST,
    SHOWN,
    STATUS,
    TRANSFER,
    UNKNOWN_CODING,
    UPGRADE,
    URI,
    URI_END,
    begins,
    begins_exactly,
    find_line,
    first_line_kind,
    line_steps,
    read_field,
    skip_blanks,
    status_of,
    text_end,
    token_end,
)
from offramp.capture.dissect.application.http.octets import COLON, CR, LF, QUESTION, SPACE, TAB
from offramp.capture.dissect.conversation.reassembly import ABORT, COMPLETE, HEAD_LINES
from offramp.capture.dissect.conversation.state import (
    HTTP_METHOD,
    HTTP_PORT,
    HTTP_SEEN,
    HTTP_STATE,
    HTTP_STATUS,
    Applications,
)
from offramp.capture.dissect.packet.notes import NOTE_STEPS
from offramp.capture.dissect.packet.table import TEXT, Table, copy_text, put, put_bytes, put_text, set_text
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_lean

METHOD, QUERY = INDEX["http.request.method"], INDEX["http.request.uri.query"]
FULL_URI, VERSION = INDEX["http.request.full_uri"], INDEX["http.request.version"]
RESPONSE, TLS_PORT = INDEX["http.response"], INDEX["http.tls_port"]
HTTP_SCHEME, HTTPS_SCHEME = b"http://", b"https://"
HEAD_LINE, CONNECT_LINE, SSTP_LINE = b"HEAD ", b"CONNECT ", b"SSTP_DUPLEX_POST "
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REPLACEMENT = b"\xef\xbf\xbd"  # U+FFFD, for bytes that are not ASCII

# what HTTP_METHOD remembers
HEAD_METHOD = 1
CONNECT_METHOD = 2
SSTP_METHOD = 3
OTHER_METHOD = 4

# what HTTP_STATE remembers
SPEAKS_HTTP = 0
SWITCHED = 1  # to a protocol that is not dissected here
TUNNEL_TAKEN = 2  # the first request through a proxy's tunnel was shown; what follows is not


@kernel_lean
def http_message(
    out: Table, apps: Applications, head: Any, row: int, buf: Any, in_block: bool, pos: int, end: int, can_wait: bool,
    fin: bool, slot: int, tls_port: bool,
) -> Any:  # fmt: skip
    """Put one message that starts at `pos`; return where the next one starts, what is waited for and how much.

    can_wait: more segments may be asked for; fin: no more will come. A message that waits puts nothing yet.
    """
    kind = apps.kind
    if kind[slot, HTTP_STATE] != SPEAKS_HTTP:
        return end, COMPLETE, 0
    skipped = 2 if end - pos > 3 and buf[pos] == CR and buf[pos + 1] == LF else 0
    start = pos + skipped
    if buf[start] < SPACE or buf[start] > 126:
        return end, COMPLETE, 0
    stop, following = find_line(buf, start, end, True)
    out.notes[NOTE_STEPS] += line_steps(following - start)
    if stop < 0 and can_wait:
        if end - start < MAX_HEAD:
            return start, HEAD_LINES, 0
        return end, COMPLETE, 0
    seen = kind[slot, HTTP_SEEN] != 0
    first = OTHER if stop < 0 else first_line_kind(buf, start, stop)
    if first != OTHER and can_wait:
        bodied = not fin and body_follows(apps, slot, first, buf, start, stop)
        mode, need = head_needs(out.notes, buf, start, end, bodied, first == ANSWER)
        if mode != COMPLETE and (mode != HEAD_LINES or end - start < MAX_HEAD):
            return start, mode, need
    body = read_message(out, apps, row, buf, in_block, start, end, slot, tls_port, head, seen or first != OTHER)
    if body < 0:
        return end, ABORT, 0
    return after_head(out, apps, row, buf, in_block, body, end, slot, head, skipped)


@kernel_lean
def body_follows(apps: Applications, slot: int, first: int, buf: Any, pos: int, stop: int) -> bool:
    """Return whether a message may have a body; some answers have none, by their status or by the request's method."""
    if first != ANSWER:
        return True
    status = status_of(buf, pos, stop, True)
    asked = apps.kind[slot, HTTP_METHOD]
    if status // 100 == 1 or status == 204 or status == 304 or asked == HEAD_METHOD:
        return False
    return not (status // 100 == 2 and (asked in (CONNECT_METHOD, SSTP_METHOD)))


@kernel_lean
def read_message(
    out: Table, apps: Applications, row: int, buf: Any, in_block: bool, pos: int, end: int, slot: int,
    tls_port: bool, head: Any, shown: bool,
) -> Any:  # fmt: skip
    """Read the lines of a message's head; return where its body starts, or -1 where the head is cut."""
    head[:] = 0
    head[LENGTH] = -1
    head[HOST] = -1
    head[URI] = -1
    head[SHOWN] = shown
    any_line = False
    while pos < end:
        stop, following = find_line(buf, pos, end, False)
        out.notes[NOTE_STEPS] += line_steps(following - pos) + 8 + stop - pos  # name and value, byte by byte
        first = first_line_kind(buf, pos, stop)
        colon = pos
        if first == OTHER and stop > pos:
            while colon < stop and buf[colon] != COLON:
                colon += 1
            if colon == stop:
                if any_line and stop >= end:
                    return -1
                break
        head[SHOWN] = 1
        if tls_port and not any_line:
            put(out, row, TLS_PORT, 1)
        if stop == pos:
            pos = following
            break
        any_line = True
        if first == OTHER:
            read_field(out, row, buf, in_block, pos, colon, stop, head)
        else:
            head[KIND] = first
            if first == ANSWER:
                head[STATUS] = status_of(buf, pos, stop, False)
                if head[STATUS] != 0:
                    apps.kind[slot, HTTP_STATUS] = head[STATUS]
            else:
                read_request(out, apps, row, buf, in_block, pos, stop, slot, head)
        pos = following
    if head[HOST] >= 0 and head[URI] >= 0:
        put_full_uri(out, apps, row, buf, slot, head)
    if head[KIND] == ANSWER:
        put(out, row, RESPONSE, 1)
    return pos


@kernel_lean
def read_request(
    out: Table, apps: Applications, row: int, buf: Any, in_block: bool, pos: int, stop: int, slot: int, head: Any
) -> None:
    """Put method, query and version of a request line buf[pos:stop]; remember what decides how its answer is read."""
    kind = apps.kind
    short = OTHER_METHOD
    name = pos + 2 if begins_exactly(buf, pos, stop, MANDATORY) else pos
    if begins_exactly(buf, name, stop, HEAD_LINE):
        short = HEAD_METHOD
    elif begins_exactly(buf, name, stop, CONNECT_LINE):
        short = CONNECT_METHOD
    elif begins_exactly(buf, name, stop, SSTP_LINE):
        short = SSTP_METHOD
    kind[slot, HTTP_METHOD] = short
    method = token_end(buf, pos, stop)
    put_bytes(out, row, METHOD, buf, in_block, pos, method - pos)
    uri = skip_blanks(buf, method, stop)
    if uri - method >= 2:
        uri -= 1
    following = token_end(buf, uri, stop)
    uri_end = text_end(buf, uri, following)
    kind[slot, HTTP_SEEN] = 1
    kind[slot, HTTP_PORT] = port_named(buf, uri, uri_end)
    head[URI], head[URI_END] = uri, uri_end
    at = uri
    while at < uri_end and buf[at] != QUESTION:
        at += 1
    if at + 1 < uri_end:
        put_bytes(out, row, QUERY, buf, in_block, at + 1, uri_end - at - 1)
    version = skip_blanks(buf, following, stop)
    put_bytes(out, row, VERSION, buf, in_block, version, stop - version)


@kernel_lean
def port_named(buf: Any, uri: int, uri_end: int) -> Any:
    """Return the number after the first colon of a URI, -1 where there is no colon."""
    at = uri
    while at < uri_end and buf[at] != COLON:
        at += 1
    if at == uri_end:
        return -1
    at += 1
    value = 0
    while at < uri_end and 48 <= buf[at] <= 57 and value < 65_536:
        value = value * 10 + int(buf[at]) - 48
        at += 1
    return min(value, 65_535)


@kernel_lean
def put_full_uri(out: Table, apps: Applications, row: int, buf: Any, slot: int, head: Any) -> None:
    """Put the absolute URI: the request's own, or one made of host and path."""
    start = at = out.cursor[TEXT]
    uri, uri_end = head[URI], head[URI_END]
    absolute = begins(buf, uri, uri_end, HTTP_SCHEME) or begins(buf, uri, uri_end, HTTPS_SCHEME)
    if not absolute and apps.kind[slot, HTTP_METHOD] != CONNECT_METHOD:
        for step in range(len(HTTP_SCHEME)):
            set_text(out, at, HTTP_SCHEME[step])
            at += 1
        host = head[HOST]
        host_end = text_end(buf, host, head[HOST_END])
        while host < host_end and (buf[host] == SPACE or TAB <= buf[host] <= CR):
            host += 1
        while host_end > host and (buf[host_end - 1] == SPACE or TAB <= buf[host_end - 1] <= CR):
            host_end -= 1
        copy_text(out, at, buf, host, host_end - host)
        at += host_end - host
    for step in range(uri, uri_end):
        if buf[step] < 128:
            set_text(out, at, buf[step])
            at += 1
        else:
            for byte in range(3):
                set_text(out, at + byte, REPLACEMENT[byte])
            at += 3
    put_text(out, row, FULL_URI, at - start, 0)


@kernel_lean
def after_head(
    out: Table, apps: Applications, row: int, buf: Any, in_block: bool, body: int, end: int, slot: int, head: Any,
    skipped: int,
) -> Any:  # fmt: skip
    """Put a message's body, and note a switch to another protocol; return as http_message does."""
    kind = head[KIND]
    size = end - body
    if head[LENGTH] >= 0 and head[TRANSFER] == 0:
        size = min(size, head[LENGTH])
    elif bodiless(head):
        size = 0
    if size > 0:
        taken = body_shown(out, row, buf, in_block, body, size, head)
        if taken == TOO_SHORT:
            return end, ABORT, 0
        if begins_exactly(buf, body, body + taken, PREFACE):
            apps.kind[slot, HTTP_STATE] = SWITCHED
        body += taken
    state = apps.kind
    asked = state[slot, HTTP_METHOD]
    if kind == ANSWER and asked != 0:
        upgraded = head[UPGRADE] and state[slot, HTTP_STATUS] == 101
        if upgraded or (asked == SSTP_METHOD and state[slot, HTTP_STATUS] == 200):
            state[slot, HTTP_STATE] = SWITCHED
    return body - skipped, COMPLETE, 0


@kernel_lean
def bodiless(head: Any) -> bool:
    """Return whether a message without a length has no body."""
    if head[KIND] == ANSWER:
        return bool(head[STATUS] // 100 == 1 or head[STATUS] == 204 or head[STATUS] == 304)
    return bool(head[KIND] == REQUEST and head[TRANSFER] == 0)


@kernel_lean
def body_shown(out: Table, row: int, buf: Any, in_block: bool, body: int, size: int, head: Any) -> Any:
    """Put a body of at most `size` bytes, decoded as far as its head says; return the bytes it takes, or TOO_SHORT."""
    coding = head[CODING]
    hidden = head[TRANSFER] == 2 or coding == UNKNOWN_CODING or head[SHOWN] == 0
    if not head[CHUNKED]:
        if not hidden:
            put_body(out, row, buf, in_block, body, size, coding)
        return size
    last, joined = join_chunks(out, buf, body, body + size)
    if last == TOO_SHORT:
        return TOO_SHORT
    if last == body:
        return size
    if not hidden:
        put_text(out, row, FILE_DATA, joined, coding << CODING_SHIFT)
    return last - body
