"""Heads of HTTP/1 messages (RFC 9112): lines, first lines and header fields, read as tshark reads them."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.application.http.octets import COMMA, CR, LF, SPACE, TAB
from offramp.capture.dissect.packet.table import Table, put, put_bytes
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_lean

CONTENT_LENGTH, REFERER = INDEX["http.content_length"], INDEX["http.referer"]

# the fields of a head, int64 [24]
LENGTH = 0  # Content-Length, -1 none
CHUNKED = 1
TRANSFER = 2  # 0 no Transfer-Encoding, 1 one that leaves bytes as they are or is unknown, 2 one that compresses
CODING = 3  # 0 as it is, else one of the next three
HOST, HOST_END = 4, 5  # -1 none
KIND = 6  # of the first line
URI, URI_END = 7, 8  # of the newest request line, -1 none
STATUS = 9
UPGRADE = 10
SHOWN = 11  # whether the message is taken for HTTP at all
ZLIB, BROTLI, UNKNOWN_CODING = 1, 2, 3

# kinds of first lines
OTHER = 0
REQUEST = 1
ANSWER = 2
NOTIFICATION = 3

METHODS = (
    b" GET PUT COPY HEAD LOCK MOVE POLL POST BCOPY BMOVE MKCOL TRACE PATCH LABEL MERGE DELETE SEARCH UNLOCK REPORT"
    b" UPDATE BDELETE CONNECT OPTIONS CHECKIN PROPFIND CHECKOUT CCM_POST PROPPATCH BPROPFIND BPROPPATCH UNCHECKOUT"
    b" MKACTIVITY MKWORKSPACE RPC_CONNECT RPC_IN_DATA RPC_OUT_DATA VERSION-CONTROL BASELINE-CONTROL SSTP_DUPLEX_POST "
)
NOTIFICATIONS = b" NOTIFY SUBSCRIBE UNSUBSCRIBE "
ANSWERS = b"HTTP/"
ANSWERS_ICY = b"ICY"
MANDATORY = b"M-"  # RFC 2774
H_LENGTH = b"content-length:"
H_CODING = b"content-encoding:"
H_TRANSFER = b"transfer-encoding:"
H_HOST = b"host:"
H_REFERER = b"referer:"
H_UPGRADE = b"upgrade:"
IDENTITY = b"identity"
GZIP, X_GZIP, DEFLATE, X_DEFLATE, BR = b"gzip", b"x-gzip", b"deflate", b"x-deflate", b"br"
CHUNKED_WORD, COMPRESS, X_COMPRESS = b"chunked", b"compress", b"x-compress"
NAME_MARKS = b"!#$%&\\:*+-.^_`|~"
MAX_NUMBER = 0x7FFFFFFFFFFFFFFF

STRIDE = 64  # bytes that are looked at in one go


def _by_size(words: bytes) -> tuple[int, ...]:
    """Return where among words, which stand between blanks and the short ones first, those of each size begin."""
    starts, at = [len(words)] * 17, 0
    for word in words.split():
        starts[len(word)] = min(starts[len(word)], at)
        at += len(word) + 1
    return tuple(starts)


METHODS_OF, NOTIFICATIONS_OF = _by_size(METHODS), _by_size(NOTIFICATIONS)


@kernel_lean
def has_line_end(part: Any) -> bool:
    """Return whether a CR or LF stands in the STRIDE bytes of `part`; without a branch, it becomes vector code."""
    found = False
    for at in range(STRIDE):
        found |= (part[at] == LF) | (part[at] == CR)
    return found


@kernel_lean
def find_line(buf: Any, pos: int, end: int, whole: bool) -> Any:
    """Return where a line ends and where the next one starts.

    `whole`: a line whose end is not in sight is none (-1), as is one that ends with the bytes' last CR; otherwise it
    is all that is left.
    """
    at = pos
    while at + STRIDE <= end and not has_line_end(buf[at : at + STRIDE]):
        at += STRIDE
    while at < end:
        byte = buf[at]
        if byte == LF:
            return at, at + 1
        if byte == CR:
            if at + 1 == end:
                return (-1 if whole else at), end
            if buf[at + 1] == LF:
                return at, at + 2
            return at, at + 1
        at += 1
    return (-1 if whole else end), end


@kernel_lean
def line_steps(size: int) -> Any:
    """Return the steps that finding the end of a line of `size` bytes takes: strides, then byte by byte."""
    return ((size + STRIDE) >> 3) + (size & (STRIDE - 1))


@kernel_lean
def begins(buf: Any, pos: int, end: int, words: bytes) -> bool:
    """Return whether the bytes begin with `words`, which are in lower case, in any case."""
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
    """Return whether the bytes begin with `words`."""
    if end - pos < len(words):
        return False
    for at in range(len(words)):  # noqa: SIM110 - kernels know no generators
        if buf[pos + at] != words[at]:
            return False
    return True


@kernel_lean
def among(buf: Any, pos: int, size: int, words: bytes, first: int) -> bool:
    """Return whether a word is one of `words`, which stand between blanks, the short ones first.

    first: where the words of its size begin.
    """
    at = first
    while at + size < len(words) - 1 and words[at + size + 1] == SPACE:
        word = at + 1
        same = words[word + size] == SPACE
        step = 0
        while same and step < size:
            same = buf[pos + step] == words[word + step]
            step += 1
        if same:
            return True
        at += size + 1
    return False


@kernel_lean
def first_line_kind(buf: Any, pos: int, stop: int) -> Any:
    """Return whether a line is a REQUEST, an ANSWER, a NOTIFICATION or OTHER."""
    if pos >= stop or buf[pos] < 65 or buf[pos] > 90:
        return OTHER
    if begins_exactly(buf, pos, stop, MANDATORY):
        pos += 2
    if begins_exactly(buf, pos, stop, ANSWERS) or begins_exactly(buf, pos, stop, ANSWERS_ICY):
        return ANSWER
    size = 0
    while size < 17 and pos + size < stop and buf[pos + size] != SPACE:
        size += 1
    if size < 3 or size > 16:
        return OTHER
    if among(buf, pos, size, METHODS, METHODS_OF[size]):
        return REQUEST
    return NOTIFICATION if among(buf, pos, size, NOTIFICATIONS, NOTIFICATIONS_OF[size]) else OTHER


@kernel_lean
def token_end(buf: Any, pos: int, stop: int) -> Any:
    """Return where a word that starts at `pos` ends."""
    while pos < stop and buf[pos] != SPACE:
        pos += 1
    return pos


@kernel_lean
def skip_blanks(buf: Any, pos: int, stop: int) -> Any:
    """Return the first position that is no space."""
    while pos < stop and buf[pos] == SPACE:
        pos += 1
    return pos


@kernel_lean
def skip_space(buf: Any, pos: int, stop: int) -> Any:
    """Return the first position that is neither space nor tab."""
    while pos < stop and (buf[pos] == SPACE or buf[pos] == TAB):
        pos += 1
    return pos


@kernel_lean
def text_end(buf: Any, pos: int, stop: int) -> Any:
    """Return where text ends: at a NUL, if there is one."""
    at = pos
    while at < stop and buf[at] != 0:
        at += 1
    return at


@kernel_lean
def number_at(buf: Any, pos: int, stop: int) -> Any:
    """Return a decimal number that is followed by white space or nothing, or -1."""
    at = pos
    while at < stop and (buf[at] == SPACE or TAB <= buf[at] <= CR):
        at += 1
    negative = at < stop and buf[at] == 45
    if negative or (at < stop and buf[at] == 43):
        at += 1
    first = at
    value = 0
    while at < stop and 48 <= buf[at] <= 57:
        if value > (MAX_NUMBER - int(buf[at]) + 48) // 10:
            return -1
        value = value * 10 + int(buf[at]) - 48
        at += 1
    if at == first or (negative and value > 0):
        return -1
    if at < stop and buf[at] != 0 and buf[at] != SPACE and not (TAB <= buf[at] <= CR and buf[at] != 11):
        return -1
    return value


@kernel_lean
def status_of(buf: Any, pos: int, stop: int, exact: bool) -> Any:
    """Return the status code of a response line, 0 where there is none (`exact`: of three digits and no more)."""
    at = skip_blanks(buf, token_end(buf, pos, stop), stop)
    size = token_end(buf, at, stop) - at
    if size < 3 or (exact and size != 3):
        return 0
    value = 0
    for step in range(3):
        byte = int(buf[at + step])
        if byte < 48 or byte > 57:
            return 0 if exact else value
        value = value * 10 + byte - 48
    return value


@kernel_lean
def valid_name(buf: Any, pos: int, colon: int) -> bool:
    """Return whether buf[pos:colon] may be a header's name."""
    if pos == colon:
        return False
    for at in range(pos, colon):
        byte = int(buf[at])
        if 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122:
            continue
        known = False
        for mark in range(len(NAME_MARKS)):
            known = known or byte == NAME_MARKS[mark]
        if not known:
            return False
    return True


