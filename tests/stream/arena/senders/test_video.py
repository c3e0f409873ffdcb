"""Paced video takes what a link has for it, and gives way."""

from __future__ import annotations

import numpy as np
import pytest

from offramp.stream.arena.scenario import TrafficSource
from offramp.stream.arena.senders.video import LAYERS_BPS, PAYLOAD
from tests.support.closed_loops import Loop, scenario_of


def video(**keys: object) -> TrafficSource:
    return TrafficSource.model_validate({"model": "video", **keys})


def rate_bps(loop: Loop, begin_s: float, end_s: float, *, down: bool = True) -> float:
    """Return what the sender sends, bit/s."""
    sent = loop.sent
    own = (sent.flow == int(down)) & (sent.packets.time_ns >= begin_s * 1e9) & (sent.packets.time_ns < end_s * 1e9)
    return float(sent.packets.size[own].sum()) * 8 / (end_s - begin_s)


def test_it_climbs_to_its_most_where_there_is_room() -> None:
    loop = Loop(scenario_of(video(share=1.0), mbit=20)).play()
    assert rate_bps(loop, 1, 10) == pytest.approx(1.0e6, rel=0.15)
    assert rate_bps(loop, 50, 60) == pytest.approx(4.0e6, rel=0.15)
    assert loop.plan.cameras[0].halved == 0
    assert not np.isnan(loop.sent.delay_ms).any()


@pytest.mark.parametrize("down", [True, False])
def test_it_gives_way_to_a_small_link_and_stays_quick(down: bool) -> None:
    one = scenario_of(video(share=1.0, direction="down" if down else "up"), mbit=1.2, buffer_bytes=60_000)
    loop = Loop(one).play()
    assert 0.5e6 <= rate_bps(loop, 10, 60, down=down) <= 1.2e6
    sent = loop.sent
    assert np.isnan(sent.delay_ms[sent.flow == int(down)]).mean() < 0.02
    # 60 kB of buffer are 400 ms, which it would fill if it did not give way
    assert np.nanmean(sent.delay_ms[sent.flow == int(down)]) < 150


@pytest.mark.parametrize(("loss", "most"), [(0.02, 4.4e6), (0.3, 0.7e6)])
def test_ten_percent_lost_are_too_many(loss: float, most: float) -> None:
    loop = Loop(scenario_of(video(share=1.0), mbit=20, loss=loss)).play()
    assert most * 0.7 < rate_bps(loop, 50, 60) < most
    assert (loop.plan.cameras[0].halved > 0) == (loss > 0.1)


def test_frames_come_thirty_a_second_in_packets_that_are_paced() -> None:
    loop = Loop(scenario_of(video(share=1.0), mbit=20, seconds=11)).play()
    sent = loop.sent
    times = sent.packets.time_ns[sent.flow == 1]
    assert loop.plan.cameras[0].frame == pytest.approx(30 * (11 - times[0] / 1e9), abs=1)
    assert sent.packets.size[sent.flow == 1].max() <= PAYLOAD + 54
    seconds = np.bincount((times - times[0]) // 1_000_000_000)
    assert seconds[:10].max() < 2 * seconds[:10].min()  # a second with a key frame against one without
    assert np.diff(times).min() > 1e9 * PAYLOAD * 8 / (2.6 * LAYERS_BPS[-1])


def test_without_reports_it_falls_to_its_least() -> None:
    def cut(loop: Loop, now_ns: int) -> None:
        loop.closed.world.loss[0] = 1.0 if now_ns > 20_000_000_000 else 0.0

    loop = Loop(scenario_of(video(share=1.0), mbit=20, seconds=30)).play(cut)
    assert rate_bps(loop, 15, 20) > 1.2e6
    assert rate_bps(loop, 25, 30) < 0.6e6
