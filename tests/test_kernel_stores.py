"""Kernels write only where an index is known to lie inside: growing tables by packet.table, all else for a reason."""

from __future__ import annotations

import re

import pytest

from offramp.capture.dissect.conversation.flow_table import RESERVE
from offramp.capture.dissect.packet.cursor import MAX_DEPTH
from offramp.capture.dissect.packet.table import MAX_OCCURRENCES, MAX_TEXT
from tests.support.kernel_stores import GROWING, Store, all_stores, stores

REASONS: tuple[tuple[str, str, str, str], ...] = (
    # module, array, index, why it lies inside
    (r"capture\.dissect\.packet\.table", r"out\.(extra_\w+|cursor)", r"at|",
     "append: below EXTRAS_END, which begin_row granted; cursor has six fields"),
    (r"capture\.dissect\.packet\.table", r"out\.text", r"at",
     "set_text: behind what is kept, within the share that begin_row granted"),
    (r"capture\.dissect\.packet\.table", r"out\.values", r"column, row",
     "a column of the schema; the row loop ends with the table"),
    (r"capture\.[\w.]+", r"(apps|flows)\.\w+", r"(slot|which)(, (direction|1 - direction|other))?",
     "a slot of the flow table, or one of its two sides; grow_applications follows grow_flow_table"),
    (r"capture\.[\w.]+", r"out\.notes", r"reason", "a NOTE_ constant"),
    (r"capture\.dissect\.conversation\.state", r"apps\.free", r"apps\.counters\[FREE_CHUNKS\]",
     "free_chunks: no more chunks come back than were taken"),
    (r"capture\.dissect\.batches", r"starts|bitmap|body", r"row \+ 1|group|rows >> 3|16 \* row \+ byte",
     "arrays that _column_array makes for so many rows"),
    (r"capture\.dissect\.application\.dns", r"apps\.dns", r"place", "transaction: base + way, modulo the table's sets"),
    (r"capture\.dissect\.application\.mqtt", r"apps\.alias", r"place", "alias_place: modulo the table"),
    (r"capture\.dissect\.application\.mqtt", r"apps\.alias_text", r"place, step",
     "keep_alias: the size was cut to the table's"),
    (r"capture\.intake\.flow_sampling", r"kept|row|starts|sizes", r"rows|used \+ byte",
     "keep_flows: arrays for all packets of the block and all their bytes"),
    (r"capture\.dissect\.conversation\.flow_table", r"index|flows\.buckets", r"at",
     "a hash, masked by the index's size, a power of two"),
    (r"capture\.dissect\.conversation\.flow_table", r"flows\.counters", r"counter", "TCP_STREAMS or UDP_STREAMS"),
    (r"capture\.dissect\.network\.fragments", r"fragments\.\w+", r"slot|chosen", "datagram: one of SLOTS"),
    (r"capture\.dissect\.network\.fragments", r"fragments\.(owner|bytes)", r"slot, (unit|byte)",
     "place: add_fragment gave up what goes beyond MAX_DATAGRAM"),
    (r"capture\.intake\.pcapng_writer", r"out|words", r"body \+ byte|word( \+ \d)?|at \+ size - 4 >> 2",
     "pack_enhanced: PcapngFiles.write sums up the sizes of these packets"),
    (r"capture\.dissect\.conversation\.reassembly", r"apps\.later", r"which, (count|stretch)",
     "account: below MAX_STRETCHES"),
    (r"capture\.dissect\.conversation\.reassembly", r"apps\.following", r"chunk",
     "a chunk of take_chunk, after it was held against -1"),
    (r"capture\.sources\.file\.record_scan", r"caplen|length|offset|time|interface", r"rows",
     "the loop ends with the arrays' length"),
    (r"capture\.sources\.live\.ring", r"data", r"end( \+ \d+)?( \+ byte)?",
     "copy_packet: RingSource._take makes room for the bytes and MAX_ADDED a packet; the system wrote the sizes"),
    (r"capture\.sources\.live\.ring", r"length|time_ns|caplen|offset", r"row",
     "RingSource._take makes room for the blocks' packets"),
    (r"inference\.serving\.kernel\.step", r"c|out", r"j", "cell: j runs over h, of the same length"),
    (r"inference\.network\.queue_history", r".*", r".*",
     "remember: places counted from constants; the artifact's shapes were checked"),
    (r"stream\.arena\.network\.flows", r"(queues|flows)\.\w+|peak_ms", r"place, side|which",
     "serve: flows as traffic.arrivals_of numbered them, and places of the site's; side is 0 or 1"),
    (r"stream\.arena\.network\.queues", r"queues\.\w+|waits|sent", r"place, side",
     "a place of the site's; side is 0 or 1"),
    (r"stream\.arena\.network\.(flows|queues)", r"journeys\.\w+", r"at|queues\.tail\[place, side\]",
     "a packet of the episode; those of two classes have room for all (new_journeys)"),
    (r"stream\.arena\.reacting", r"log\.\w+", r"at|slot", "put: has_room saw room for all packets of a step"),
    (r"stream\.arena\.reacting", r"world\.\w+", r"place, side", "a place of the site's; side is 0 or 1"),
    (r"stream\.arena\.senders\.events", r"events\.heap", r"at", "push: has_room saw room; pop: below those in it"),
    (r"stream\.arena\.senders\.events", r"out\.packets", r"at",
     "hand_over: a step sends at most a window, or an answer of MOST_BYTES: below MARGIN"),
    (r"stream\.arena\.senders\.tasks", r"tasks\.starts_ns\[which\]", r"server\.taken % server\.queue",
     "arrived: rows as long as the longest queue of a server"),
    (r"stream\.arena\.senders\.tcp", r"tcp\.\w+|board", r"who|(who, )?(segment % BURST|s\.serial % RING)|at",
     "a sender as closed_loop.plan_of numbered them; positions modulo the window, or the ring"),
    (r"stream\.arena\.senders\.tcp", r"tcp\.\w+\[who\]", r"(s\.next|segment) % BURST", "modulo the window"),
    (r"stream\.bins\.bins", r"state\.\w+", r"series|idlest", "device_series: one of SERIES, or 0 for the link"),
    (r"stream\.bins\.bins", r"state\.\w+", r"place(, down)?|down", "a bin's number modulo OPEN; down is 0 or 1"),
    (r"stream\.bins\.bins", r"state\.hint", r"hint", "device_series: the upper 8 bits of 64"),
    (r"stream\.bins\.bins", r"state\.counters\[bin_number % OPEN, series\]", r"at|(PACKETS|BYTES) \+ down",
     "count: at stays below RTT_SUM; down is 0 or 1"),
    (r"stream\.pipeline\.carried_state", r"kept|lives|origin|state|table", r"life|used|row|slot",
     "gather: lives up to rows"),
    (r"stream\.pipeline\.carried_state", r"pool", r"kept\[life\]", "gather: where the states came from"),
    (r"stream\.bins\.closing", r"out\.bins\.\w+", r"row|link_row", "close_until asked bin_room for a whole bin"),
    (r"stream\.bins\.closing", r"state\.\w+", r"series|place", "one of SERIES; a bin's number modulo OPEN"),
    (r"stream\.bins\.closing", r"x", r"MARK_PLACES\[i\]|BACKLOG \+ side", "places that stream.channels.TABLE gives"),
    (r"stream\.bins\.event_time", r"out", r"held", "lives: a row before this one, that waits to be borne out"),
    (r"stream\.topics\.forecast_json", r"out", r"place|at|at \+ i",
     "bins_text: MAX_BIN_TEXT bytes a bin, more than its longest text"),
    (r"stream\.bins\.heavy_hitters", r"hitters\.hint", r"slot", "add: a hash, masked by INDEX"),
    (r"stream\.bins\.heavy_hitters", r"hitters\.\w+", r"row|smallest(, i)?", "find_or_take: below COUNTERS"),
    (r"stream\.bins\.heavy_hitters", r"keys|weights", r"place(, i)?", "top: places below TOP"),
    (r"stream\.windows\.normaliser", r"histogram", r"bucket", "learn: the bucket is cut to BUCKETS - 1 as a float"),
    (r"stream\.windows\.stft", r"mine\[c\]|out", r"FRAME_BINS - 1|c \* FREQUENCIES \+ k",
     "lengths that the constants give"),
)  # fmt: skip
"""Stores whose index is computed, and why it lies inside (patterns; an index may have several, each by itself)."""