@kernel_lean
def same_word(buf: Any, pos: int, stop: int, words: bytes) -> bool:
    """Return whether buf[pos:stop] is `words` in any case and nothing more."""
    return bool(stop - pos == len(words) and begins(buf, pos, stop, words))


@kernel_lean
def coding_of(buf: Any, pos: int, stop: int) -> Any:
    """Return what a Content-Encoding's value asks for."""
    stop = text_end(buf, pos, stop)
    if same_word(buf, pos, stop, IDENTITY):
        return 0
    if same_word(buf, pos, stop, GZIP) or same_word(buf, pos, stop, X_GZIP):
        return ZLIB
    if same_word(buf, pos, stop, DEFLATE) or same_word(buf, pos, stop, X_DEFLATE):
        return ZLIB
    return BROTLI if same_word(buf, pos, stop, BR) else UNKNOWN_CODING


@kernel_lean
def read_transfer(buf: Any, pos: int, stop: int, head: Any) -> None:
    """Read a Transfer-Encoding's value: whether it is chunked, and whether it compresses."""
    stop = text_end(buf, pos, stop)
    head[TRANSFER] = 1
    known = False
    while pos < stop:
        byte = buf[pos]
        if byte in (SPACE, TAB, COMMA):
            pos += 1
        elif begins_exactly(buf, pos, stop, CHUNKED_WORD):
            head[CHUNKED] = 1
            pos += len(CHUNKED_WORD)
        elif known:
            return
        elif begins_exactly(buf, pos, stop, IDENTITY):
            known = True
            pos += len(IDENTITY)
        elif begins_exactly(buf, pos, stop, COMPRESS) or begins_exactly(buf, pos, stop, X_COMPRESS):
            head[TRANSFER], known = 2, True
            pos += len(COMPRESS) if buf[pos] == 99 else len(X_COMPRESS)
        elif begins_exactly(buf, pos, stop, DEFLATE) or begins_exactly(buf, pos, stop, X_GZIP):
            head[TRANSFER], known = 2, True
            pos += len(DEFLATE) if buf[pos] == 100 else len(X_GZIP)
        elif begins_exactly(buf, pos, stop, GZIP):
            head[TRANSFER], known = 2, True
            pos += len(GZIP)
        else:
            while pos < stop and buf[pos] != COMMA:
                pos += 1


