"""Hops: what is written is read, whatever else is in the header is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.hops import HEADER, NAMES, NONE, decode_hops, encode_hops, hops_of

TIMES = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2**63 - 1))


@given(TIMES)
def test_what_is_written_is_read_in_the_order_of_the_way(hops: dict[str, int]) -> None:
    value = encode_hops(hops)
    assert decode_hops(value) == hops
    assert hops_of([("other", b"read=1"), (HEADER, value)]) == hops
    names = [part.split(b"=")[0].decode() for part in value.split(b",") if part]
    assert names == [name for name in NAMES if name in hops]


@given(st.one_of(st.none(), st.text(), st.binary()))
def test_anything_is_borne(value: object) -> None:
    assert set(decode_hops(value)) <= set(NAMES)


@pytest.mark.parametrize("value", [b"", b"read", b"read=", b"read=-1", b"reed=5", b"read=" + b"9" * 30, b"," * 600])
def test_what_cannot_be_read_is_left_out(value: bytes) -> None:
    assert decode_hops(value) == {}
    assert decode_hops(value + b",sent=7") == ({"sent": 7} if len(value) < 500 else {})


def test_messages_without_the_header_tell_nothing() -> None:
    assert hops_of([]) is NONE
