"""HTTP/1 (RFC 9112) and SSDP: request and response heads, bodies by length, chunks or end, as tshark tells them."""

from __future__ import annotations

from typing import Any

from capture.application_state import HTTP_METHOD, Applications
from capture.emit import Table, put, put_bytes, text_span
from capture.reassembly import BYTES, COMPLETE, SEGMENT, UNTIL_FIN
from capture.schema import INDEX
from offramp_kernels import kernel_lean

FILE_DATA, CONTENT_LENGTH = INDEX["http.file_data"], INDEX["http.content_length"]
QUERY, METHOD, REFERER = INDEX["http.request.uri.query"], INDEX["http.request.method"], INDEX["http.referer"]
FULL_URI, VERSION = INDEX["http.request.full_uri"], INDEX["http.request.version"]
RESPONSE, TLS_PORT = INDEX["http.response"], INDEX["http.tls_port"]

METHODS = (
    b" GET PUT COPY HEAD LOCK MOVE POLL POST BCOPY BMOVE MKCOL TRACE PATCH LABEL MERGE DELETE SEARCH UNLOCK REPORT"
    b" UPDATE NOTIFY BDELETE CONNECT OPTIONS CHECKIN PROPFIND CHECKOUT CCM_POST M-SEARCH SUBSCRIBE PROPPATCH BPROPFIND"
    b" BPROPPATCH MKACTIVITY RPC_CONNECT RPC_IN_DATA UNSUBSCRIBE RDG_IN_DATA RPC_OUT_DATA RDG_OUT_DATA UNCHECKOUT"
    b" MKWORKSPACE VERSION-CONTROL BASELINE-CONTROL "
)
ANSWER = b"HTTP/"
ANSWER_ICY = b"ICY"
H_LENGTH = b"content-length:"
H_TYPE = b"content-type:"
H_CODING = b"content-encoding:"
H_TRANSFER = b"transfer-encoding:"
H_CONNECTION = b"connection:"
H_HOST = b"host:"
H_REFERER = b"referer:"
CHUNKED = b"chunked"
KEEP_ALIVE = b"keep-alive"
IDENTITY = b"identity"
HTTP_SCHEME = b"http://"
HTTPS_SCHEME = b"https://"

OTHER = 0
REQUEST = 1
ANSWERED = 2
NOTIFICATION = 3

# what HTTP_METHOD remembers
HEAD_METHOD = 1
CONNECT_METHOD = 2
OTHER_METHOD = 3

MAX_HEAD = 1 << 17


@kernel_lean
def find_line(buf: Any, pos: int, end: int) -> Any:
    """Return where a line ends and where the next one starts; -1 and `end` where no line end is there."""
    at = pos
    while at < end:
        byte = buf[at]
        if byte == 10:
            return at, at + 1
        if byte == 13:
            if at + 1 == end:
                return -1, end
            if buf[at + 1] == 10:
                return at, at + 2
            return at, at + 1
        at += 1
    return -1, end


@kernel_lean
def begins(buf: Any, pos: int, end: int, words: bytes) -> bool:
    """Tell whether the bytes begin with `words`, which are in lower case, in any case."""
    if end - pos < len(words):
        return False
    for at in range(len(words)):
        byte = int(buf[pos + at])
        if 65 <= byte <= 90:
            byte += 32
        if byte != words[at]:
            return False
    return True


@kernel_lean
def begins_exactly(buf: Any, pos: int, end: int, words: bytes) -> bool:
    """Tell whether the bytes begin with `words`."""
    if end - pos < len(words):
        return False
    for at in range(len(words)):  # noqa: SIM110 - kernels know no generators
        if buf[pos + at] != words[at]:
            return False
    return True


@kernel_lean
def first_line_kind(buf: Any, pos: int, end: int) -> Any:
    """Return whether a line is a REQUEST, an ANSWERED, a NOTIFICATION or OTHER, and the length of its method."""
    if begins_exactly(buf, pos, end, ANSWER) or begins_exactly(buf, pos, end, ANSWER_ICY):
        return ANSWERED, 0
    size = 0
    while size < 17 and pos + size < end and buf[pos + size] != 32:
        size += 1
    if size < 3 or size > 16 or buf[pos] < 65 or buf[pos] > 90:
        return OTHER, 0
    at = 0
    while at + size < len(METHODS) - 1:
        word = at + 1
        same = METHODS[word + size] == 32
        step = 0
        while same and step < size:
            same = buf[pos + step] == METHODS[word + step]
            step += 1
        if same:
            return REQUEST, size
        at += 1
        while METHODS[at] != 32:
            at += 1
    return OTHER, 0