@kernel_lean
def read_field(out: Table, row: int, buf: Any, in_block: bool, pos: int, colon: int, stop: int, head: Any) -> None:
    """Read one header line, whose name ends at `colon`, into `head`; put what columns show."""
    if not valid_name(buf, pos, colon):
        return
    at = skip_space(buf, colon + 1, stop)
    first = int(buf[pos]) | 32
    name = colon + 1
    if first == 99 and name - pos == len(H_LENGTH) and begins(buf, pos, name, H_LENGTH):
        head[LENGTH] = number_at(buf, at, stop)
        if head[LENGTH] >= 0:
            put(out, row, CONTENT_LENGTH, head[LENGTH])
    elif first == 99 and name - pos == len(H_CODING) and begins(buf, pos, name, H_CODING):
        head[CODING] = coding_of(buf, at, stop)
    elif first == 104 and name - pos == len(H_HOST) and begins(buf, pos, name, H_HOST):
        head[HOST], head[HOST_END] = at, stop
    elif first == 116 and name - pos == len(H_TRANSFER) and begins(buf, pos, name, H_TRANSFER):
        read_transfer(buf, at, stop, head)
    elif first == 114 and name - pos == len(H_REFERER) and begins(buf, pos, name, H_REFERER):
        put_bytes(out, row, REFERER, buf, in_block, at, stop - at)
    elif first == 117 and name - pos == len(H_UPGRADE) and begins(buf, pos, name, H_UPGRADE):
        head[UPGRADE] = 1
