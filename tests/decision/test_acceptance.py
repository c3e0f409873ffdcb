"""Whatever stands in the decision topic comes to one word: no message ends a controller, none silences another's."""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from offramp.decision.acceptance import MAX_AHEAD_NS, MAX_LIFE_NS, REMEMBERED, Acceptance, Clock, time_ns
from offramp.decision.command import rfc3339
from offramp.errors import ConfigError
from tests.support.commands import as_bytes, changed, example, moved

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
OTHER_LOOP = "0000000f-0000-4000-8000-000000000000"


def now() -> int:
    return time.time_ns()


def fate(acceptance: Acceptance, body: dict[str, Any], source: bytes = b"/offramp/a", recorded_ns: int = 0) -> str:
    return acceptance.take(as_bytes(body), [("ce_source", source)], recorded_ns)[0]


def test_the_wall_clock_is_the_default_and_holds_back_what_expired_long_ago() -> None:
    old = [moved(example(), now() - 72 * HOUR + each * SECOND, sequence=each + 1) for each in range(3)]
    acceptance = Acceptance()
    assert [fate(acceptance, body) for body in old] == ["expired"] * 3
    assert fate(acceptance, moved(example(), now(), sequence=9)) == "given"


def test_a_command_that_stood_in_the_topic_for_longer_than_it_lives_is_expired_though_its_agents_clock_is_ahead() -> (
    None
):
    body = moved(example(), now() + 30 * SECOND)
    assert fate(Acceptance(), body, recorded_ns=now() - HOUR) == "expired"
    assert fate(Acceptance(), body, recorded_ns=now()) == "given"


def test_a_command_from_the_far_future_is_not_given_and_does_no_harm_to_others() -> None:
    for clock in ("wall", "stream"):
        acceptance = Acceptance(clock)
        far = moved(example(), now() + MAX_AHEAD_NS + HOUR)
        assert fate(acceptance, far, recorded_ns=now()) == "ahead"
        assert fate(acceptance, moved(example(), now()), recorded_ns=now()) == "given"


def test_of_a_recording_each_scope_and_site_has_its_own_time() -> None:
    past = time_ns(example()["not_before"])
    acceptance = Acceptance("stream")
    for ahead, (source, scope) in enumerate(
        [(b"/offramp/a", "link:x"), (b"/offramp/a", "link:y"), (b"/offramp/b", "link:x")]
    ):
        body = moved(example(), past - ahead * HOUR, scope=scope, loop_id=f"{ahead:08d}-0000-4000-8000-000000000000")
        assert fate(acceptance, body, source, recorded_ns=now()) == "given"
    late = moved(example(), past - HOUR, scope="link:x", loop_id=OTHER_LOOP)
    assert fate(acceptance, late, b"/offramp/a", recorded_ns=now()) == "expired"


def test_the_true_id_with_another_content_is_invalid_and_the_true_command_is_given_after_it() -> None:
    true = moved(example(), now())
    forged = true | {"action": true["action"] | {"path": "mallory"}}
    acceptance = Acceptance()
    assert fate(acceptance, forged) == "invalid"
    assert fate(acceptance, true) == "given"
    assert fate(acceptance, true) == "repeat"


def test_an_older_command_of_a_loop_is_superseded() -> None:
    acceptance = Acceptance()
    assert fate(acceptance, moved(example(), now(), sequence=5)) == "given"
    assert fate(acceptance, moved(example(), now(), sequence=4)) == "superseded"


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body | {"not_before": body["not_before"][:-1] + "99999999999999999999Z"},
        lambda body: body | {"not_before": body["not_before"] + "\n"},
        lambda body: body | {"expires_at": "9999-13-41T00:00:00Z"},
        lambda body: body | {"expires_at": rfc3339(now() + 2 * MAX_LIFE_NS)},
        lambda body: body | {"expires_at": body["not_before"]},
        lambda body: body | {"sequence": 10**300},
        lambda body: body | {"sequence": 1e400},
        lambda body: body | {"scope": "link:" + "x" * 900_000},
        lambda body: body | {"decision_id": "x" * 900_000},
        lambda body: body | {"loop_id": "no id"},
        lambda body: changed(body, action=body["action"] | {"flows": body["action"]["flows"] * 2_000}),
        lambda body: changed(body, action={"type": "limit", "device": "10.0.0.1", "rate_bps": float("inf")}),
        lambda body: changed(body, action={"type": "limit", "device": "10.0.0.1", "rate_bps": float("nan")}),
    ],
)
def test_ids_sequences_dates_and_sizes_are_bounded(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    acceptance = Acceptance()
    assert fate(acceptance, change(moved(example(), now()))) == "invalid"
    assert fate(acceptance, moved(example(), now())) == "given"


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"no json",
        b"[]",
        b"1",
        b"null",
        b"NaN",
        b'"x"',
        b"[" * 500_000,
        b"9" * 5_000,
        b"{}",
        b"\xff\xfe",
        b'{"hello":1}',
    ],
)
def test_what_is_no_command_is_counted(value: bytes | None) -> None:
    acceptance = Acceptance()
    assert acceptance.take(value, [("ce_source", None), ("x", b"")]) == ("invalid", {})
    assert acceptance.counts == {"invalid": 1}


def test_no_message_raises() -> None:
    """Commands with members, types and bytes changed at random: each comes to one word."""
    rng = random.Random(7)
    values: list[Any] = [
        None,
        True,
        -1,
        0,
        2**63,
        1e308,
        "",
        "x",
        [],
        {},
        [[]],
        {"type": "clear"},
        "2026-01-01T00:00:00Z",
    ]
    acceptance = Acceptance()
    for number in range(4_000):
        body = moved(example(), now(), sequence=number + 1)
        for _ in range(rng.randint(1, 3)):
            at: Any = body
            while isinstance(at, dict) and at:
                key = rng.choice(list(at))
                if not isinstance(at[key], dict) or rng.random() < 0.3:
                    at[key] = copy.deepcopy(rng.choice(values))
                    break
                at = at[key]
        data = bytearray(as_bytes(body))
        if rng.random() < 0.5:
            data[rng.randrange(len(data))] = rng.randrange(256)
        acceptance.take(bytes(data), [("ce_source", rng.choice([None, b"", b"\xff"]))], rng.choice([0, -1, 2**62]))
    assert acceptance.counts.total() == 4_000


def test_what_is_remembered_is_bounded() -> None:
    acceptance = Acceptance("stream")
    begins = time_ns(example()["not_before"])
    for number in range(40):
        fate(
            acceptance,
            moved(example(), begins, scope=f"link:{number}", loop_id=f"{number:08d}-0000-4000-8000-000000000000"),
        )
    assert len(acceptance._seen) == len(acceptance._last) == len(acceptance._stream_ns) == 40 < REMEMBERED


@pytest.mark.parametrize("clock", ["events", None, 7])
def test_a_clock_that_is_none_is_refused(clock: Clock) -> None:
    with pytest.raises(ConfigError, match="wall, stream"):
        Acceptance(clock)


def test_times_go_there_and_back() -> None:
    for time_of in (0, 1_700_000_000_123_456_789, 1_700_000_000_000_000_000):
        assert time_ns(rfc3339(time_of)) == time_of
    for text in (
        "2026-01-31",
        "2026-01-31T08:00:00",
        "2026-01-31T08:00:00+01:00",
        "\uff12026-01-31T08:00:00Z",
        json.dumps("x"),
    ):
        with pytest.raises(ValueError, match="time in UTC"):
            time_ns(text)
