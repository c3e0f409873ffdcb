"""The table of a timeline: rows of the packets alone, what came true, what lies between, what is moved."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.stream.channels import BIN_NS
from offramp.stream.pipeline.timeline import ActedMark, LinkTimeline
from offramp.stream.pipeline.timeline_table import (
    BIN,
    COLUMNS,
    COMMAND,
    MARK,
    RUN_KEY,
    VERSION_KEY,
    TimelineRows,
    markdown,
    timeline_table,
)
from tests.support.fake_predictor import FakePredictor
from tests.support.pipelines import SITE
from tests.support.places import ROOT
from tests.support.timelines import HORIZON_MS, SCHEMA, lines_of, made_line

State = dict[str, NDArray[Any]]
HORIZON = HORIZON_MS * 1_000_000 // BIN_NS


def table(lines: list[LinkTimeline]) -> pa.Table:
    return timeline_table(lines, SCHEMA, HORIZON_MS)


def bins_of(found: pa.Table) -> pa.Table:
    return found.filter(pc.equal(found["kind"], BIN))


def numbers(found: pa.Table, name: str) -> NDArray[Any]:
    return np.asarray(found[name].to_numpy())


def command(at_bin: int) -> Command:
    return Command("id", "loop", 1, "onset", "dry_run", "link:uplink", {"type": "reroute"}, at_bin * BIN_NS, 0, {}, {})


def test_the_page_has_the_columns_as_the_code_has_them() -> None:
    page = (ROOT / "docs/timeline.md").read_text(encoding="utf-8")
    assert markdown() in page, "docs/timeline.md: put in what offramp.stream.pipeline.timeline_table.markdown() returns"
    assert [column.name for column in COLUMNS] == SCHEMA.names
    for column in COLUMNS:
        assert column.tells
        assert column.kinds


def test_the_schema_says_of_what_it_is() -> None:
    assert SCHEMA.metadata[VERSION_KEY] == b"1"
    run = json.loads(SCHEMA.metadata[RUN_KEY])
    assert run["links"]["uplink"] == {"budget_ms": 15.0, "capacity_down_bps": 20e6, "capacity_up_bps": 20e6}
    assert (run["site"], run["mode"], run["model"]) == (SITE.name, "dry_run", "fake")


def test_rows_do_not_hang_on_how_packets_come(
    busy_batch: pa.RecordBatch, normaliser_state: State, predictor: FakePredictor
) -> None:
    """In one batch, in many, each alone, or by a live link's clock, which closes idle bins behind the last packet."""
    whole, commands = lines_of(predictor, normaliser_state, busy_batch)
    expected = table(whole)
    assert numbers(bins_of(expected), "open_moves").max() > 0
    told = expected.filter(pc.equal(expected["kind"], COMMAND))
    assert told["command"].to_pylist() == [each.to_json() for each in commands]
    rng = np.random.default_rng(4)
    for cuts in (rng.integers(1, busy_batch.num_rows, 60), rng.integers(1, busy_batch.num_rows, 3_000)):
        parts: Sequence[int] = np.unique(cuts).tolist()
        assert table(lines_of(predictor, normaliser_state, busy_batch, parts)[0]).equals(expected)
    live, _ = lines_of(predictor, normaliser_state, busy_batch, np.unique(cuts).tolist(), clock_ns=1)
    assert sum(len(line.time_ns) for line in live) > sum(len(line.time_ns) for line in whole)
    assert bins_of(table(live)).equals(bins_of(expected))


def test_rows_are_settled_once_and_as_early_as_may_be(
    busy_batch: pa.RecordBatch, normaliser_state: State, predictor: FakePredictor
) -> None:
    cuts = list(range(50, busy_batch.num_rows, 50))
    lines, _ = lines_of(predictor, normaliser_state, busy_batch, cuts)
    rows, batches = TimelineRows(SCHEMA, HORIZON_MS), list[pa.RecordBatch]()
    for line in lines:
        rows.update(line)
        batches += rows.settled()
        assert rows.waiting <= 2 * HORIZON
    batches += rows.close()
    assert pa.Table.from_batches(batches, SCHEMA).equals(table(lines))
    assert rows.close() == []


def test_what_came_true_is_the_largest_queue_of_the_horizon(
    busy_batch: pa.RecordBatch, normaliser_state: State, predictor: FakePredictor
) -> None:
    found = bins_of(table(lines_of(predictor, normaliser_state, busy_batch)[0]))
    at, queue, truth = (numbers(found, name) for name in ("time", "queue_max_ms", "came_true_ms"))
    at = at.astype(np.int64) // BIN_NS
    assert (np.diff(at) == 1).all()
    for row in range(len(at)):
        if row + HORIZON < len(at):
            assert truth[row] == queue[row + 1 : row + HORIZON + 1].max()
        else:
            assert np.isnan(truth[row])
    assert found["came_true_ms"].null_count == HORIZON, "unknown is null, not NaN"


