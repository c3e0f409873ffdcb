"""Lines of `--marks`: read or refused in words, whatever they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.capture.message.decode import RefusedError
from offramp.decision.command import rfc3339
from offramp.decision.site import Site, load_site
from offramp.errors import InputError
from offramp.stream.channels import BIN_NS
from offramp.stream.local.followed_file import FollowedFile
from offramp.stream.local.marks import MAX_TOLD, DatedMark, LiveMarks, dated, mark_in, read_marks
from offramp.stream.pipeline.meeting import Meetings
from tests.support.places import SITE as SITE_FILE

SITE = load_site(SITE_FILE)
TIME = "2026-11-24T02:55:00Z"
CAPACITY: dict[str, Any] = {"kind": "capacity", "link": "uplink", "up_bps": 5e6, "down_bps": 1, "time": TIME}
PROBE: dict[str, Any] = {"kind": "probe", "path": "wireless", "up": False, "time": TIME}


def text_of(members: dict[str, Any]) -> bytes:
    return json.dumps(members).encode()


WRONG = {
    b"{": "expected a JSON object of at most 10,000 bytes, found '{'",
    b"[]": "expected a JSON object",
    b"\xff\xff": "expected a JSON object",
    text_of({**PROBE, "x": "y" * 10_000}): "bytes",
    text_of({**PROBE, "kind": "prope"}): 'kind: expected one of away, capacity, probe, node, found "prope"',
    text_of({"kind": "away", "link": "uplink"}): "kind: expected one of capacity, probe, node, found 'away'; only",
    text_of({**CAPACITY, "link": "uplnk"}): "link: expected one of the site's: uplink; found 'uplnk'",
    text_of({**PROBE, "path": "edge-1"}): "path: expected one of the site's: wireless; found 'edge-1'",
    text_of({"kind": "node", "node": "wireless", "full": True}): "one of the site's: edge-1 and cloud; found",
    text_of({**CAPACITY, "up_bps": "5 Mbit/s"}): 'up_bps: expected bit/s, 1 to 1e+15, found "5 Mbit/s"',
    text_of({**CAPACITY, "down_bps": 0}): "down_bps: expected bit/s, 1 to 1e+15, found 0",
    text_of({**PROBE, "up": 1}): "up: expected true or false, found 1",
    text_of({**PROBE, "time": 1}): "time: expected one in UTC such as 2026-01-31T08:00:00.5Z, found 1",
    text_of({**PROBE, "time": "2026-11-24 02:55"}): "expected a time in UTC such as",
    text_of({**PROBE, "time": "2026-13-24T02:55:00Z"}): "time: ",
    text_of({name: each for name, each in PROBE.items() if name != "time"}): "time: expected one in UTC",
}


@pytest.mark.parametrize("line", WRONG, ids=WRONG.values())
def test_a_wrong_line_is_told_with_its_file_and_number(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "marks.jsonl"
    path.write_bytes(text_of(PROBE) + b"\n\n" + line + b"\n" + text_of(PROBE))
    with pytest.raises(InputError) as found:
        read_marks(path, SITE)
    assert str(found.value).startswith(f"{path}: line 3: ")
    assert WRONG[line] in str(found.value)
    assert len(str(found.value).removeprefix(str(path)).splitlines()) == 1
    assert len(str(found.value)) < 300 + len(str(path))


def test_marks_come_in_the_order_of_their_times_each_in_its_bin(tmp_path: Path) -> None:
    path = tmp_path / "marks.jsonl"
    times = ["2026-11-24T02:55:00.020Z", "2026-11-24T02:55:00.019999999Z", TIME, "1900-01-01T00:00:00Z"]
    lines = [text_of({**PROBE, "time": each, "of": number}) for number, each in enumerate(times)]
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    found = read_marks(path, SITE)
    begin = found[1].number
    assert rfc3339(begin * BIN_NS) == f"{TIME[:-1]}.000000000Z"
    assert [each.number - begin for each in found[2:]] == [1, 2]
    assert [json.loads(each.mark.text.lstrip("\ufeff"))["of"] for each in found] == [3, 2, 1, 0]
    assert read_marks(None, SITE) == []
    with pytest.raises(InputError, match="there is no such file"):
        read_marks(tmp_path / "none.jsonl", SITE)


def test_a_mark_of_a_site_without_paths_says_so() -> None:
    bare = Site.model_validate({"links": [{"name": "a", "capacity": 1e6}]})
    with pytest.raises(RefusedError, match="path: expected no path: the site has none; found 'wireless'"):
        mark_in(text_of(PROBE), bare)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["uplink", "wireless", "cloud", "capacity", "probe", "node", "away", TIME, "2026-02-30T00:00:00Z"]),
    st.lists(st.integers(), max_size=2),
)  # fmt: skip
MEMBERS = st.dictionaries(
    st.sampled_from(["kind", "link", "path", "node", "up", "full", "up_bps", "down_bps", "time", "more"]), VALUES
)


def read_or_refused(line: bytes) -> tuple[DatedMark | None, str]:
    try:
        return dated(line, SITE), ""
    except RefusedError as error:
        return None, str(error)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.binary(max_size=60), MEMBERS.map(text_of), MEMBERS.map(lambda more: text_of({**CAPACITY, **more}))))
def test_any_line_is_a_mark_or_refused_in_one_line(line: bytes) -> None:
    """What is a mark is read again from its own JSON."""
    found, why = read_or_refused(line)
    assert why.isprintable()
    assert len(why) < 300
    if found is None:
        assert why
        return
    again = dated(found.mark.body.encode(), SITE)
    assert again.number == found.number
    assert (again.mark.kind, again.mark.members, again.mark.time) == (
        found.mark.kind, found.mark.members, found.mark.time,
    )  # fmt: skip


def test_a_tap_tells_each_wrong_line_once_and_not_without_end(tmp_path: Path) -> None:
    path, warned = tmp_path / "marks.jsonl", list[str]()
    file = FollowedFile(path)
    marks = LiveMarks(file, SITE, Meetings(SITE), warned.append)
    marks.read()
    path.write_bytes(b"no mark\n\n" * (MAX_TOLD + 5) + text_of(PROBE))
    for _ in range(2):
        marks._next_s = 0.0
        marks.read()
    assert len(warned) == MAX_TOLD
    assert (
        warned[0]
        == f"{path}: line 1: expected a JSON object of at most 10,000 bytes, found 'no mark'; it is passed over"
    )
    assert warned[-1].endswith("; further ones are only counted")
    assert marks.lines()[0].split()[-1] == "0"
    assert marks.refused == MAX_TOLD + 6
    file.close()
