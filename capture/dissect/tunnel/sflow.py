"""sFlow (version 5): the sampled headers of other packets, one after the other, as tshark shows them."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.packet.cursor import (
    DONE,
    END,
    ERROR,
    ETHERNET,
    IN_ERROR,
    IPV4,
    IPV6,
    NEXT,
    POSITION,
    RESUME,
    RESUME_AT,
    RESUME_END,
    RESUME_RECORDS,
    RESUME_SAMPLES,
    RESUME_STOP,
    SFLOW,
    STEPS,
    WIRE_END,
    fits,
    u32,
)
from offramp.kernels import kernel_lean

SFLOW_PORT = 6343
FLOW_SAMPLE, EXPANDED_FLOW_SAMPLE = 1, 3
RAW_HEADER = 1
SAMPLED_ETHERNET, SAMPLED_IPV4, SAMPLED_IPV6 = 1, 11, 12


@kernel_lean
def sflow(data: Any, cur: Any) -> None:
    """Begin an sFlow datagram: agent, counters, number of samples; `next_sample` goes on."""
    cur[NEXT] = DONE
    at = cur[POSITION]
    if not fits(cur, 8) or u32(data, at) != 5 or cur[RESUME]:
        return
    address = 16 if u32(data, at + 4) == 2 else 4
    if not fits(cur, 24 + address):
        return
    cur[RESUME] = SFLOW
    cur[RESUME_SAMPLES] = u32(data, at + 20 + address)
    cur[RESUME_RECORDS] = 0
    cur[RESUME_AT] = at + 24 + address
    cur[RESUME_STOP] = cur[RESUME_AT]
    cur[RESUME_END] = cur[END]


@kernel_lean
def next_sample(data: Any, cur: Any) -> None:
    """Move the cursor to the next sampled header; its transport shows its numbers raw, like one quoted by an error.

    Records end with their sample, and headers with their record: what lengths that lie make overlap is read once.
    """
    cur[NEXT] = DONE
    end = cur[RESUME_END]
    while True:
        cur[STEPS] += 1
        if cur[RESUME_RECORDS] == 0:
            at = cur[RESUME_STOP]
            if cur[RESUME_SAMPLES] == 0 or at + 8 > end:
                break
            cur[RESUME_SAMPLES] -= 1
            cur[RESUME_STOP] = at + 8 + u32(data, at + 4)
            kind = u32(data, at)
            size = 52 if kind == EXPANDED_FLOW_SAMPLE else 40
            if (kind in (FLOW_SAMPLE, EXPANDED_FLOW_SAMPLE)) and at + size <= end:
                cur[RESUME_RECORDS] = u32(data, at + size - 4)
                cur[RESUME_AT] = at + size
            continue
        at = cur[RESUME_AT]
        if at + 24 > min(end, cur[RESUME_STOP]):
            cur[RESUME_RECORDS] = 0
            continue
        cur[RESUME_RECORDS] -= 1
        cur[RESUME_AT] = at + 8 + u32(data, at + 4)
        kind = u32(data, at + 8)
        if u32(data, at) == RAW_HEADER and (kind in (SAMPLED_ETHERNET, SAMPLED_IPV4, SAMPLED_IPV6)):
            cur[NEXT] = ETHERNET if kind == SAMPLED_ETHERNET else IPV4 if kind == SAMPLED_IPV4 else IPV6
            cur[POSITION] = at + 24
            cur[END] = min(end, cur[RESUME_STOP], max(cur[RESUME_AT], at + 24), at + 24 + u32(data, at + 20))
            cur[WIRE_END] = max(cur[END], at + 24 + u32(data, at + 12))
            cur[IN_ERROR] |= ERROR
            return
    cur[RESUME] = 0
