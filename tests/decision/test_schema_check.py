"""The quick check of the contract says what the general validator says, of commands and of what was made of them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from offramp.decision.command import SCHEMA_FILE, validate
from offramp.decision.schema_check import compiled
from offramp.errors import ContractError
from tests.support.commands import example

SCHEMA = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
GENERAL, QUICK = Draft202012Validator(SCHEMA), compiled(SCHEMA)
MATCH = {"eth_type": 2048, "ip_proto": 17, "ipv4_src": "10.0.0.1", "ipv4_dst": "10.0.0.2", "udp_src": 5, "udp_dst": 6}
ACTIONS: list[dict[str, Any]] = [
    {"type": "reroute", "flows": [MATCH, MATCH], "path": "lte"},
    {"type": "offload", "device": "10.0.0.1", "from": "uplink", "to": "edge-1"},
    {"type": "mark", "flows": [MATCH], "dscp": 1},
    {"type": "limit", "device": "10.0.0.1", "rate_bps": 1e6},
    {"type": "clear", "loop_id": "6352a353-e4b8-5f78-8030-ec2378bf3b96"},
]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 70_000), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3), st.just([]), st.just({}),
    st.sampled_from(["onset", "enforce", "link:a", "clear", "reroute", 2048, 2048.0, 34525, 1.0, 0, MATCH, [MATCH]]),
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to everything inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in places(each, (*path, key)))]


@st.composite
def bodies(draw: st.DrawFn) -> Any:
    body: Any = example() | {"action": copy.deepcopy(draw(st.sampled_from(ACTIONS)))}
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(places(body)))
        if not path:
            return draw(VALUES)
        at = body
        for key in path[:-1]:
            at = at[key]
        change = draw(st.sampled_from(["set", "drop", "add"]))
        if change == "set" or isinstance(at, list):
            at[path[-1]] = copy.deepcopy(draw(VALUES))
        elif change == "drop":
            del at[path[-1]]
        else:
            at[draw(st.sampled_from(["more", "path", "dscp", "device"]))] = copy.deepcopy(draw(VALUES))
    return body


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action["type"])
def test_every_action_is_valid(action: dict[str, Any]) -> None:
    assert QUICK(example() | {"action": action})


@settings(max_examples=400, deadline=None)
@given(bodies())
def test_both_say_the_same(body: Any) -> None:
    assert QUICK(body) == GENERAL.is_valid(body)


@pytest.mark.parametrize("rate_bps", [float("nan"), float("inf"), 1e400])
def test_numbers_that_are_none_in_json_break_the_contract(rate_bps: float) -> None:
    """Python reads NaN and Infinity where JSON has none, and the general validator takes them for numbers."""
    with pytest.raises(ContractError, match="JSON does not know"):
        validate(example() | {"action": {"type": "limit", "device": "10.0.0.1", "rate_bps": rate_bps}})


def test_a_line_end_behind_what_a_pattern_ends_is_too_much() -> None:
    assert not QUICK(example() | {"not_before": example()["not_before"] + "\n"})


def test_a_keyword_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="multipleOf"):
        compiled({"multipleOf": 2})