def test_a_silence_a_hole_and_a_time_that_goes_back_stand_in_the_row_behind() -> None:
    lines = [
        made_line(range(100, 110), [50.0] * 10),
        made_line(range(110, 120), [40.0] * 10),
        made_line(range(300, 360), [1.0] * 60),
        made_line(range(400, 420), [2.0] * 20, behind_hole=True),
        made_line(range(420, 425), [2.0] * 5),
        made_line(range(50, 60), [3.0] * 10, step=1),
        made_line(range(60, 70), [3.0] * 10, step=1),
    ]
    found = table(lines)
    number = numbers(found, "time").astype(np.int64) // BIN_NS
    gaps = [(int(at), gap) for at, gap in zip(number, found["gap"].to_pylist(), strict=True) if gap]
    assert gaps == [(300, "silence"), (400, "hole"), (50, "time_back")]
    truth = dict(zip(number.tolist()[:115], found["came_true_ms"].to_pylist()[:115], strict=True))
    assert truth[100] == 50
    assert truth[109] == 40
    assert truth[119] == 40, "in a silence the queue runs dry from where it was"
    assert truth[309] == 1
    assert truth[310] is None, "a hole is within the horizon"
    assert truth[420] is None


@pytest.mark.parametrize("end", ["close", "hole", "time_back"])
def test_idle_bins_at_an_end_are_left_out_and_their_commands_are_not(end: str) -> None:
    load = [0.5] * 60 + [0.0] * 55
    late = command(105)
    lines = [made_line(range(100), [1.0] * 100, load[:100], commands=[command(30)]),
             made_line(range(100, 115), [0.0] * 15, load[100:], commands=[late])]  # fmt: skip
    if end != "close":
        lines.append(made_line([200], [9.0], step=int(end == "time_back"), behind_hole=end == "hole"))
    rows = table(lines).to_pylist()  # times are pandas.Timestamp, as they have nanoseconds
    at = [(row["kind"], row["time"].value // BIN_NS) for row in rows]
    assert at[:32] == [(BIN, number) for number in range(31)] + [(COMMAND, 30)]
    assert at[32:62] == [(BIN, number) for number in range(31, 60)] + [(COMMAND, 105)]
    assert len(at) == 62 + (end != "close")
    assert [row["came_true_ms"] for row in rows if row["kind"] == BIN][:11] == [1.0] * 10 + [None]


def test_links_stand_one_behind_the_other_by_name() -> None:
    lines = [
        made_line(range(start, start + 10), [1.0] * 10, link=link)
        for start, link in ((0, "b"), (0, "a"), (10, "a"), (10, "b"), (20, "b"))
    ]
    found = table(lines)
    assert found["link"].to_pylist() == ["a"] * 20 + ["b"] * 30
    assert (np.diff(numbers(found, "time")[20:].astype(np.int64)) > 0).all()


def test_what_is_moved_follows_from_the_commands(
    busy_batch: pa.RecordBatch, normaliser_state: State, predictor: FakePredictor
) -> None:
    lines, commands = lines_of(predictor, normaliser_state, busy_batch)
    found = bins_of(table(lines))
    at, moves, rate = (numbers(found, name) for name in ("time", "open_moves", "moved_bps"))
    loops: dict[str, int] = {}
    changes = {each.not_before_ns: each for each in commands}
    assert {each.phase for each in commands} >= {"onset", "abated"}
    for row, time_ns in enumerate(at.astype(np.int64).tolist()):
        for each in commands:
            if each.not_before_ns == time_ns:
                loops[each.loop_id] = len(each.action.get("flows", [])) or 1
                if each.phase == "abated":
                    del loops[each.loop_id]
        assert moves[row] == sum(loops.values()), changes.get(time_ns)
    assert ((rate > 0) == (moves > 0)).all()


def test_a_timeline_without_its_context_has_no_rows() -> None:
    with pytest.raises(ValueError, match="without context"):
        table([made_line([1], [1.0])._replace(context=None)])


def test_a_mark_stands_before_the_first_bin_that_it_counts_for_and_behind_the_commands_before_it() -> None:
    acted = ActedMark(103 * BIN_NS, '{"kind":"probe"}')
    lines = [
        made_line(range(100, 103), [5.0] * 3, commands=[command(102)]),
        made_line(range(103, 110), [5.0] * 7, commands=[command(103)], marks=(acted, acted)),
    ]
    for parts in ([lines], [[each] for each in lines]):
        rows, batches = TimelineRows(SCHEMA, HORIZON_MS), list[pa.RecordBatch]()
        for part in parts:
            for line in part:
                rows.update(line)
            batches += rows.settled()
        found = pa.Table.from_batches([*batches, *rows.close()], SCHEMA)
        kinds = found["kind"].to_pylist()
        assert kinds[:8] == [BIN, BIN, BIN, COMMAND, MARK, MARK, BIN, COMMAND]
        told = found.filter(pc.equal(found["kind"], MARK))
        assert told["mark"].to_pylist() == [acted.mark] * 2
        assert numbers(told, "time").astype(np.int64).tolist() == [103 * BIN_NS] * 2
        assert told["load_up"].null_count == told["command"].null_count == 2
        assert found["mark"].null_count == len(found) - 2