@kernel_lean
def skip_blanks(buf: Any, pos: int, end: int) -> Any:
    """Return the first position that is no space or tab."""
    while pos < end and (buf[pos] == 32 or buf[pos] == 9):
        pos += 1
    return pos


@kernel_lean
def number_at(buf: Any, pos: int, end: int) -> Any:
    """Return a decimal number that fills buf[pos:end] up to white space, or -1."""
    value = 0
    at = pos
    while at < end and 48 <= buf[at] <= 57:
        if at - pos > 17:
            return -1
        value = value * 10 + int(buf[at]) - 48
        at += 1
    if at == pos or (at < end and buf[at] != 32 and buf[at] != 9):
        return -1
    return value


@kernel_lean
def read_head(buf: Any, pos: int, end: int, head: Any) -> bool:
    """Read the header lines from `pos` into `head`; True where the blank line was found.

    head: int64 [16]: 0 content length or -1, 1 chunked, 2 content type there, 3 keep-alive, 4 content coded,
    5-6 host, 7-8 referer (start and end), 9 where the body starts.
    """
    head[:] = 0
    head[0] = -1
    head[5] = -1
    head[7] = -1
    while pos < end:
        stop, following = find_line(buf, pos, end)
        if stop < 0:
            break
        if stop == pos:
            head[9] = following
            return True
        first = int(buf[pos]) | 32
        if first == 99:
            if begins(buf, pos, stop, H_LENGTH):
                head[0] = number_at(buf, skip_blanks(buf, pos + 15, stop), stop)
            elif begins(buf, pos, stop, H_TYPE):
                head[2] = 1
            elif begins(buf, pos, stop, H_CODING):
                at = skip_blanks(buf, pos + 17, stop)
                head[4] = at < stop and not begins(buf, at, stop, IDENTITY)
            elif begins(buf, pos, stop, H_CONNECTION):
                head[3] = begins(buf, skip_blanks(buf, pos + 11, stop), stop, KEEP_ALIVE)
        elif first == 104:
            if begins(buf, pos, stop, H_HOST):
                head[5] = skip_blanks(buf, pos + 5, stop)
                head[6] = stop
        elif first == 116:
            if begins(buf, pos, stop, H_TRANSFER):
                head[1] = begins(buf, skip_blanks(buf, pos + 18, stop), stop, CHUNKED)
        elif first == 114 and begins(buf, pos, stop, H_REFERER):
            head[7] = skip_blanks(buf, pos + 8, stop)
            head[8] = stop
        pos = following
    head[9] = end
    return False


@kernel_lean
def chunks_end(buf: Any, pos: int, end: int) -> Any:
    """Return where a chunked body ends, or -1 and how many bytes are missing (0 where that is not known)."""
    while True:
        stop, following = find_line(buf, pos, end)
        if stop < 0:
            return -1, 0
        size = 0
        at = pos
        while at < stop:
            byte = int(buf[at]) | 32
            if 48 <= byte <= 57:
                size = size * 16 + byte - 48
            elif 97 <= byte <= 102:
                size = size * 16 + byte - 87
            else:
                break
            at += 1
            if size > 1 << 31:
                return end, 0
        if at == pos:
            return end, 0
        if size == 0:
            while True:
                stop, next_line = find_line(buf, following, end)
                if stop < 0:
                    return -1, 0
                if stop == following:
                    return next_line, 0
                following = next_line
        pos = following + size + 2
        if pos > end:
            return -1, pos - end


@kernel_lean
def put_chunks(out: Table, row: int, buf: Any, pos: int, end: int) -> None:
    """Put a chunked body without its chunk lines."""
    start = out.cursor[1]
    at = start
    while pos < end:
        stop, following = find_line(buf, pos, end)
        if stop < 0:
            break
        size = 0
        digit = pos
        while digit < stop:
            byte = int(buf[digit]) | 32
            if 48 <= byte <= 57:
                size = size * 16 + byte - 48
            elif 97 <= byte <= 102:
                size = size * 16 + byte - 87
            else:
                break
            digit += 1
            if size > 1 << 31:
                break
        if size == 0 or digit == pos:
            break
        for step in range(min(size, end - following)):
            out.text[at] = buf[following + step]
            at += 1
        pos = following + size + 2
    out.cursor[1] = at
    if at > start:
        put(out, row, FILE_DATA, text_span(start, at - start))


