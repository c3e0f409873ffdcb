"""A link that others wait for is marked as away, once for each time that it stops, and sooner where links are live."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from offramp.capture.message.mark import decode_mark
from offramp.stream.links.bundle_consumer import MAX_WAITING, Held
from offramp.stream.worker.away import AWAY_S, RECORDED_S, AwayWatch


def bundle(held: Held | None, waiting: int = 10) -> Any:
    return SimpleNamespace(name="uplink", held_by=held, meeting=SimpleNamespace(waiting=waiting))


def marked(watch: AwayWatch, held: Held | None, now_s: float, waiting: int = 10) -> list[str]:
    found = [decode_mark(each.headers, each.value) for each in watch.marks([bundle(held, waiting)], now_s)]
    assert all(mark is not None and (mark.site, mark.kind) == ("lab", "away") for mark in found)
    return [mark.about for mark in found if mark is not None]


def test_a_live_link_is_away_after_a_second_without_news_and_told_once() -> None:
    watch = AwayWatch("lab")
    held = Held("lte", 100, live=True)
    assert marked(watch, held, 0.0) == []
    assert watch.waits
    assert marked(watch, held, AWAY_S - 0.01) == []
    assert marked(watch, held, AWAY_S) == ["lte"]
    assert marked(watch, held, AWAY_S + 9) == []
    assert marked(watch, None, AWAY_S + 10) == []
    assert not watch.waits


def test_whoever_moves_is_not_away() -> None:
    watch = AwayWatch("lab")
    for number in range(100):
        assert marked(watch, Held("lte", number, live=True), number * 0.9 * AWAY_S) == []
    assert marked(watch, Held("wan", 99, live=True), 99.5 * AWAY_S) == [], "another link is held from then on"
    assert marked(watch, Held("wan", 99, live=True), 101 * AWAY_S) == ["wan"]


def test_recordings_are_waited_for_longer_and_not_for_any_amount_of_memory() -> None:
    watch, held = AwayWatch("lab"), Held("lte", 0, live=False)
    assert marked(watch, held, 0.0) == []
    assert marked(watch, held, RECORDED_S - 1) == []
    assert marked(watch, held, RECORDED_S) == ["lte"]
    watch = AwayWatch("lab")
    assert marked(watch, held, 0.0, MAX_WAITING) == []
    assert marked(watch, held, 0.1, MAX_WAITING + 1) == ["lte"]
