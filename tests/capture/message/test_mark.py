"""Marks: what is written is read, and whoever may write to the topic may write anything."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.capture.message.decode import RefusedError
from offramp.capture.message.mark import HEADER, KINDS, Mark, decode_mark, encode_mark

GOOD: list[tuple[str, dict[str, Any]]] = [
    ("away", {"link": "lte"}),
    ("capacity", {"link": "uplink", "up_bps": 5e6, "down_bps": 1e9}),
    ("probe", {"path": "lte", "up": False}),
    ("node", {"node": "edge", "full": True}),
]


@pytest.mark.parametrize(("kind", "members"), GOOD)
def test_what_is_written_is_read(kind: str, members: dict[str, Any]) -> None:
    value, headers = encode_mark(Mark("lab", kind, members))
    found = decode_mark(headers, value)
    assert found is not None
    assert (found.site, found.kind, found.members, found.about) == ("lab", kind, members, next(iter(members.values())))
    more = json.dumps({**json.loads(value), "of_a_later_version": [1]}).encode()
    later = decode_mark(headers, more)
    assert later is not None
    assert later.members == members
    assert {each for each, _ in GOOD} == set(KINDS)


def test_a_message_without_the_header_is_no_mark() -> None:
    assert decode_mark([("site", b"lab")], b"x") is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (b"else", b"{}"), (b"\xff", b"{}"), (b"away", None), (b"away", b"["), (b"away", b"[" * 5_000), (b"away", b"7"),
        (b"away", b"{}"), (b"away", b'{"link":""}'), (b"away", b'{"link":7}'),
        (b"away", b'{"link":"%s"}' % (b"x" * 300)), (b"away", b'{"link":"a"}' + b" " * 20_000),
        (b"capacity", b'{"link":"a","up_bps":0,"down_bps":1}'),
        (b"capacity", b'{"link":"a","up_bps":NaN,"down_bps":1}'),
        (b"capacity", b'{"link":"a","up_bps":true,"down_bps":1}'),
        (b"capacity", b'{"link":"a","up_bps":1e300,"down_bps":1}'),
        (b"probe", b'{"path":"a","up":1}'), (b"node", b'{"node":"a"}'),
    ],
)  # fmt: skip
def test_what_is_no_mark_is_refused(kind: bytes, value: bytes | None) -> None:
    with pytest.raises(RefusedError) as found:
        decode_mark([(HEADER, kind), ("site", b"lab")], value)
    assert found.value.reason == "mark"
    assert len(str(found.value)) < 300


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from([*KINDS, "x"]), value=st.one_of(st.none(), st.binary(max_size=60)), site=st.binary(max_size=9)
)
def test_bytes_of_any_kind_are_read_or_refused(kind: str, value: bytes | None, site: bytes) -> None:
    with suppress(RefusedError):
        decode_mark([(HEADER, kind.encode()), ("site", site)], value)
