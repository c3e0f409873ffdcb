"""Marks in event time: a replay acts on each before its bin, wherever batches are cut, as a worker and a tap do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from offramp.capture.block import PacketBlock, joined
from offramp.capture.intake.intake import Intake
from offramp.capture.ledger import CaptureLedger
from offramp.capture.message.encode import FeatureHeaders
from offramp.capture.message.mark import Mark
from offramp.decision.command import rfc3339
from offramp.inference.artifact import DEFAULT_ARTIFACT, Artifact, load_artifact
from offramp.inference.serving.predictor import Predictor
from offramp.inference.serving.table import open_predictor
from offramp.stream.channels import BIN_NS
from offramp.stream.local import marks as marks_of_file
from offramp.stream.local.followed_file import FollowedFile
from offramp.stream.local.link_batches import ByLink
from offramp.stream.local.link_choice import LinkChoice
from offramp.stream.local.live_batches import LiveBatches
from offramp.stream.local.marks import DatedMark, read_marks
from offramp.stream.local.pace import select
from offramp.stream.local.tap import LoadedModel, assembled
from offramp.stream.pipeline.timeline import LinkTimeline
from offramp.stream.pipeline.timeline_table import timeline_schema, timeline_table
from tests.support.bundles import SITE, Worker, both, mark, messages_of, replayed

BEGIN_NS = 1_795_488_885_345_000_000
"""About the sample's first packet, 2026-11-24T02:54:45.345Z."""
DOWN: dict[str, Any] = {"path": "wireless", "up": False}
UP: dict[str, Any] = {"path": "wireless", "up": True}


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return load_artifact(DEFAULT_ARTIFACT)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return open_predictor(DEFAULT_ARTIFACT)


@pytest.fixture(scope="module")
def blocks() -> list[PacketBlock]:
    return both()


@pytest.fixture(scope="module")
def untouched(blocks: list[PacketBlock], artifact: Artifact, predictor: Predictor) -> tuple[list[str], pa.Table]:
    return told(blocks, artifact, predictor, [])


