"""Flows that are moved behind another NAT break and begin anew; packets beyond a path's MTU go in pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from offramp.decision.site import AltPath
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_backend
from offramp.stream.arena.episode import Model, Outcome, play
from offramp.stream.arena.executor import Counts, Executor
from offramp.stream.arena.network.flows import NEVER, TURN, Flows, foresee, new_flows, serve
from offramp.stream.arena.network.queues import ADDRESS, FRAME, Queues, new_journeys, new_queues, plain_traits
from offramp.stream.arena.scenario import Scenario, load_scenario
from offramp.stream.arena.traffic import PORTS, Arrivals, arrivals_of, partners
from offramp.stream.bins.packets import IPV4_MAPPED, TCP, UDP, Packets
from tests.support.places import ROOT
from tests.support.tapped import tapped

END = 1 << 62
STEP_NS = 10_000_000
AFTER_NS = 5 * STEP_NS
NONE = np.full(3, NEVER)


def network(mtu: int = 1_500) -> Queues:
    """Return a link and a path behind another NAT."""
    traits = plain_traits(2)
    traits[1, ADDRESS], traits[1, FRAME] = 1, mtu + 14
    return new_queues(np.full((2, 2), 1e9), np.full((2, 2), 1e6), np.zeros((2, 2)), None, traits)


def sent(flows: Flows, count: int, queues: Queues | None = None, size: int = 100) -> tuple[NDArray[np.int64], Flows]:
    """Send a packet of each flow every 10 ms; return where they went, [count, flows], or NEVER."""
    number = len(flows.place)
    times = np.repeat(np.arange(count) * STEP_NS, number)
    journeys, sizes = new_journeys(len(times)), np.full(len(times), size)
    flow = np.tile(np.arange(number), count)
    serve(queues or network(), flows, journeys, times, sizes, flow, 0, END, np.zeros((2, 2)), 1.0)
    assert (np.isnan(journeys.delay_ms) == (journeys.place == NEVER)).all()
    return journeys.place.reshape(count, number), flows


def flows_of(protocol: int, partner: NDArray[np.int64] = NONE) -> Flows:
    """Return three flows, the first of which goes to the path from the fourth packet on."""
    flows = new_flows(np.zeros(3, np.bool_), np.zeros(3, np.int64), partner, np.full(3, protocol), AFTER_NS)
    flows.due_ns[0], flows.following[0] = 3 * STEP_NS - 1, 1
    return flows


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_moved_flow_is_lost_until_it_begins_anew_where_flows_begin(protocol: int) -> None:
    place, flows = sent(flows_of(protocol, np.array([1, 0, NEVER])), 12)
    broken = [0] * 3 + [NEVER] * 5 + [0] * 4
    assert place[:, 0].tolist() == broken
    assert place[:, 1].tolist() == broken, "the other direction of its connection is cut off too"
    assert place[:, 2].tolist() == [0] * 12
    assert flows.connection[:, TURN].tolist() == [1, 1, 0]
    assert flows.due_ns[0] == NEVER


def test_what_is_no_connection_does_not_break() -> None:
    assert sent(flows_of(1), 6)[0][:, 0].tolist() == [0, 0, 0, 1, 1, 1]


def test_a_flow_that_begins_there_does_not_break_but_on_its_return() -> None:
    flows = flows_of(TCP)
    flows.due_ns[0] = 0
    assert sent(flows, 4)[0][:, 0].tolist() == [1] * 4
    flows.due_ns[0], flows.following[0] = 0, 0
    assert sent(flows, 8)[0][:, 0].tolist() == [NEVER] * 5 + [0] * 3


def arrivals(ports: list[tuple[int, int]]) -> Arrivals:
    """Return silent flows: pairs of ports up, the same pairs turned down."""
    inside, outside = IPV4_MAPPED | 0x0A000001, IPV4_MAPPED | 0xC0000201
    up = [[0, inside, 0, outside, TCP, near << 16 | far] for near, far in ports]
    down = [[0, outside, 0, inside, TCP, far << 16 | near] for near, far in ports]
    empty = Packets._make(np.empty(0, np.int64) for _ in Packets._fields)
    count = len(ports)
    return Arrivals(
        empty, np.empty(0, np.int64), np.repeat([False, True], count), np.array(up + down), 1.0,
        np.zeros(2 * count, np.int64), np.zeros(2 * count, np.int64), ("made",),
    )  # fmt: skip


def test_a_sender_comes_from_a_port_that_no_flow_of_the_same_ends_has() -> None:
    own = arrivals([(50_000, 443), (50_001, 443), (65_535, 443), (80, 80)])
    assert partners(own).tolist() == [4, 5, 6, 7, 0, 1, 2, 3]
    flows = new_flows(own.down, np.zeros(8, np.int64), partners(own), own.key[:, 4], AFTER_NS)
    executor = Executor(own, flows, 0, {"lte": 1}, NEVER, 0, 0.0, np.random.default_rng(1), Counts())
    for broken in ([0, 4], [2, 6], [3, 7]):
        executor.begin_anew(np.array(broken), 0)
    near = [(int(each) >> 16, int(each) & 0xFFFF) for each in own.key[:, PORTS]]
    assert near[:4] == [(50_002, 443), (50_001, 443), (49_152, 443), (80, 81)]
    assert near[4:] == [(far, near) for near, far in near[:4]]
    assert executor.counts.broken == 3


def natted(name: str, **path: object) -> Scenario:
    one = load_scenario(ROOT / f"samples/arena/{name}.toml")
    link = one.site.links[0]
    paths = tuple(each.model_copy(update=path) for each in link.paths)
    site = one.site.model_copy(update={"links": (link.model_copy(update={"paths": paths}),)})
    return one.model_copy(update={"site": site})


def held_matches(found: Outcome) -> list[tuple[object, ...]]:
    onsets = [command for command in found.commands if command.phase == "onset"]
    return [tuple(match.values()) for command in onsets for match in command.action["flows"]]


def test_connections_break_and_come_back_as_others() -> None:
    one, whole = natted("onoff", same_address=False), play(natted("onoff"), 1, "threshold")
    found, again = play(one, 1, "threshold"), play(one, 1, "threshold")
    np.testing.assert_array_equal(found.delay_ms, again.delay_ms)
    assert found.counts == again.counts
    assert whole.counts.broken == 0 < found.counts.broken
    assert (whole.place != NEVER).all()
    unsent = found.place == NEVER
    assert 0 < unsent.mean() < 0.5
    assert np.isnan(found.delay_ms[unsent]).all()
    matches = held_matches(found)
    known = {tuple(arrivals_of(one, 1, Path(), None).flow_rate(which, 0).match().values()) for which in range(8)}
    assert len(set(matches)) == len(matches), "what comes back has never been moved"
    assert set(matches) - known
    flow = arrivals_of(one, 1, Path(), None).flow
    for which in np.unique(flow[unsent]):
        times = found.time_ns[(flow == which) & unsent]
        gaps = np.flatnonzero(np.diff(times) > 1e9)
        first, last = np.insert(times[gaps + 1], 0, times[0]), np.append(times[gaps], times[-1])
        assert (last - first < one.network.reconnect_ms * 1e6 * (1 + found.counts.broken)).all()


def test_a_longer_wait_costs_more() -> None:
    quick, slow = (
        natted("onoff", same_address=False).model_copy(
            update={"network": natted("onoff").network.model_copy(update={"reconnect_ms": wait})}
        )
        for wait in (50.0, 5_000.0)
    )
    assert (play(quick, 1, "threshold").place == NEVER).sum() < (play(slow, 1, "threshold").place == NEVER).sum() / 4


def test_the_bound_breaks_nothing_and_may_place_what_begins() -> None:
    found = play(natted("onoff", same_address=False), 1, "clairvoyant")
    assert found.counts.broken == 0
    assert (found.place != NEVER).all()
    web = play(natted("web", same_address=False), 1, "clairvoyant")
    assert web.counts.broken == 0
    assert set(web.place.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("protocol", "size", "mtu", "sent_bytes"),
    [
        (UDP, 1_514, 1_500, 1_514),
        (UDP, 1_514, 1_400, 1_514 + 34),  # 1,480 bytes behind the header: 1,376 and 104
        (UDP, 1_514, 766, 1_514 + 34),  # 744 each
        (UDP, 1_514, 765, 1_514 + 34),  # 744, as 745 is no multiple of 8
        (UDP, 1_514, 759, 1_514 + 2 * 34),  # 736 each: three
        (TCP, 1_514, 1_400, 1_514 + 54),
        (TCP, 1_514, 770, 1_514 + 54),  # 1,460 bytes of payload: 730 each
        (TCP, 1_514, 769, 1_514 + 2 * 54),
        (1, 614, 600, 614),
    ],
)
def test_a_packet_beyond_the_mtu_goes_in_pieces(protocol: int, size: int, mtu: int, sent_bytes: int) -> None:
    queues = network(mtu)
    flows = new_flows(np.zeros(1, np.bool_), np.ones(1, np.int64), NONE[:1], np.array([protocol]), AFTER_NS)
    one, sizes, zero = np.zeros(1, np.int64), np.array([size]), np.zeros(1, np.int64)
    copy, journeys = queues._replace(work=queues.work.copy(), hint=queues.hint.copy()), new_journeys(1)
    total = foresee(copy, flows, one, sizes, zero, 0, END, 0.0, NEVER, 0, 0)
    serve(queues, flows, journeys, one, sizes, zero, 0, END, np.zeros((2, 2)), 1.0)
    assert journeys.delay_ms[0] == pytest.approx(sent_bytes * 8e3 / 1e9)
    assert total == pytest.approx(journeys.delay_ms[0])


def test_a_small_mtu_makes_a_path_slower() -> None:
    wide, narrow = (play(natted("web", mtu=mtu), 1, "static") for mtu in (1_500, 576))
    there = wide.place == 1
    assert (narrow.place == wide.place).all()
    assert np.nanmean(narrow.delay_ms[there]) > np.nanmean(wide.delay_ms[there])
    np.testing.assert_array_equal(narrow.delay_ms[~there], wide.delay_ms[~there])
    assert AltPath(name="lte", capacity=1e6).mtu == 1_500


@pytest.mark.parametrize("tap", ["before", "after"])
def test_the_product_sees_the_ports_that_senders_come_back_from(tap: str) -> None:
    artifact = load_artifact(DEFAULT_ARTIFACT)
    model = Model(artifact, open_backend("compiled", artifact))
    one = natted("onoff", same_address=False)
    one = tapped(one, tap)
    found = [play(one, seed, "shipped", model=model) for seed in (1, 2)]
    assert all(each.counts.broken > 0 for each in found)
    known = {
        tuple(arrivals_of(one, seed, Path(), None).flow_rate(which, 0).match().values())
        for seed in (1, 2)
        for which in range(len(arrivals_of(one, seed, Path(), None).key))
    }
    assert {each for played in found for each in held_matches(played)} - known, "moved again, under another port"
