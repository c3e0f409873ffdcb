"""TCP (RFC 9293) with relative numbers and passive round-trip times."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.conversation.flow_table import (
    BASE_SET,
    PENDING,
    SENT,
    TCP_STREAMS,
    FlowTable,
    conversation,
    start_flow,
)
from offramp.capture.dissect.packet.cursor import (
    DONE,
    END,
    ERROR,
    IN_ERROR,
    NEXT,
    POSITION,
    WIRE_END,
    fits,
    stop,
    u16,
    u32,
)
from offramp.capture.dissect.packet.found import (
    ACKNOWLEDGED,
    ADVERTISED,
    FLOW_IS_NEW,
    FLOW_SIDE,
    FLOW_SLOT,
    PAYLOAD_SIZE,
    RAW_SEQUENCE,
    SOURCE_PORT,
    TARGET_PORT,
    TCP_FLAG_BITS,
)
from offramp.capture.dissect.packet.notes import NOTE_BAD_TCP
from offramp.capture.dissect.packet.protocol_numbers import IPPROTO_TCP
from offramp.capture.dissect.packet.table import ABSENT, Table, put, span
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_lean

TCP_SOURCE, TCP_TARGET, TCP_STREAM = INDEX["tcp.srcport"], INDEX["tcp.dstport"], INDEX["tcp.stream"]
TCP_SEQUENCE, TCP_ACK, TCP_ACK_RAW = INDEX["tcp.seq"], INDEX["tcp.ack"], INDEX["tcp.ack_raw"]
TCP_LENGTH, TCP_FLAGS, TCP_FLAGS_ACK = INDEX["tcp.len"], INDEX["tcp.flags"], INDEX["tcp.flags.ack"]
TCP_CHECKSUM, TCP_OPTIONS, TCP_PAYLOAD = INDEX["tcp.checksum"], INDEX["tcp.options"], INDEX["tcp.payload"]
TCP_FIN, TCP_RST = INDEX["tcp.connection.fin"], INDEX["tcp.connection.rst"]
TCP_SYN, TCP_SYNACK = INDEX["tcp.connection.syn"], INDEX["tcp.connection.synack"]
RTT = INDEX["offramp.rtt"]
FIN, SYN, RST, ACK = 1, 2, 4, 16
WORD = 0xFFFFFFFF


@kernel_lean
def tcp(out: Table, flows: FlowTable, row: int, data: Any, cur: Any, time_ns: int, found: Any) -> bool:
    """TCP: header fields, relative numbers, round-trip time. True where the header is whole.

    The payload, if any, then stands at the cursor.
    As in tshark, a header cut after 16 bytes still counts, and one quoted by an ICMP error, or longer than its segment,
    shows its numbers raw.
    found: int64 [FOUND_SIZE], set to slot, direction, new, source port, target port, raw sequence number, flags,
    payload bytes on the wire, raw acknowledgement number, window.
    """
    at = cur[POSITION]
    there = cur[END] - at
    cur[NEXT] = DONE
    if there >= 4:
        put(out, row, TCP_SOURCE, u16(data, at))
        put(out, row, TCP_TARGET, u16(data, at + 2))
    if cur[IN_ERROR] & ERROR and 8 <= there < 16:
        put(out, row, TCP_SEQUENCE, u32(data, at + 4))
    if not fits(cur, 16):
        return False
    source_port, target_port = u16(data, at), u16(data, at + 2)
    sequence, acknowledged = u32(data, at + 4), u32(data, at + 8)
    flags = u16(data, at + 12) & 0xFFF
    header = int(data[at + 12] >> 4) * 4
    size = cur[WIRE_END] - at - header
    raw = cur[IN_ERROR] or size < 0
    slot, new, direction = conversation(flows, cur, source_port, target_port, IPPROTO_TCP)
    if not new and flags & (SYN | ACK) == SYN and reused(flows, slot, direction, sequence):
        new = True
    if new:
        start_flow(flows, slot, TCP_STREAMS, time_ns)
    flows.last_ns[slot] = time_ns
    put(out, row, TCP_STREAM, flows.stream[slot])
    if raw:
        put(out, row, TCP_SEQUENCE, sequence)
    else:
        learn_base(flows, slot, direction, sequence, acknowledged, flags)
        put(out, row, TCP_LENGTH, size)
        put(out, row, TCP_SEQUENCE, (sequence - flows.base[slot, direction]) & WORD)
    if header < 20:
        stop(out, cur, NOTE_BAD_TCP)
        return False
    base = flows.base[slot, 1 - direction] if flags & ACK and not raw else 0
    put(out, row, TCP_ACK, (acknowledged - base) & WORD)
    put(out, row, TCP_ACK_RAW, acknowledged)
    put(out, row, TCP_FLAGS, flags)
    put(out, row, TCP_FLAGS_ACK, (flags >> 4) & 1)
    connection(out, row, flags)
    if not raw:
        round_trip(out, flows, row, slot, direction, sequence, acknowledged, flags, size, time_ns)
    if not fits(cur, 18):
        return False
    put(out, row, TCP_CHECKSUM, u16(data, at + 16))
    if not fits(cur, 20):
        return False
    if header > 20:
        put(out, row, TCP_OPTIONS, span(at + 20, min(header, there) - 20))
    cur[POSITION] = min(at + header, cur[END])
    found[FLOW_SLOT] = slot
    found[FLOW_SIDE] = direction
    found[FLOW_IS_NEW] = new
    found[SOURCE_PORT] = source_port
    found[TARGET_PORT] = target_port
    found[RAW_SEQUENCE] = sequence
    found[TCP_FLAG_BITS] = flags
    found[PAYLOAD_SIZE] = size
    found[ACKNOWLEDGED] = acknowledged
    found[ADVERTISED] = u16(data, at + 14)
    if flags & RST:
        cur[POSITION] = cur[END]
    return True


@kernel_lean
def connection(out: Table, row: int, flags: int) -> None:
    """Put the marks of a connection's begin and end (tshark's tcp.connection.*)."""
    if flags & SYN:
        if flags & ACK:
            put(out, row, TCP_SYNACK, 1)
        else:
            put(out, row, TCP_SYN, 1)
    if flags & FIN:
        put(out, row, TCP_FIN, 1)
    if flags & RST:
        put(out, row, TCP_RST, 1)


@kernel_lean
def reused(flows: FlowTable, slot: int, direction: int, sequence: int) -> Any:
    """Return whether a SYN begins another connection on the same ports: as tshark decides it, by its number alone."""
    return bool(flows.state[slot, direction] & BASE_SET and sequence != flows.base[slot, direction])


@kernel_lean
def learn_base(flows: FlowTable, slot: int, direction: int, sequence: int, acknowledged: int, flags: int) -> None:
    """Learn what the relative numbers count from; a connection met midway starts at 1.

    As in tshark, every SYN with ACK sets its side's base anew.
    """
    state = flows.state
    if not state[slot, direction] & BASE_SET or flags & (SYN | ACK) == SYN | ACK:
        flows.base[slot, direction] = sequence if flags & SYN else (sequence - 1) & WORD
        state[slot, direction] |= BASE_SET
    if flags & ACK and not state[slot, 1 - direction] & BASE_SET:
        flows.base[slot, 1 - direction] = (acknowledged - 1) & WORD
        state[slot, 1 - direction] |= BASE_SET


@kernel_lean
def round_trip(
    out: Table,
    flows: FlowTable,
    row: int,
    slot: int,
    direction: int,
    sequence: int,
    acknowledged: int,
    flags: int,
    size: int,
    time_ns: int,
) -> None:
    """Time a segment until its acknowledgement, one at a time per direction; a resent one is not timed (Karn)."""
    state = flows.state
    other = 1 - direction
    waits = flags & ACK and state[slot, other] & PENDING
    if waits and (acknowledged - flows.pending[slot, other]) & WORD < 0x80000000:
        if out.values[RTT, row] == ABSENT:
            put(out, row, RTT, time_ns - flows.pending_ns[slot, other])
        state[slot, other] &= ~PENDING
    following = sequence + size
    if flags & (SYN | FIN):
        following += 1
    following &= WORD
    if following == sequence:
        return
    known = state[slot, direction] & SENT
    if known and (following - flows.sent[slot, direction] - 1) & WORD >= 0x80000000 - 1:
        state[slot, direction] &= ~PENDING
        return
    if not state[slot, direction] & PENDING:
        flows.pending[slot, direction] = following
        flows.pending_ns[slot, direction] = time_ns
        state[slot, direction] |= PENDING
    flows.sent[slot, direction] = following
    state[slot, direction] |= SENT