@kernel_lean
def put_request(
    out: Table, row: int, buf: Any, in_block: bool, pos: int, stop: int, method: int, host: int, host_end: int
) -> None:
    """Put method, query, version and absolute URI of a request line buf[pos:stop]."""
    put_bytes(out, row, METHOD, buf, in_block, pos, method)
    uri = pos + method
    while uri < stop and buf[uri] == 32:
        uri += 1
    if uri - pos - method == 2:
        uri -= 1
    uri_end = uri
    while uri_end < stop and buf[uri_end] != 32:
        uri_end += 1
    at = uri
    while at < uri_end and buf[at] != 63:
        at += 1
    if at < uri_end:
        put_bytes(out, row, QUERY, buf, in_block, at + 1, uri_end - at - 1)
    version = uri_end
    while version < stop and buf[version] == 32:
        version += 1
    put_bytes(out, row, VERSION, buf, in_block, version, stop - version)
    if host < 0:
        return
    while host_end > host and (buf[host_end - 1] == 32 or buf[host_end - 1] == 9):
        host_end -= 1
    start = out.cursor[1]
    at = start
    if not begins(buf, uri, uri_end, HTTP_SCHEME) and not begins(buf, uri, uri_end, HTTPS_SCHEME):
        for step in range(len(HTTP_SCHEME)):
            out.text[at] = HTTP_SCHEME[step]
            at += 1
        for step in range(host, host_end):
            out.text[at] = buf[step]
            at += 1
    for step in range(uri, uri_end):
        out.text[at] = buf[step]
        at += 1
    out.cursor[1] = at
    put(out, row, FULL_URI, text_span(start, at - start))


@kernel_lean
def status_of(buf: Any, pos: int, stop: int) -> Any:
    """Return the status code of a response line, 0 where there is none."""
    at = pos
    while at < stop and buf[at] != 32:
        at += 1
    while at < stop and buf[at] == 32:
        at += 1
    value = 0
    size = 0
    while at < stop and size < 3 and 48 <= buf[at] <= 57:
        value = value * 10 + int(buf[at]) - 48
        at += 1
        size += 1
    return value


@kernel_lean
def http_message(
    out: Table, apps: Applications, head: Any, row: int, buf: Any, in_block: bool, pos: int, end: int, can_wait: bool,
    slot: int, tls_port: bool,
) -> Any:  # fmt: skip
    """Put one message that starts at `pos`; return where it ends, what it waits for and how many bytes more.

    Where it waits nothing was put.
    """
    stop, following = find_line(buf, pos, end)
    if buf[pos] < 32 or buf[pos] > 126:
        return end, COMPLETE, 0
    if stop < 0:
        if can_wait and end - pos < MAX_HEAD:
            return pos, SEGMENT, 0
        stop = end
    kind, method = first_line_kind(buf, pos, stop)
    if kind == OTHER:
        return end, COMPLETE, 0
    whole = read_head(buf, following, end, head)
    if not whole and can_wait and end - pos < MAX_HEAD:
        return pos, SEGMENT, 0
    body = head[9]
    last = body if kind == REQUEST else end
    status = 0
    if kind == ANSWERED:
        status = status_of(buf, pos, stop)
        asked = apps.kind[slot, HTTP_METHOD]
        none = status // 100 == 1 or status == 204 or status == 304
        none = none or asked == HEAD_METHOD or (asked == CONNECT_METHOD and status // 100 == 2)
        if none:
            can_wait = False
        if status // 100 == 1 or status == 204 or status == 304:
            last = body
    if head[1]:
        last, missing = chunks_end(buf, body, end)
        if last < 0:
            if can_wait:
                return pos, BYTES if missing else SEGMENT, missing
            last = end
    elif head[0] >= 0:
        last = body + head[0]
        if last > end:
            if can_wait:
                return pos, BYTES, last - end
            last = end
    elif kind == ANSWERED and can_wait and head[2] and not head[3]:
        return pos, UNTIL_FIN, 0
    if kind == REQUEST:
        put_request(out, row, buf, in_block, pos, stop, method, head[5], head[6])
        first = buf[pos]
        short = HEAD_METHOD if first == 72 and method == 4 else OTHER_METHOD
        apps.kind[slot, HTTP_METHOD] = CONNECT_METHOD if method == 7 and first == 67 and buf[pos + 1] == 79 else short
    else:
        put(out, row, RESPONSE, 1)
    if tls_port:
        put(out, row, TLS_PORT, 1)
    if head[0] >= 0:
        put(out, row, CONTENT_LENGTH, head[0])
    if head[7] >= 0:
        put_bytes(out, row, REFERER, buf, in_block, head[7], head[8] - head[7])
    if last > body and not head[4]:
        if head[1]:
            put_chunks(out, row, buf, body, last)
        else:
            put_bytes(out, row, FILE_DATA, buf, in_block, body, last - body)
    return last, COMPLETE, 0
