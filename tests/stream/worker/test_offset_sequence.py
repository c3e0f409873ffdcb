from __future__ import annotations

from offramp.stream.worker.offset_sequence import OffsetAction, OffsetSequence

TAKE, DROP, REWIND = OffsetAction.TAKE, OffsetAction.DROP, OffsetAction.REWIND


def verdicts(due: int, *offsets: int) -> list[OffsetAction]:
    sequence = OffsetSequence(due)
    return [sequence.check(offset) for offset in offsets]


def test_in_order_all_are_taken_and_repeats_dropped() -> None:
    assert verdicts(3, 3, 4, 5) == [TAKE] * 3
    assert verdicts(3, 1, 2, 3, 3, 4) == [DROP, DROP, TAKE, DROP, TAKE]


def test_a_stray_message_ahead_makes_it_rewind_and_nothing_is_left_out() -> None:
    assert verdicts(3, 7, 8, 9, 3, 4, 5, 6, 7) == [REWIND, DROP, DROP, TAKE, TAKE, TAKE, TAKE, TAKE]


def test_what_the_broker_let_go_is_given_up_after_asking_once() -> None:
    assert verdicts(3, 7, 8, 7, 8, 9) == [REWIND, DROP, TAKE, TAKE, TAKE]
    assert verdicts(0, 5, 5, 6) == [REWIND, TAKE, TAKE]


def test_a_second_hole_is_asked_for_anew() -> None:
    assert verdicts(0, 2, 0, 1, 2, 9, 9) == [REWIND, TAKE, TAKE, TAKE, REWIND, TAKE]