def reason(store: Store) -> int:
    """Return the number of the first reason that covers a store, or -1."""
    for number, (module, array, index, _) in enumerate(REASONS):
        if all(map(re.fullmatch, (module, array, index), (store.module, store.array, store.index))):
            return number
    return -1


def forbidden(found: list[Store]) -> list[Store]:
    """Return the stores that nothing allows: into growing tables outside packet.table, and at an unknown index."""
    return [
        store
        for store in found
        if (store.array.rpartition(".")[2] in GROWING and store.module != "capture.dissect.packet.table")
        or reason(store) < 0
    ]


def test_kernels_write_only_where_the_index_lies_inside() -> None:
    found = all_stores()
    assert forbidden(found) == []
    used = {reason(store) for store in found}
    assert [REASONS[number] for number in range(len(REASONS)) if number not in used] == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("out.text[out.cursor[1] + 3] = 7", True),
        ("out.text[0] = 7", True),
        ("out.extra_row[out.cursor[0]] = row", True),
        ("out.cursor[1] += size", True),
        ("text = out.text\n    text[size] = 1", True),
        ("out.values[7, row], out.text[row] = 1, 2", True),
        ("apps.line[data[3]] = 1", True),
        ("for step in range(size):\n        apps.line[step + 1] = 1", True),
        ("for step in range(size):\n        apps.head[step] = 1", True),
        ("for step in range(len(apps.head)):\n        apps.head[step] = 1", False),
        ("for step in range(len(apps.head)):\n        step += size\n        apps.head[step] = 1", True),
        ("apps.head[LENGTH] = 1", False),
        ("head = apps.head\n    head[3] = 1", False),
        ("apps.kind[slot, 3] = 1", False),
        ("apps.kind[size, 3] = 1", True),
    ],
)
def test_the_lint_finds_a_store_at_a_computed_index(line: str, found: bool) -> None:
    source = f"@kernel_lean\ndef bad(out, apps, data, row, slot, size):\n    {line}\n"
    assert bool(forbidden(list(stores(source, "capture.bad")))) == found
    assert not list(stores(source.replace("@kernel_lean\n", ""), "capture.bad"))


def test_a_packet_starts_no_more_conversations_than_there_is_room_for() -> None:
    assert RESERVE >= MAX_DEPTH


def test_a_row_s_share_holds_every_packet_of_64_kb_and_every_message() -> None:
    assert MAX_OCCURRENCES > 3 * (1 << 16) // 2
    assert MAX_TEXT > 2 << 24
