"""The fast path: packet blocks in, feature batches out, with a flow table that runs on across blocks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from offramp.capture.block import NO_TIME, Interface, PacketBlock
from offramp.capture.dissect.batches import table_to_batch
from offramp.capture.dissect.conversation.flow_table import (
    CROWDED,
    EVICTED,
    FLOOR,
    FREE,
    RESERVE,
    evict_idlest,
    forget_idle,
    grow_flow_table,
    new_flow_table,
    new_secret,
    rekey,
)
from offramp.capture.dissect.conversation.state import GIVEN_UP, STEPS, grow_applications, new_applications
from offramp.capture.dissect.link.link_types import LINK_TYPE_NAMES, LINK_TYPES
from offramp.capture.dissect.network.fragments import SCRATCH_RESERVE, SCRATCH_USED, new_fragments
from offramp.capture.dissect.packet.cursor import CURSOR_SIZE
from offramp.capture.dissect.packet.found import FOUND_SIZE
from offramp.capture.dissect.packet.notes import (
    NOTE_BODY_CUT,
    NOTE_COUNT,
    NOTE_EVICTED,
    NOTE_GIVEN_UP,
    NOTE_IDLE,
    NOTE_NAMES,
    NOTE_STEPS,
)
from offramp.capture.dissect.packet.table import ABSENT, Table, new_table
from offramp.capture.dissect.packet.unfollowed import new_kinds, taken
from offramp.capture.dissect.row_loop import (
    FRAME_EPOCH,
    FRAME_TIME,
    NO_FLOW_ROOM,
    NO_SCRATCH_ROOM,
    UNDECODABLE_NAMES,
    dissect_rows,
)
from offramp.capture.features.arrow_schema import told_schema
from offramp.capture.ledger import CaptureLedger
from offramp.errors import InputError

UNTIMED = "no_time"
"""The note of packets whose capture gives them no time, or none that a number of ours can hold."""
MAX_FLOWS = 1 << 18
"""Conversations kept by default. Where half as many are known, those idle for five minutes are forgotten; where there
are more, the idlest quarter is. Both are counted; tshark forgets none.
"""

LOOKS = 8
"""A table more than half full is searched for idle conversations when so small a share of it was taken anew: each
search, some milliseconds, is spread over thousands of packets."""


class Filled(NamedTuple):
    """A table with the findings of `rows` packets, whose spans point into `data`; `Dissector.build` makes it a batch.

    account: of these packets alone, with what the kernel dropped before them.
    """

    table: Table
    rows: int
    data: NDArray[np.uint8]
    account: CaptureLedger


class Dissector:
    """Dissects packet blocks into feature batches of one profile; numbers and conversations run on across blocks.

    Its two halves may run in a thread each, as their kernels release the interpreter lock: `fill` takes blocks to
    tables, `build` tables to batches, and the order stays. No half may run twice at once.
    """

    def __init__(
        self,
        profile: str,
        *,
        site: str = "",
        link: str = "",
        agent: str = "",
        batch_rows: int = 8192,
        max_flows: int = MAX_FLOWS,
        secret: NDArray[np.int64] | None = None,
    ) -> None:
        """Build an empty dissector; secret: of its flow table's hash (flow_table.new_secret), None: one of its own."""
        self.ledger = CaptureLedger()
        self.steps = 0
        """What the kernels did: turns of loops, and each eight bytes copied or searched; at most 64 a byte received."""
        self.schema = told_schema(profile, site=site, link=link, agent=agent)
        self._max_flows = max(max_flows, 1024)
        self._flows = new_flow_table(1024, new_secret() if secret is None else secret)
        self._look_again()
        self._applications = new_applications(len(self._flows.stream))
        self._fragments = new_fragments()
        self._rows = batch_rows
        self._spare: list[Table] = [new_table(batch_rows)]
        self._cursor = np.zeros(CURSOR_SIZE, np.int64)
        self._found = np.zeros(FOUND_SIZE, np.int64)
        self._notes = np.zeros(NOTE_COUNT, np.int64)
        self._bad = np.zeros(len(UNDECODABLE_NAMES), np.int64)
        self._kinds = new_kinds()
        self._interfaces: tuple[Interface, ...] | None = None
        self._types = np.empty(0, np.int64)
        self._number = 1
        self._drops = self._untimed = 0

    def dissect(self, block: PacketBlock) -> list[pa.RecordBatch]:
        """Return the block's packets as feature batches of at most `batch_rows` rows, in order.

        Raises InputError where no interface of the source has a link type that is understood.
        """
        return [self.build(filled) for filled in self.fill(block)]

    def fill(self, block: PacketBlock) -> Iterator[Filled]:
        """Dissect the block into tables, in order. Each must be given to `build`, which takes it back for use.

        Raises InputError where no interface of the source has a link type that is understood.
        """
        linktypes = self._linktypes(block)
        done = 0
        row = 0
        table: Table | None = None
        self._drops += block.kernel_drops
        self.ledger.kernel_drops += block.kernel_drops
        time_ns, untimed = block.time_ns, block.time_ns == NO_TIME
        if untimed.any():
            time_ns = np.where(untimed, 0, time_ns)  # what is relative to other packets reckons with 0, as tshark does
            self._untimed += int(np.count_nonzero(untimed))
        data, scratch = _read_only(block.data), np.empty(0, np.uint8)
        self._fragments.counters[SCRATCH_USED] = 0
        while done < len(block):
            table = table or self._cleared()
            count, reason = dissect_rows(
                table, self._flows, self._applications, self._fragments, data, scratch,
                block.offset, block.caplen, block.length, time_ns, block.interface,
                linktypes, done, self._number, row, self._cursor, self._found, self._bad, self._kinds,
            )  # fmt: skip
            if time_ns is not block.time_ns:
                rows = row + np.flatnonzero(untimed[done : done + count])
                table.values[FRAME_TIME, rows] = table.values[FRAME_EPOCH, rows] = ABSENT
            done += count
            row += count
            if reason == NO_FLOW_ROOM:
                self._make_flow_room()
            elif reason == NO_SCRATCH_ROOM:
                scratch = self._make_scratch(block, data)
                data = _read_only(scratch)
            else:
                self._notes += table.notes
                table.notes[:] = 0
                yield Filled(table, row, data, self._account(row))
                table, row = None, 0
        self._number += len(block)

    def build(self, filled: Filled) -> pa.RecordBatch:
        """Return a filled table's rows as a batch, with the account of its packets as metadata; take the table back."""
        table, account = filled.table, filled.account
        batch = table_to_batch(table, filled.rows, filled.data, self.schema)
        if table.notes[NOTE_BODY_CUT]:
            for ledger in (self.ledger, account):
                ledger.notes[NOTE_NAMES[NOTE_BODY_CUT]] += int(table.notes[NOTE_BODY_CUT])
            table.notes[:] = 0
        table.values[:, : filled.rows] = ABSENT
        table.cursor[:] = 0
        self._spare.append(table)
        ledger_json = json.dumps(account.as_dict(), separators=(",", ":")).encode()
        return batch.replace_schema_metadata({**self.schema.metadata, b"ledger": ledger_json})

    def _linktypes(self, block: PacketBlock) -> NDArray[np.int64]:
        """Return int64 [interfaces], or say which link type is unknown where all of them are."""
        if block.interfaces is self._interfaces:
            return self._types
        kinds = [interface.linktype for interface in block.interfaces]
        if kinds and not any(kind in LINK_TYPES for kind in kinds):
            name = LINK_TYPE_NAMES.get(kinds[0], "unknown")
            raise InputError(
                f"link type {kinds[0]} ({name}) is not understood by the fast path; "
                "capture on an Ethernet, cooked (SLL), loopback or raw IP interface"
            )
        self._interfaces, self._types = block.interfaces, np.array(kinds or [1], np.int64)
        return self._types

    def _cleared(self) -> Table:
        """Return a cleared table, a new one only where all others wait for `build`."""
        return self._spare.pop() if self._spare else new_table(self._rows)

    def _make_scratch(self, block: PacketBlock, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the block's bytes with room behind them for datagrams put together of fragments."""
        used = len(data) if len(data) == len(block.data) else int(self._fragments.counters[SCRATCH_USED])
        scratch = np.empty(used + 8 * SCRATCH_RESERVE, np.uint8)
        scratch[:used] = data[:used]
        self._fragments.counters[SCRATCH_USED] = used
        return scratch

    def _make_flow_room(self) -> None:
        """Give the flow table more slots, or, at its bound, forget idle conversations, if need be the idlest."""
        if self._flows.counters[CROWDED]:
            rekey(self._flows, new_secret())
        if self._flows.counters[FREE] >= self._flows.counters[FLOOR]:
            return
        if len(self._flows.stream) < self._max_flows:
            self._flows = grow_flow_table(self._flows)
            self._applications = grow_applications(self._applications, len(self._flows.stream))
        else:
            self._notes[NOTE_IDLE] += forget_idle(self._flows)
            if self._flows.counters[FREE] < RESERVE:
                evict_idlest(self._flows)
        self._look_again()

    def _look_again(self) -> None:
        """Set when the flow table asks for room next: when it is full, or, at its bound, from half full on."""
        counters, slots = self._flows.counters, len(self._flows.stream)
        counters[FLOOR] = RESERVE
        if slots >= self._max_flows:
            counters[FLOOR] = max(RESERVE, min(slots // 2, counters[FREE] - slots // LOOKS))

    def _account(self, rows: int) -> CaptureLedger:
        """Return the account of the rows since the last one, after adding it to the ledger."""
        bad = zip(UNDECODABLE_NAMES, self._bad.tolist(), strict=True)
        part = CaptureLedger(rows, undecodable=Counter({name: count for name, count in bad if count}))
        part.decoded = rows - part.undecodable.total()
        self._bad[:] = 0
        part.unfollowed = taken(self._kinds)
        notes = self._notes
        self.steps += int(notes[NOTE_STEPS] + self._applications.counters[STEPS])
        notes[NOTE_STEPS] = self._applications.counters[STEPS] = 0
        notes[NOTE_EVICTED] = self._flows.counters[EVICTED]
        self._flows.counters[EVICTED] = 0
        notes[NOTE_GIVEN_UP] += self._applications.counters[GIVEN_UP]
        self._applications.counters[GIVEN_UP] = 0
        part.notes.update({NOTE_NAMES[reason]: int(notes[reason]) for reason in np.flatnonzero(notes).tolist()})
        notes[:] = 0
        if self._untimed:
            part.notes[UNTIMED], self._untimed = self._untimed, 0
        self.ledger.add(part)
        part.kernel_drops, self._drops = self._drops, 0  # of blocks since; counted in the ledger when they came
        return part


def _read_only(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a view that cannot be written, so that kernels are compiled for one kind of array only."""
    view = data.view()
    view.flags.writeable = False
    return view
