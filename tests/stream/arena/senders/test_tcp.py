"""TCP senders: they fill a link, share it, and are as fast under loss as the formulas say."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Literal

import numpy as np
import pytest

from offramp.decision.site import AltPath
from offramp.stream.arena.scenario import TrafficSource
from offramp.stream.arena.senders.cubic import BETA, CUBE
from offramp.stream.arena.senders.tcp import HEADERS, MSS, SYN_BYTES, SYN_MARKS
from offramp.stream.channels import Counter, mark
from tests.support.closed_loops import Loop, scenario_of
from tests.support.places import ROOT

Way = Literal["up", "down"]


def source(model: str = "tcp_long", **keys: object) -> TrafficSource:
    return TrafficSource.model_validate({"model": model, **keys})


def bdp(mbit: float, rtt_ms: float) -> int:
    """Return a buffer of the bandwidth-delay product, at least four packets."""
    return max(int(mbit * 1e6 / 8 * (rtt_ms + 2) / 1e3), 6_000)


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize(("mbit", "rtt_ms"), [(1, 58), (8, 38), (50, 18), (20, 98), (20, 298)])
def test_one_alone_fills_the_link(mbit: float, rtt_ms: float, way: Way) -> None:
    one = scenario_of(source(rtt_ms=rtt_ms, direction=way), mbit=mbit, buffer_bytes=bdp(mbit, rtt_ms))
    loop = Loop(one).play()
    used = loop.delivered([int(way == "down")]) * 8 / 60 / (mbit * 1e6)
    assert 0.9 <= used <= 1.001


@pytest.mark.parametrize("seed", range(1, 6))
def test_two_share_the_link(seed: int) -> None:
    loop = Loop(scenario_of(source(rtt_ms=38, count=2)), seed).play()
    first, second = (sender.up + 1 for sender in loop.plan.tcp.each)
    rates = sorted(loop.delivered([int(row)]) for row in (first, second))
    assert rates[1] <= 2 * rates[0]
    assert sum(rates) * 8 / 60 >= 0.9 * 8e6


@pytest.mark.parametrize(
    ("loss", "rtt_ms"), [(0.001, 48), (0.003, 48), (0.01, 48), (0.01, 98), (0.02, 48), (0.0003, 298)]
)
def test_random_loss_gives_the_rate_of_the_formulas(loss: float, rtt_ms: float) -> None:
    """The larger of CUBIC's mean window (RFC 9438 section 5.1) and Reno's (Mathis and others, 1997)."""
    trip_s = (rtt_ms + 2) / 1e3
    cubic = (CUBE * (3 + BETA) / (4 * (1 - BETA))) ** 0.25 * (trip_s / loss) ** 0.75
    wanted = max(cubic, (1.5 / loss) ** 0.5)
    found = []
    for seed in (1, 2, 3):
        one = scenario_of(source(rtt_ms=rtt_ms), seconds=150, mbit=1_000, buffer_bytes=10_000_000, loss=loss)
        found.append(Loop(one, seed).play().delivered([1]) / (HEADERS + MSS) / 150 * trip_s)
    assert 0.7 <= float(np.mean(found)) / wanted <= 1.3


def test_files_arrive_whole_each_over_a_connection_of_its_own() -> None:
    one = scenario_of(source("tcp_files", size_bytes=300_001, pause_s=0.5, count=3, direction="up"), loss=0.01)
    loop = Loop(one).play()
    sent = loop.sent
    data = sent.packets.size > HEADERS
    for sender in loop.plan.tcp.each:
        assert sender.done > 10
        rows = np.arange(sender.first_row, sender.first_row + 2 * sender.done, 2)
        for row in rows:
            own = (sent.flow == row) & data & ~np.isnan(sent.delay_ms)
            marks = sent.packets.marks[sent.flow == row]
            assert sent.packets.size[own].sum() - HEADERS * own.sum() >= 300_001
            assert marks[0] == SYN_MARKS
            assert np.any(marks & mark(Counter.FIN_RST))
    ports = {tuple(row) for row in loop.arrivals.key[np.unique(sent.flow)]}
    assert len(ports) == len(np.unique(sent.flow))


def test_acknowledgements_take_the_other_direction_every_second_segment() -> None:
    sent = Loop(scenario_of(source(rtt_ms=38), seconds=20)).play().sent
    data, acks = (sent.flow == 1), (sent.flow == 0) & (sent.packets.marks & mark(Counter.PURE_ACK) > 0)
    assert 0.4 < acks.sum() / data.sum() < 0.75
    assert set(sent.packets.size[acks].tolist()) == {HEADERS}
    assert (np.diff(sent.packets.time_ns) >= 0).all()


def test_pages_wait_for_their_reader() -> None:
    """Two think for two seconds in the mean, so they load fewer pages in a slow network than in a quick one."""
    pages = source("tcp_pages", size_bytes=400_000, pause_s=2, count=4)
    slow, quick = (Loop(scenario_of(pages, mbit=mbit)).play() for mbit in (1.0, 50.0))
    done = [int(loop.plan.tcp.each["done"].sum()) for loop in (slow, quick)]
    assert 0 < done[0] < 0.7 * done[1]
    assert (slow.plan.tcp.job_bytes == quick.plan.tcp.job_bytes).all()


@pytest.mark.parametrize("moved", [[0], [1], [0, 1]])
def test_a_broken_connection_begins_anew_with_what_is_left(moved: list[int]) -> None:
    """One direction behind another NAT is enough."""

    def move(loop: Loop, now_ns: int) -> None:
        if now_ns == 4_990_000_000:
            loop.flows.following[moved], loop.flows.due_ns[moved] = 1, 5_000_000_000

    other = AltPath(name="b", capacity=20e6, same_address=False)
    one = scenario_of(source("tcp_files", size_bytes=8_000_000, pause_s=0, direction="up"), seconds=20, paths=(other,))
    whole, broken = Loop(one).play(), Loop(one).play(move)
    assert whole.plan.tcp.each[0].begun == whole.plan.tcp.each[0].done + 1
    sent = broken.sent
    own = (sent.flow == 0) | (sent.flow == 1)
    times = sent.packets.time_ns[own & (sent.place >= 0)]
    quiet = times[times < 5_100_000_000].max(), times[times > 5_100_000_000].min()
    assert 1_000_000_000 <= quiet[1] - quiet[0] <= 1_100_000_000
    assert (sent.packets.marks[sent.flow == 0] == SYN_MARKS).sum() == 2
    lost = own & (sent.place < 0)
    assert lost.any()
    assert np.isnan(sent.delay_ms[lost]).all()
    data = (sent.flow == 0) & (sent.packets.size > SYN_BYTES) & ~np.isnan(sent.delay_ms)
    payload = int(sent.packets.size[data].sum() - HEADERS * data.sum())
    assert 8_000_000 <= payload < 8_400_000
    assert broken.plan.tcp.each[0].done >= 1
    assert set(sent.place[own & (sent.packets.time_ns > 6_000_000_000)].tolist()) <= {0, -1}


@pytest.mark.parametrize("way", ["up", "down"])
def test_what_gives_way_on_a_link_of_two_classes_still_gets_what_is_left(way: Way) -> None:
    """Its packets leave when nothing else waits, and it is told of them when they do: the link stays full."""

    def mark_one(loop: Loop, _: int) -> None:
        loop.flows.place[: 2 * int(loop.plan.tcp.each[0].jobs)] = 1

    files = source("tcp_files", size_bytes=1_000_000, pause_s=2, direction=way)
    one = scenario_of(source(rtt_ms=38, direction=way), files, queues=2)
    both, marked = Loop(one).play(), Loop(one).play(mark_one)
    used = marked.delivered(list(range(len(marked.arrivals.down)))) * 8 / 60
    assert used > 0.9 * 8e6
    done = [int(loop.plan.tcp.each[1].done) for loop in (both, marked)]
    assert done[1] > 1.05 * done[0]


def test_one_alone_fills_the_lower_class() -> None:
    """Nothing else comes that would wake those who wait."""

    def mark_all(loop: Loop, _: int) -> None:
        loop.flows.place[:] = 1

    one = scenario_of(source(rtt_ms=38), queues=2)
    plain, marked = Loop(one).play(), Loop(one).play(mark_all)
    assert marked.delivered([1]) == pytest.approx(plain.delivered([1]), rel=0.02)


def test_a_transfer_goes_on_when_it_is_moved() -> None:
    def move(loop: Loop, now_ns: int) -> None:
        if now_ns == 10_000_000_000:
            loop.flows.place[:] = 1

    one = scenario_of(source(rtt_ms=18), seconds=30, paths=(AltPath(name="b", capacity=20e6, delay_ms=30),))
    sent = Loop(one).play(move).sent
    late = (sent.packets.time_ns > 20_000_000_000) & (sent.flow == 1)
    assert set(sent.place[late].tolist()) == {1}
    assert sent.packets.size[late & ~np.isnan(sent.delay_ms)].sum() * 8 / 10 > 0.85 * 20e6


def test_the_same_seed_is_the_same_and_another_is_not() -> None:
    one = scenario_of(source("tcp_pages", count=3), source("video"), seconds=10, loss=0.01)
    first, again, other = (Loop(one, seed).play().sent for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.packets.time_ns, again.packets.time_ns)
    np.testing.assert_array_equal(first.delay_ms, again.delay_ms)
    assert len(first.flow) != len(other.flow)


CHECKED = """
import hashlib
import numpy as np
from offramp.stream.arena.senders.events import BURST
from offramp.stream.arena.senders.tcp_state import LOST, SACKED, SENDING
from tests.support.closed_loops import Loop, mixed

