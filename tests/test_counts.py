"""Ledgers add up, are told and subtracted alike, whatever they count; their names are contracts."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import pytest

from offramp.capture.ledger import CaptureLedger
from offramp.capture.publish.ledger import PublishLedger
from offramp.counts import Counts
from offramp.stream.links.link_consumer import IntakeLedger
from offramp.stream.pipeline.ledger import StreamLedger

LEDGERS = (CaptureLedger, PublishLedger, IntakeLedger, StreamLedger)


def filled(kind: type[Counts], first: int) -> Counts:
    """A ledger whose every field holds another number."""
    out = kind()
    for number, each in enumerate(fields(out), first):
        value = getattr(out, each.name)
        setattr(out, each.name, Counter(b=number, a=1) if isinstance(value, Counter) else number)
    return out


@pytest.mark.parametrize("kind", LEDGERS)
def test_a_sum_less_one_part_is_the_other(kind: type[Counts]) -> None:
    one, other = filled(kind, 1), filled(kind, 40)
    both = filled(kind, 1)
    both.add(other)
    assert both.since(one) == other
    assert both.since(other) == one
    assert other == filled(kind, 40)


@pytest.mark.parametrize("kind", LEDGERS)
def test_all_counts_are_told_as_plain_values_and_reasons_in_order(kind: type[Counts]) -> None:
    told = filled(kind, 1).as_dict()
    assert list(told) == [each.name for each in fields(kind)]
    assert {type(value) for value in told.values()} <= {int, dict}
    assert all(list(value) == ["a", "b"] for value in told.values() if isinstance(value, dict))


def test_what_was_told_is_read_back() -> None:
    account = filled(StreamLedger, 1)
    assert StreamLedger.from_dict(account.as_dict()) == account
    capture = CaptureLedger(9, 4, Counter(cut=1), Counter(x=4), 2, Counter(z=1), Counter(e=3))
    assert CaptureLedger.from_dict(capture.as_dict()) == capture
    gone = capture.all_shed("why")
    assert (gone.decoded, gone.shed.total(), gone.notes) == (0, 9, capture.notes)
    assert gone.notes is not capture.notes
