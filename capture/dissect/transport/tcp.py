"""Transport layers: TCP (RFC 9293) with relative numbers and passive round-trip times, UDP (RFC 768, RFC 3828)."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.conversation.flow_table import (
    BASE_SET,
    PENDING,
    RENEW,
    RENEWED,
    SENT,
    TCP_STREAMS,
    UDP_STREAMS,
    FlowTable,
    find_flow,
    start_flow,
)
from offramp.capture.dissect.packet.cursor import (
    DONE,
    END,
    ERROR,
    IN_ERROR,
    NEXT,
    NOTE_BAD_TCP,
    NOTE_BAD_UDP,
    POSITION,
    SOURCE_HIGH,
    SOURCE_LOW,
    TARGET_HIGH,
    TARGET_LOW,
    TYPE,
    VERSION,
    WIRE_END,
    fits,
    stop,
    u16,
    u32,
)
from offramp.capture.dissect.packet.table import ABSENT, Table, put, span
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_inline, kernel_lean

TCP_SOURCE, TCP_TARGET, TCP_STREAM = INDEX["tcp.srcport"], INDEX["tcp.dstport"], INDEX["tcp.stream"]
TCP_SEQUENCE, TCP_ACK, TCP_ACK_RAW = INDEX["tcp.seq"], INDEX["tcp.ack"], INDEX["tcp.ack_raw"]
TCP_LENGTH, TCP_FLAGS, TCP_FLAGS_ACK = INDEX["tcp.len"], INDEX["tcp.flags"], INDEX["tcp.flags.ack"]
TCP_CHECKSUM, TCP_OPTIONS, TCP_PAYLOAD = INDEX["tcp.checksum"], INDEX["tcp.options"], INDEX["tcp.payload"]
TCP_FIN, TCP_RST = INDEX["tcp.connection.fin"], INDEX["tcp.connection.rst"]
TCP_SYN, TCP_SYNACK = INDEX["tcp.connection.syn"], INDEX["tcp.connection.synack"]
UDP_PORT, UDP_STREAM, UDP_DELTA = INDEX["udp.port"], INDEX["udp.stream"], INDEX["udp.time_delta"]
UDP_SOURCE, UDP_TARGET, RTT = INDEX["udp.srcport"], INDEX["udp.dstport"], INDEX["offramp.rtt"]
FIN, SYN, RST, ACK = 1, 2, 4, 16
SNMP_PORT, SNMP_TRAP_PORT = 161, 162
SEQUENCE, INTEGER = 0x30, 2  # BER tags
UDP_LITE = 136  # IP protocol; its header has a coverage where UDP's has a length (RFC 3828)
WORD = 0xFFFFFFFF


@kernel_lean
def from_higher(cur: Any, source_port: int, target_port: int) -> Any:
    """Tell whether the packet comes from the conversation's higher address (or port, where they are equal)."""
    if cur[SOURCE_HIGH] != cur[TARGET_HIGH]:
        return cur[SOURCE_HIGH] > cur[TARGET_HIGH]
    if cur[SOURCE_LOW] != cur[TARGET_LOW]:
        return cur[SOURCE_LOW] > cur[TARGET_LOW]
    return source_port > target_port


@kernel_inline
def conversation(flows: FlowTable, cur: Any, source_port: int, target_port: int, protocol: int) -> Any:
    """Return the slot of the packet's conversation, whether it is new, and the packet's direction (0 or 1)."""
    kind = (cur[VERSION] << 40) | (protocol << 32)
    near_high, near_low, far_high, far_low = cur[SOURCE_HIGH], cur[SOURCE_LOW], cur[TARGET_HIGH], cur[TARGET_LOW]
    ports, direction = kind | (source_port << 16) | target_port, 0
    if not from_higher(cur, source_port, target_port):
        near_high, near_low, far_high, far_low = far_high, far_low, near_high, near_low
        ports, direction = kind | (target_port << 16) | source_port, 1
    slot, new = find_flow(flows, cur, near_high, near_low, far_high, far_low, ports)
    return slot, new, direction