def watch(loop, _):
    for who, s in enumerate(loop.plan.tcp.each):
        board = loop.plan.tcp.board[who][np.arange(s.una, s.nxt) % BURST]
        assert s.state != SENDING or s.lost == (board == LOST).sum(), "lost"
        assert s.state != SENDING or s.sacked == (board == SACKED).sum(), "sacked"
        assert 0 <= s.una <= s.nxt <= s.una + BURST and s.una <= s.total
        assert s.cwnd >= 1 or s.begun == 0
        assert s.next - s.una <= BURST and s.beyond == loop.plan.tcp.got[who].sum()

loop = Loop(mixed()).play(watch)
sent = loop.sent
whole = b"".join(np.ascontiguousarray(each).tobytes() for each in (*sent.packets, sent.flow, sent.place, sent.delay_ms))
print(len(sent.flow), hashlib.sha256(whole).hexdigest())
"""


def test_interpreted_it_is_the_same_and_its_counts_hold() -> None:
    """The slow reference: the same code without a compiler, its window gone over after each bin."""
    found = [
        subprocess.run(
            [sys.executable, "-c", CHECKED], capture_output=True, text=True, check=True, cwd=ROOT,
            env=os.environ | {"NUMBA_DISABLE_JIT": off},
        ).stdout
        for off in ("1", "0")
    ]  # fmt: skip
    assert found[0] == found[1]
    assert int(found[0].split()[0]) > 5_000