def at(second: float, kind: str, **members: Any) -> DatedMark:
    """A mark of so many seconds behind the first packet."""
    time_ns = BEGIN_NS + int(second * 1e9)
    return DatedMark(time_ns // BIN_NS, Mark("lab", kind, members, time=rfc3339(time_ns)))


def told(
    blocks: list[PacketBlock], artifact: Artifact, predictor: Predictor, marks: list[DatedMark]
) -> tuple[list[str], pa.Table]:
    """The commands and the timeline of a replay with marks."""
    lines: list[LinkTimeline] = []
    commands = replayed(blocks, SITE, artifact, predictor, marks=marks, sink=lines.append)
    return commands, timeline_table(lines, timeline_schema(SITE, predictor), predictor.horizon_ms)


def before(commands: list[str], number: int) -> list[str]:
    """The commands that were decided at bins before this one."""
    limit = rfc3339((number + 1) * BIN_NS)
    return [text for text in commands if json.loads(text)["not_before"] < limit]


def of_kind(table: pa.Table, kind: str) -> pa.Table:
    return table.filter(pc.equal(table["kind"], kind))


def ends(table: pa.Table) -> np.ndarray:
    return np.asarray(table["time"].to_numpy()).astype(np.int64)


def capacity(second: float, link: str, up_bps: float) -> DatedMark:
    return at(second, "capacity", link=link, up_bps=up_bps, down_bps=8e6)


MARKS = [
    at(-50, "probe", **UP), capacity(19.403, "uplink", 5e6), at(19.9999, "probe", **DOWN),
    capacity(20.7, "second", 6.5e6), at(22.5, "probe", **UP), capacity(22.5, "uplink", 8e6), at(900, "probe", **DOWN),
]  # fmt: skip


def test_the_same_packets_and_marks_give_the_same_bytes(
    blocks: list[PacketBlock], untouched: tuple[list[str], pa.Table], artifact: Artifact, predictor: Predictor
) -> None:
    commands, table = told(blocks, artifact, predictor, MARKS)
    assert commands != untouched[0]
    for rows in (311, 700, 5_000):
        again = told(both(rows), artifact, predictor, MARKS)
        assert again[0] == commands
        assert again[1].equals(table)
    first = min(each.number for each in MARKS[1:])
    assert before(commands, first) == before(untouched[0], first)
    of_links = of_kind(table, "mark")["link"].to_pylist()
    assert (of_links.count("uplink"), of_links.count("second")) == (3 + 2, 3 + 1), "not the one behind the end"


def test_a_capacity_counts_from_its_bin_on_and_not_before(
    blocks: list[PacketBlock], untouched: tuple[list[str], pa.Table], artifact: Artifact, predictor: Predictor
) -> None:
    """Ten times the capacity just before the first command, and there is none; of the other link all stays."""
    first = json.loads(untouched[0][0])
    number = int(ends(of_kind(untouched[1], "command")).min()) // BIN_NS - 1
    for earlier, is_told in ((0, False), (-1, True)):
        wide = DatedMark(number - earlier, capacity(0, "uplink", 80e6).mark)
        commands, table = told(blocks, artifact, predictor, [wide])
        assert (json.loads(commands[0])["decision_id"] == first["decision_id"]) == is_told
        bins, was = (of_kind(each, "bin") for each in (table, untouched[1]))
        uplink = np.asarray(bins["link"].to_pandas() == "uplink")
        counts = uplink & (ends(bins) > wide.number * BIN_NS)
        load, load_was = (np.asarray(each["load_up"].to_numpy()) for each in (bins, was))
        assert np.array_equal(load[~counts], load_was[~counts])
        np.testing.assert_allclose(load[counts], load_was[counts] / 10, rtol=1e-6)
        row = of_kind(table, "mark")
        assert row["link"].to_pylist() == ["uplink"]
        assert ends(row).tolist() == [(wide.number + 1) * BIN_NS]
        after = table.slice(int(pc.index(table["kind"], "mark").as_py()) + 1, 1)
        assert (after["kind"].to_pylist(), ends(after).tolist()) == (["bin"], ends(row).tolist())


def test_a_path_that_is_down_takes_no_new_move(
    blocks: list[PacketBlock], untouched: tuple[list[str], pa.Table], artifact: Artifact, predictor: Predictor
) -> None:
    """From the bin on at which the second move would be opened; what is there stays."""
    opened = [each for each in map(json.loads, untouched[0]) if each["phase"] == "onset"]
    onsets = [each for each in opened if each["action"].get("path") == "wireless"]
    assert len({each["not_before"] for each in onsets}) > 1
    limit = sorted({each["not_before"] for each in onsets})[1]
    numbers = {rfc3339(int(end_ns)): int(end_ns) // BIN_NS - 1 for end_ns in ends(of_kind(untouched[1], "command"))}
    down = DatedMark(numbers[limit], at(0, "probe", **DOWN).mark)
    commands, _ = told(blocks, artifact, predictor, [down])
    assert before(commands, down.number - 1) == before(untouched[0], down.number - 1)
    later = [each for each in map(json.loads, commands) if each["not_before"] >= limit and each["phase"] == "onset"]
    assert later
    assert all(each["action"].get("path") != "wireless" for each in later)
    assert any(each["phase"] == "update" and each["action"].get("path") for each in map(json.loads, commands))


@pytest.mark.parametrize("place", [7, 30, 61])
def test_a_worker_that_reads_a_mark_decides_as_a_replay_that_has_it_at_that_bin(
    place: int, blocks: list[PacketBlock], artifact: Artifact, predictor: Predictor
) -> None:
    records, worker = messages_of(blocks, SITE), Worker(SITE, artifact, predictor)
    worker.work(records[:place])
    number = worker.links.bundles["uplink"].meeting.done
    worker.work([mark(place, "probe", **DOWN)])
    for record in records[place:]:
        record.offset += 1
    worker.work(records[place:])
    commands, _ = told(blocks, artifact, predictor, [DatedMark(number, at(0, "probe", **DOWN).mark)])
    assert worker.out == commands


@pytest.mark.parametrize("second", [19.3, 20.61])
def test_a_worker_takes_a_capacity_between_two_bins_as_a_replay_does(
    second: float, artifact: Artifact, predictor: Predictor
) -> None:
    """The link's clock closes the bins before it, the mark stands behind, and then come the packets."""
    number, lateness_ns = int(BEGIN_NS + second * 1e9) // BIN_NS, 1_000_000
    whole, edge_ns = joined(both()), number * BIN_NS + 1_000_000
    at_row = int(np.argmax(whole.time_ns >= edge_ns))
    cut = [select(whole, slice(0, at_row), 1), select(whole, slice(at_row, None), at_row + 1)]
    assert SITE.links[1].lateness_ms * 1_000_000 == lateness_ns
    records = messages_of(cut, SITE)
    place = next(i for i, each in enumerate(records) if int(dict(each.headers)["first_time_ns"]) >= edge_ns)
    sequence = next(
        int(dict(each.headers)["sequence"]) for each in records[place:] if dict(each.headers)["link"] == b"second"
    )
    clock = FeatureHeaders("lab", "tap", 1, sequence, 0, clock_ns=edge_ns, link="second").pairs()
    told_clock = SimpleNamespace(partition=0, offset=place, key=b"lab/uplink", value=b"", headers=clock)
    members = {"link": "second", "up_bps": 5e6, "down_bps": 9e6}
    worker = Worker(SITE, artifact, predictor)
    worker.work([*records[:place], told_clock, mark(place + 1, "capacity", **members)])
    for record in records[place:]:
        record.offset += 2
        if dict(record.headers)["link"] == b"second":
            record.headers = [(n, str(int(v) + 1).encode() if n == "sequence" else v) for n, v in record.headers]
    worker.work(records[place:])
    commands, _ = told(cut, artifact, predictor, [DatedMark(number, Mark("lab", "capacity", members))])
    assert worker.out == commands
    assert commands != told(cut, artifact, predictor, [])[0]


class Unhurried:
    """An intake that waits for who takes its blocks, and writes to a file on the way."""

    def __init__(self, blocks: list[PacketBlock], path: Path, written: dict[int, str]) -> None:
        self.blocks, self.path, self.written = blocks, path, written
        self.account, self.faults = CaptureLedger(), list[Any]()

    def read(self) -> Iterator[PacketBlock]:
        for place, block in enumerate(self.blocks):
            if place in self.written:
                with self.path.open("a") as file:
                    file.write(self.written[place])
            yield block


def test_a_tap_acts_on_lines_as_they_come_and_its_timeline_replays(
    artifact: Artifact, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line is there, one comes in two halves, one is wrong; the rows of its timeline make a replay the same."""
    monkeypatch.setattr(marks_of_file, "LOOK_S", 0.0)
    path, small, lines, warned = tmp_path / "marks.jsonl", both(200), list[LinkTimeline](), list[str]()
    narrow = capacity(0, "uplink", 6e6).mark.body
    path.write_text(Mark("lab", "capacity", {"link": "second", "up_bps": 7e6, "down_bps": 8e6}).body + "\n")
    down, up = Mark("lab", "probe", DOWN).body, Mark("lab", "probe", UP).body
    written = {
        30: down[:9],
        45: down[9:] + '\n{"kind":"probe"}\n',
        55: narrow + "\n",
        80: up,
    }
    written |= {81: "\n" + down[:20]}
    source = Unhurried(small, path, written)
    batches = LiveBatches(as_intake(source), ByLink(LinkChoice(SITE), SITE, "tap"))
    file, loaded = FollowedFile(path), LoadedModel(artifact, predictor)
    tap = assembled([batches], SITE, loaded, lines.append, marks=file, warn=warned.append)
    commands = [command.to_json() for command in tap.run()]
    assert tap.marks is not None
    account = tap.marks.lines()
    file.close()
    assert [text.split(": ", 1)[1] for text in warned] == [
        "line 3: path: expected a name of 1 to 200 bytes, found none; it is passed over",
        f"line 6: expected its end, found {down[:20]!r}; it is passed over",
    ]
    assert account[0].split() == ["marks", "acted", "on", "4"]
    assert account[1].split()[:2] == ["refused", "2"]
    table = timeline_table(lines, timeline_schema(SITE, predictor), predictor.horizon_ms)
    rows = of_kind(table, "mark")["mark"].to_pylist()
    assert len(rows) == 6
    again = tmp_path / "again.jsonl"
    again.write_text("".join(f"{text}\n" for text in dict.fromkeys(rows)))
    repeated, same = told(both(), artifact, predictor, read_marks(again, SITE))
    assert repeated == commands
    assert of_kind(same, "mark").equals(of_kind(table, "mark"))
    assert of_kind(same, "bin").drop(["quality"]).equals(of_kind(table, "bin").drop(["quality"]))


def as_intake(source: Unhurried) -> Intake:
    """What LiveBatches needs of an intake."""
    return source  # type: ignore[return-value]
