"""The dissector's cursor: which header comes next, where it starts, and where its bytes and its wire length end.

Kernels of one layer read `cur`, put what they find, and move it to the next header; the row loop goes on until `DONE`.
Nothing is ever called recursively, so a packet of a hundred nested tunnels costs a hundred turns of one loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from offramp.capture.dissect.packet.table import Table
from offramp.kernels import kernel_lean

# what comes next
DONE = 0
ETHERNET = 1
ETHER_TYPE = 2
IP_PROTOCOL = 3
LLC = 4
IPV4 = 5
IPV6 = 6
PPP = 7
MPLS = 8
IP_ANY = 9
NSH = 10
WLAN = 11
AMSDU = 12
SFLOW = 13

# fields of the cursor, int64 [CURSOR_SIZE]
NEXT = 0
POSITION = 1  # first byte of the next header in the block's data
END = 2  # end of the captured bytes
WIRE_END = 3  # end of the bytes on the wire, as if they had all been captured
TYPE = 4  # ether type, IP protocol or PPP protocol of what comes next
VERSION = 5  # of the addresses: 4, 6 or 0 when there are none
SOURCE_HIGH = 6
SOURCE_LOW = 7
TARGET_HIGH = 8
TARGET_LOW = 9
IN_ERROR = 10  # bits: inside the quotation of an ICMP error, in the first fragment of a datagram not whole
DEPTH = 11
CUT = 12  # a header went beyond the captured bytes
ERROR, FRAGMENTED = 1, 2  # bits of IN_ERROR
RESUME = 13  # what goes on when the packet at the cursor is done: AMSDU or SFLOW, 0 nothing
RESUME_AT = 14
RESUME_END = 15
RESUME_WIRE_END = 16
RESUME_STOP = 17  # end of the current sample
RESUME_SAMPLES = 18  # how many samples, and how many records of the current one, are still to come
RESUME_RECORDS = 19
PADDED = 20  # the 802.11 header is padded to four bytes
STEPS = 21  # of work on the headers: a turn of a loop, or eight bytes copied or searched
WHOLE = 22  # datagrams that this packet completed, one within the other
NOW_NS = 23  # time of the packet
UNFOLLOWED = 24  # what was not followed, see capture.dissect.packet.unfollowed, 0 nothing
CURSOR_SIZE = 25
MAX_DEPTH = 128


@kernel_lean
def u16(data: Any, at: int) -> Any:
    """Return two bytes in network order."""
    return (np.int64(data[at]) << 8) | np.int64(data[at + 1])


@kernel_lean
def u32(data: Any, at: int) -> Any:
    """Return four bytes in network order."""
    return (
        (np.int64(data[at]) << 24)
        | (np.int64(data[at + 1]) << 16)
        | (np.int64(data[at + 2]) << 8)
        | np.int64(data[at + 3])
    )


@kernel_lean
def u64(data: Any, at: int) -> Any:
    """Return eight bytes in network order, as a signed integer of the same bits."""
    return (u32(data, at) << 32) | u32(data, at + 4)


@kernel_lean
def fits(cur: Any, size: int) -> bool:
    """Return whether `size` bytes of the next header were captured; if not, the packet ends here."""
    if cur[POSITION] + size <= cur[END]:
        return True
    cur[NEXT] = DONE
    cur[CUT] = 1
    return False


@kernel_lean
def go(cur: Any, following: int, kind: int, size: int) -> None:
    """Move the cursor over `size` bytes to the header `following` (of type `kind`)."""
    cur[NEXT] = following
    cur[TYPE] = kind
    cur[POSITION] += size


@kernel_lean
def stop(out: Table, cur: Any, reason: int) -> None:
    """End the packet and count why."""
    cur[NEXT] = DONE
    out.notes[reason] += 1


@kernel_lean
def clip(cur: Any, wire_length: int) -> None:
    """Shorten the packet to `wire_length` bytes from the cursor, as a length field says."""
    end = cur[POSITION] + wire_length
    if end < cur[WIRE_END]:
        cur[WIRE_END] = end
    if end < cur[END]:
        cur[END] = end
