"""UDP (RFC 768) and UDP-Lite (RFC 3828)."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.conversation.flow_table import (
    RENEW,
    RENEWED,
    UDP_STREAMS,
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
    TYPE,
    VERSION,
    WIRE_END,
    fits,
    u16,
    u32,
)
from offramp.capture.dissect.packet.found import FLOW_IS_NEW, FLOW_SIDE, FLOW_SLOT, SOURCE_PORT, TARGET_PORT
from offramp.capture.dissect.packet.notes import NOTE_BAD_UDP
from offramp.capture.dissect.packet.protocol_numbers import IPPROTO_UDP
from offramp.capture.dissect.packet.table import Table, put
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_lean

UDP_PORT, UDP_STREAM, UDP_DELTA = INDEX["udp.port"], INDEX["udp.stream"], INDEX["udp.time_delta"]
UDP_SOURCE, UDP_TARGET = INDEX["udp.srcport"], INDEX["udp.dstport"]
SNMP_PORT, SNMP_TRAP_PORT = 161, 162
SEQUENCE, INTEGER = 0x30, 2  # BER tags
UDP_LITE = 136  # IP protocol; its header has a coverage where UDP's has a length


@kernel_lean
def udp(out: Table, flows: FlowTable, row: int, data: Any, cur: Any, time_ns: int, found: Any) -> bool:
    """UDP: ports, conversation, time delta. True where a payload may stand at the cursor.

    As in tshark, whose SNMP opens a conversation of its own at the first datagram to its port, what follows that
    datagram is another conversation.

    found: int64 [FOUND_SIZE], set to slot, direction, new, source port, target port.
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
    slot, new, direction = conversation(flows, cur, source_port, target_port, IPPROTO_UDP)
    if new or flows.state[slot, 0] & RENEW:
        start_flow(flows, slot, UDP_STREAMS, time_ns)
        if not new:
            flows.state[slot, 0] = RENEWED
            new = True
    low = min(source_port, target_port)
    if (low == SNMP_PORT or low == SNMP_TRAP_PORT) and looks_like_snmp(data, at + 8, cur[END]):  # noqa: SIM109
        flows.state[slot, 0] |= 0 if flows.state[slot, 0] & RENEWED else RENEW
    put(out, row, UDP_STREAM, flows.stream[slot])
    found[FLOW_SLOT] = slot
    found[FLOW_SIDE] = direction
    found[FLOW_IS_NEW] = new
    found[SOURCE_PORT] = source_port
    found[TARGET_PORT] = target_port
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
    """Return whether a payload begins as SNMP's messages do: a sequence of no more than there is, an integer in it."""
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
