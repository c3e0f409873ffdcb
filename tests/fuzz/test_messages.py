"""A short run of the messages' fuzzer: nothing ends who reads them, whatever they hold."""

from __future__ import annotations

from tests.fuzz.messages import run, times


def test_no_message_ends_a_partition_a_refiner_a_follower_or_a_client() -> None:
    partition, refiner, readers = run(7, lambda: times(1_500))
    print(partition, refiner, readers, sep="\n")
    assert "'headers': " in partition
    assert "'refused': " in refiner
    assert "'invalid': " in readers