@kernel_lean
def udp(out: Table, flows: FlowTable, row: int, data: Any, cur: Any, time_ns: int, found: Any) -> bool:
    """UDP: ports, conversation, time delta. True where a payload may stand at the cursor.

    As in tshark, whose SNMP opens a conversation of its own at the first datagram to its port, what follows that
    datagram is another conversation.

    found: int64 [10], set to slot, direction, new, source port, target port.
    """
    at = cur[POSITION]
    cur[NEXT] = DONE
    if cur[END] - at >= 4:
        put(out, row, UDP_SOURCE, u16(data, at))
        put(out, row, UDP_TARGET, u16(data, at + 2))
        put(out, row, UDP_PORT, u32(data, at))
    if not fits(cur, 8):
        return False
    source_port, target_port = u16(data, at), u16(data, at + 2)
    size = u16(data, at + 4) if cur[TYPE] != UDP_LITE else cur[WIRE_END] - at
    if size < 8 and not (size == 0 and cur[VERSION] == 6):
        out.notes[NOTE_BAD_UDP] += 1
        return False
    slot, new, direction = conversation(flows, cur, source_port, target_port, 17)
    if new or flows.state[slot, 0] & RENEW:
        start_flow(flows, slot, UDP_STREAMS, time_ns)
        if not new:
            flows.state[slot, 0] = RENEWED
            new = True
    low = min(source_port, target_port)
    if (low == SNMP_PORT or low == SNMP_TRAP_PORT) and looks_like_snmp(data, at + 8, cur[END]):  # noqa: SIM109
        flows.state[slot, 0] |= 0 if flows.state[slot, 0] & RENEWED else RENEW
    put(out, row, UDP_STREAM, flows.stream[slot])
    found[0], found[1], found[2], found[3], found[4] = slot, direction, new, source_port, target_port
    if size == 8:
        return False
    if not cur[IN_ERROR] & ERROR:
        put(out, row, UDP_DELTA, time_ns - flows.last_ns[slot])
        flows.last_ns[slot] = time_ns
    if size != 0 and at + size < cur[WIRE_END]:
        cur[WIRE_END] = at + size
        cur[END] = min(cur[END], at + size)
    cur[POSITION] = at + 8
    return True


@kernel_lean
def looks_like_snmp(data: Any, pos: int, end: int) -> bool:
    """Tell whether a payload begins as SNMP's messages do: a sequence of no more than there is, an integer in it."""
    if end - pos < 4 or data[pos] != SEQUENCE:
        return False
    size, pos = int(data[pos + 1]), pos + 2
    if size > 0x80:
        count = size - 0x80
        if count > 3 or pos + count >= end:
            return False
        size = 0
        for _ in range(count):
            size, pos = size << 8 | int(data[pos]), pos + 1
    return bool(pos < end and size <= end - pos and data[pos] == INTEGER)


@kernel_lean
def tcp(out: Table, flows: FlowTable, row: int, data: Any, cur: Any, time_ns: int, found: Any) -> bool:
    """TCP: header fields, relative numbers, round-trip time. True where the header is whole.

    The payload, if any, then stands at the cursor.
    As in tshark, a header cut after 16 bytes still counts, and one quoted by an ICMP error, or longer than its segment,
    shows its numbers raw.
    found: int64 [10], set to slot, direction, new, source port, target port, raw sequence number, flags, payload bytes
    on the wire, raw acknowledgement number, window.
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
    slot, new, direction = conversation(flows, cur, source_port, target_port, 6)
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
    found[0], found[1], found[2], found[3], found[4] = slot, direction, new, source_port, target_port
    found[5], found[6], found[7], found[8] = sequence, flags, size, acknowledged
    found[9] = u16(data, at + 14)
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
    """Tell whether a SYN begins another connection on the same ports: as tshark decides it, by its number alone."""
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
