"""Checkpoints of others: taken up only where they are what a run of ours may have written; never trusted."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from offramp.errors import ContractError
from offramp.stream.bins.state import BACK_NEWEST_NS, NEXT, REACHED
from offramp.stream.worker.checkpoint import MAX_UNPACKED, decode_checkpoint, encode_checkpoint
from offramp.stream.worker.checkpoint_reader import _note
from tests.fuzz.states import Case, at, places, run
from tests.support.places import ROOT
from tests.support.shown import Shown


def npy(header: str) -> bytes:
    """An array that says so of itself, without content."""
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"1234"


def packed(plain: bytes, arrays: bytes = b"") -> bytes:
    return zstandard.ZstdCompressor().compress(len(plain).to_bytes(8, "little") + plain + arrays)


def noted(found: dict[str, dict[str, Any]], key: bytes | None, value: bytes) -> bool:
    """Enter a record of the topic of states, of site lab with the link uplink, as a new owner does."""
    record = Shown("state", key, value, [])
    return _note(found, record, "lab", frozenset({"uplink"}), lambda offset: offset > 10, "")


ONE = json.dumps({"format": 1, "state": {"next_offset": 1, "x": "\x00array"}}).encode()


@pytest.mark.parametrize(
    "value",
    [
        packed(ONE, npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }")),
        packed(ONE, npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }")),
        packed(ONE, npy("{'descr': '<f8', 'fortran_order': False, 'shape': (9" + "0" * 60 + ", 0), }")),
        packed(ONE, npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")),
        packed(ONE, npy("{'descr': '<f8', 'fortran_order': False, 'shape': (((((((((")),
        packed(ONE, npy("{'descr': '<U999999999', 'fortran_order': False, 'shape': (1,), }")),
        packed(ONE, npy("__import__('os').abort()")),
        packed(ONE, b""),
        packed(ONE, b"\x93NUMPY\x03\x00\xff\xff\xff\xff"),
        packed(b"{" * 200_000),
        packed(b'{"format":1,"state":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        packed(b'{"format":1,"state":{"next_offset":NaN}}'),
        packed(b'{"format":1e999,"state":{}}'),
        packed(b"[]"),
        packed(b"7"),
        packed(b'{"format":1}'),
        zstandard.ZstdCompressor().compress((1 << 62).to_bytes(8, "little") + b"{}"),
        zstandard.ZstdCompressor().compress(bytes(MAX_UNPACKED + 1)),
        zstandard.ZstdCompressor(write_content_size=False).compress(b"1234"),
        b"",
        b"garbage",
        io.BytesIO(b"\x28\xb5\x2f\xfd" + b"\xff" * 30).getvalue(),
    ],
)
def test_bytes_that_are_no_checkpoint_are_said_to_be_none(value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ContractError):
        decode_checkpoint(value)
    found: dict[str, dict[str, Any]] = {}
    with caplog.at_level(logging.WARNING, "offramp.worker"):
        read = noted(found, b"lab/uplink", value)
    assert (read, found) == (not value, {})
    assert "Traceback" not in caplog.text


def test_only_links_of_the_site_have_a_place() -> None:
    found: dict[str, dict[str, Any]] = {}
    value = encode_checkpoint({"next_offset": 3})
    for key in (b"lab/other", b"elsewhere/uplink", b"uplink", b"\xff", None, b"lab/uplink"):
        assert noted(found, key, value)
    assert found == {"uplink": {"next_offset": 3}}


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


@pytest.fixture(scope="module")
def states(case: Case) -> list[dict[str, Any]]:
    found = case.states()
    assert any(state["meeting"]["policy"]["links"]["uplink"]["loops"] for state in found)
    return found


def test_real_states_are_taken_up(case: Case, states: list[dict[str, Any]]) -> None:
    for state in states:
        links = case.links()
        links.states["uplink"] = decode_checkpoint(encode_checkpoint(state))
        case.work(links, case.messages[state["next_offset"] :][:1] or case.messages[-1:])
        assert (links.restored, links.states_refused) == (1, 0)


def put(index: Any, value: Any) -> Callable[[Any], Any]:
    """Return a change of an array."""

    def change(array: Any) -> Any:
        out = np.array(array)
        out[index] = value
        return out

    return change


FORGED = [
    ("links/uplink/pipeline/hitters/clock", put(1, 1 << 30)),
    ("links/uplink/pipeline/hitters/clock", put(1, -1)),
    ("links/uplink/pipeline/hitters/clock", put(0, 1 << 62)),
    ("links/uplink/pipeline/hitters/clock", put(0, -(1 << 62))),
    ("links/uplink/pipeline/hitters/hint", put(..., -30_000)),
    ("links/uplink/pipeline/hitters/hint", put(..., 128)),
    ("links/uplink/pipeline/bins/hint", put(..., 33)),
    ("links/uplink/pipeline/bins/hint", put(..., -2)),
    ("links/uplink/pipeline/bins/alive", put(3, 3)),
    ("links/uplink/pipeline/bins/clock", put(0, -(1 << 60))),
    ("links/uplink/pipeline/bins/clock", put(1, 1 << 62)),
    ("links/uplink/pipeline/bins/clock", put(NEXT, 1 << 60)),
    ("links/uplink/pipeline/bins/clock", put(REACHED, (1 << 63) - 1)),
    ("links/uplink/pipeline/bins/clock", put(BACK_NEWEST_NS, (1 << 63) - 1)),
    ("links/uplink/pipeline/time", lambda _: [7, "x"]),
    ("links/uplink/pipeline/time", lambda _: [7]),
    ("links/uplink/pipeline/bins/last", put(0, 1 << 60)),
    ("links/uplink/pipeline/bins/counters", put((0, 0, 0), 1e-300)),
    ("links/uplink/pipeline/bins/counters", put((0, 0, 2), np.inf)),
    ("links/uplink/pipeline/bins/slow", put(0, np.nan)),
    ("links/uplink/pipeline/bins/slow", put(0, 1e300)),
    ("links/uplink/pipeline/bins/shape", put(0, 0.0)),
    ("links/uplink/pipeline/bins/counters", lambda array: array[:, :5]),
    ("links/uplink/pipeline/bins/clock", lambda array: array.astype(np.int32)),
    ("links/uplink/pipeline/history", lambda array: array[:1]),
    ("links/uplink/pipeline/carried", put((0, 0), np.nan)),
    ("links/uplink/pipeline/carried", lambda _: 3),
    ("meeting/policy/links/uplink/hysteresis", lambda _: ["a", 0, 0, 0]),
    ("meeting/policy/links/uplink/hysteresis", lambda _: [0, 0]),
    ("meeting/policy/links/uplink/quiet_until_ns", lambda _: "never"),
    ("meeting/policy/links/uplink/devices", lambda _: {"device:uplink/10.0.0.1": ["x", "y"]}),
    ("meeting/policy/links/uplink/devices", lambda _: {f"device:uplink/{n}": [1, 0.5] for n in range(5_000)}),
    ("meeting/policy/links/uplink/loops", lambda loops: loops * 500),
    ("meeting/policy/links/uplink/loops", lambda loops: [{**loop, "opened_ns": 1 << 70} for loop in loops]),
    ("meeting/policy/links/uplink/loops", lambda loops: [{**loop, "surprise": 1} for loop in loops]),
    ("meeting/policy/links/uplink/loops", lambda loops: [{**loop, "sequence": None} for loop in loops]),
    (
        "meeting/policy/links/uplink/loops",
        lambda loops: [{**e, "move": {**e["move"], "action": {"flows": 7}}} for e in loops],
    ),
    (
        "meeting/policy/links/uplink/loops",
        lambda loops: [{**e, "move": {**e["move"], "action": {"type": "x"}}} for e in loops],
    ),
    (
        "meeting/policy/links/uplink/loops",
        lambda loops: [{**e, "move": {**e["move"], "scope": "link:other"}} for e in loops],
    ),
    (
        "meeting/policy/links/uplink/loops",
        lambda loops: [{**e, "move": {**e["move"], "rate_bps": "much"}} for e in loops],
    ),
    ("links/uplink/pipeline/ledger/commands", lambda _: {"reroute": "many"}),
    ("links/uplink/pipeline/ledger/rows", lambda _: "x"),
    ("links/uplink/pipeline/quality", lambda _: [1]),
    ("links/uplink/pipeline/quality", lambda _: {"decoded": 1}),
    ("links/uplink/pipeline/bins", lambda bins: {"clock": bins["clock"]}),
    ("links/uplink/pipeline", lambda _: {}),
    ("links/uplink/intake", lambda _: {"surprise": 1}),
    ("links/uplink/epochs", lambda _: {"x" * 5_000: 1}),
    ("links/uplink/epochs", lambda _: {f"tap/{n}": 1 for n in range(5_000)}),
    ("links/uplink/epochs", lambda _: [1]),
    ("links/uplink/newest_ns", lambda _: 10**30),
    ("next_offset", lambda _: None),
    ("capacity", lambda _: {"uplink": [0.0, 1e6]}),
    ("capacity", lambda _: {"other": [1e6, 1e6]}),
    ("meeting/done", lambda _: -1),
    ("meeting/policy/closed", lambda _: [7]),
    ("meeting/links/uplink/reached", lambda _: 1 << 63),
    ("meeting/links/uplink/moved", lambda _: []),
    ("meeting/links/uplink/parts", lambda _: [{}]),
    ("meeting/links", lambda _: {}),
]


@pytest.mark.parametrize(("name", "change"), FORGED, ids=[f"{name}-{at}" for at, (name, _) in enumerate(FORGED)])
def test_a_forged_state_is_no_checkpoint_and_the_link_begins_anew(
    name: str, change: Callable[[Any], Any], case: Case, states: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    from tests.fuzz.states import changed

    state = next(each for each in states if each["meeting"]["policy"]["links"]["uplink"]["loops"])
    path = tuple(name.split("/"))
    begin = state["next_offset"]
    links = case.links()
    links.states["uplink"] = changed(state, path, change(at(state, path)))
    with caplog.at_level(logging.WARNING, "offramp.worker"):
        assert set(case.work(links, case.messages[begin : begin + 3])) <= {""}
    assert (links.restored, links.states_refused) == (0, 1)
    assert caplog.text.count("begins anew") == 1
    assert links.consumers["uplink"].ledger.messages == len(case.messages[begin : begin + 3])


def test_every_part_of_a_state_may_be_anything(case: Case, states: list[dict[str, Any]], tmp_path: Path) -> None:
    """Interpreted kernels check every access; compiled they check none, and would go on beside their arrays."""
    file = tmp_path / "stock"
    file.write_bytes(pickle.dumps((case.messages, states)))
    command = [sys.executable, "-m", "tests.fuzz.states", "--stock", str(file), "--seconds", "1", "--count", "10"]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2_000:]
    told = run(case, states, 5, 200)
    assert told["taken up"] > 10
    assert told["refused"] > 10
    assert len(places(states[0])) > 60
