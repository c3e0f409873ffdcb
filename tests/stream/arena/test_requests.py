"""Requests with a deadline: the time they take, what refuses them, what they cost, told from frames of a recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from offramp.decision.site import Device, Node
from offramp.stream.arena.energy import sending_nj
from offramp.stream.arena.episode import play
from offramp.stream.arena.scenario import Scenario, TrafficSource, load_scenario
from tests.support.closed_loops import Loop, scenario_of
from tests.support.places import SHARED

TRACE = "traces/nokia-xr/480_offloading_real.txt"


def frames(**keys: object) -> TrafficSource:
    return TrafficSource.model_validate({"model": "xr_frames", "share": 0.05, **keys})


def test_a_request_takes_its_way_up_its_task_and_its_way_down() -> None:
    node = Node(name="edge", compute=1e9, energy_nj_per_bit=2.0, energy_nj_per_cycle=0.5)
    one = scenario_of(
        frames(answer_bytes=2_000, cycles_per_bit=100, computed_by="edge"), seconds=2, mbit=20, nodes=(node,)
    )
    loop = Loop(one).play()
    found, packets = loop.requests, loop.arrivals.packets
    assert len(found.made_ns) == pytest.approx(2 * 90, abs=3)
    first = np.searchsorted(packets.time_ns, found.made_ns)
    bits = np.add.reduceat(packets.size, first) * 8
    last = np.append(first[1:], len(packets.size))[: len(first)] - 1
    burst_ms = (packets.time_ns[last] - found.made_ns) / 1e6
    up_ms, task_ms, down_ms = bits / 20e3, bits * 100 / 1e9 * 1e3, (2_000 + 2 * 42) * 8 / 20e3
    wanted = up_ms + task_ms + down_ms + 2.0
    np.testing.assert_allclose(found.latency_ms[:-1], wanted[:-1], atol=burst_ms[:-1].max() + 1e-3)
    assert (found.in_time == (found.latency_ms <= 11)).all()
    nj = bits * 1.0 + bits * (2.0 + 100 * 0.5)
    np.testing.assert_allclose(found.energy_j[:-1], nj[:-1] / 1e9)
    assert not found.refused.any()
    assert set(found.kind.tolist()) == {0}


@pytest.mark.parametrize(("load", "queue", "refused"), [(0.0, 3, False), (0.85, 3, True), (0.0, 0, False)])
def test_a_node_that_is_full_refuses(load: float, queue: int, refused: bool) -> None:
    """Frames of 11.1 kbit in the mean, 100 cycles a bit, 90 a second are 0.1 Gcycles/s: a quarter of the node's."""
    node = Node(name="edge", compute=4e8, queue=queue, load=load)
    one = scenario_of(frames(cycles_per_bit=100, computed_by="edge", share=0.125), seconds=10, nodes=(node,))
    found = Loop(one).play().requests
    assert bool(found.refused.any()) == refused
    assert np.isnan(found.latency_ms[found.refused]).all()
    if refused:
        # of 0.06 Gcycles/s that others leave, against 0.1 that are asked for
        assert found.refused.mean() == pytest.approx(0.4, abs=0.1)
        waits = queue + 1  # those that wait, and the one that is computed
        assert np.nanmax(found.latency_ms) < (waits + 1) * 1.6 * 1e3 * 1e6 / 90 / 0.6e8 * 100
    assert not found.in_time[found.refused].any()


def test_a_device_computes_for_itself_and_sends_nothing() -> None:
    node = Node(name="phone", tier="device", compute=1e8, energy_nj_per_bit=0, energy_nj_per_cycle=3.0)
    one = scenario_of(
        frames(count=2, cycles_per_bit=100, computed_by="phone", answer_bytes=9), seconds=2, nodes=(node,)
    )
    loop = Loop(one).play()
    found = loop.requests
    assert len(loop.sent.flow) == 0
    bits = loop.tasks.each["bits"][: len(found.made_ns)]
    # each has a processor of its own: 4.4 kbit take 4.4 ms, and two on one would be at 80 % and queue
    np.testing.assert_allclose(found.latency_ms[:9], bits[:9] * 1e-3, atol=0.1)
    assert found.energy_j[0] == pytest.approx(bits[0] * 100 * 3.0 / 1e9)
    assert set(found.place.tolist()) == {1}


def test_requests_of_a_device_that_is_moved_go_to_that_node_and_come_back() -> None:
    nodes = (
        Node(name="phone", tier="device", compute=1e7),
        Node(name="edge", compute=1e9, capacity=50e6, delay_ms=2),
        Node(name="fog", tier="fog", compute=1e9, capacity=50e6, delay_ms=9),
    )

    def move(loop: Loop, now_ns: int) -> None:
        place = {1_000_000_000: 2, 2_000_000_000: 3, 3_000_000_000: 1}.get(now_ns)
        if place is not None:
            loop.flows.place[:] = place

    one = scenario_of(frames(cycles_per_bit=10, computed_by="phone", answer_bytes=100), seconds=4, nodes=nodes)
    loop = Loop(one).play(move)
    found = loop.requests
    second = found.made_ns // 1_000_000_000
    for number, (place, base_ms) in enumerate([(1, 0), (2, 4), (3, 18), (1, 0)]):
        own = (second == number) & (found.made_ns % 1_000_000_000 > 100_000_000)
        assert set(found.place[own].tolist()) == {place}
        assert base_ms < float(np.nanmedian(found.latency_ms[own])) < base_ms + 6
    assert {2, 3} <= set(loop.sent.place.tolist())
    # but for the answer to one that was on its way when the device was called back
    assert np.count_nonzero(loop.sent.place == 1) <= 1


def test_a_lost_packet_is_a_lost_request() -> None:
    found = Loop(scenario_of(frames(share=0.3), seconds=20, loss=0.05)).play().requests
    # three packets a frame
    assert np.isnan(found.latency_ms).mean() == pytest.approx(1 - 0.95**3, abs=0.06)
    assert not found.in_time[np.isnan(found.latency_ms)].any()


def test_what_sending_costs_is_what_the_narrowest_known_device_says() -> None:
    known = (Device(address="10.0.0.0/8", energy_nj_per_bit=7), Device(address="10.0.0.9", energy_nj_per_bit=3))
    assert [sending_nj(known, each) for each in ("10.0.0.9", "10.0.0.8", "192.0.2.1")] == [3, 7, 1]


def test_frames_of_a_recording_are_told_apart(tmp_path: Path) -> None:
    if not (SHARED / TRACE).is_file():
        pytest.skip(f"no ../shared/{TRACE}: a recording that is not beside this checkout")
    text = f"""
name = "a"
seconds = 20
[[site.links]]
name = "a"
capacity = "20 Mbit/s"
devices = ["10.0.0.0/24"]
[[traffic]]
model = "packet_times"
file = "$ROOT/{TRACE}"
deadline_ms = 11
class = "xr"
"""
    (tmp_path / "a.toml").write_text(text)
    one = load_scenario(tmp_path / "a.toml")
    found = play(one, 1, "none", root=SHARED).requests
    assert found is not None
    assert len(found.made_ns) == pytest.approx(60 * 20, abs=8)
    assert np.median(np.diff(found.made_ns)) == pytest.approx(1e9 / 60, rel=0.01)
    assert found.in_time.mean() > 0.9
    without = one.model_copy(update={"traffic": (one.traffic[0].model_copy(update={"deadline_ms": None}),)})
    assert play(without, 1, "none", root=SHARED).requests is None


def test_packets_without_requests_are_those_of_the_open_loop(tmp_path: Path) -> None:
    """A deadline alone changes no packet's way: the same delays, to the nanosecond."""
    lines = "\n".join(f"{at // 5 / 60 + at % 5 * 1e-5:.6f} 1200" for at in range(3_000))
    (tmp_path / "times.txt").write_text(lines)
    plain = TrafficSource(model="packet_times", file="times.txt")
    timed = plain.model_copy(update={"deadline_ms": 11.0})
    one, other = (
        play(Scenario(name="a", seconds=9, site=scenario_of(plain).site, traffic=(each,)), 1, "none", here=tmp_path)
        for each in (plain, timed)
    )
    np.testing.assert_array_equal(one.delay_ms, other.delay_ms)
    np.testing.assert_array_equal(one.time_ns, other.time_ns)
    assert other.requests is not None
    assert len(other.requests.made_ns) == pytest.approx(9 * 60, abs=2)


TIERS = """
name = "tiers"
seconds = 6
[[site.links]]
name = "a"
capacity = "20 Mbit/s"
devices = ["10.0.0.0/16"]
[[site.links.nodes]]
name = "phone"
tier = "device"
compute = 3e8
energy_nj_per_bit = 0
energy_nj_per_cycle = 2.0
[[site.links.nodes]]
name = "edge"
delay_ms = 1
compute = 1e9
energy_nj_per_bit = 3.0
energy_nj_per_cycle = 0.5
[[site.links.nodes]]
name = "fog"
tier = "fog"
delay_ms = 3
compute = 1e9
[[site.links.nodes]]
name = "cloud"
tier = "cloud"
delay_ms = 20
compute = 1e11
energy_nj_per_cycle = 0.1
[[site.links.known]]
address = "10.0.0.0/16"
energy_nj_per_bit = 20
[[traffic]]
model = "xr_frames"
count = 3
share = 0.4
cycles_per_bit = 5
computed_by = "cloud"
answer_bytes = 3000
[[traffic]]
model = "xr_frames"
share = 0.02
cycles_per_bit = 100
computed_by = "phone"
class = "local"
"""


@pytest.fixture
def tiers(tmp_path: Path) -> Scenario:
    (tmp_path / "tiers.toml").write_text(TIERS)
    return load_scenario(tmp_path / "tiers.toml")


@pytest.mark.parametrize("policy", ["none", "threshold", "clairvoyant"])
def test_what_requests_cost_is_what_the_episode_cost(tiers: Scenario, policy: str) -> None:
    """Told request by request it is the sum of all packets and tasks, but for those that the end cuts off."""
    found = play(tiers, 1, policy)
    assert found.requests is not None
    whole = found.requests.energy_j.sum() * 1e9
    assert 0.97 * found.energy_nj < whole <= found.energy_nj * (1 + 1e-9)


def test_a_policy_offloads_and_more_requests_are_in_time(tiers: Scenario) -> None:
    """120 % of the link is asked for, and the cloud behind it is 20 ms away for whom goes there; others are near."""
    none, moved = (play(tiers, 1, policy).requests for policy in ("none", "threshold"))
    assert none is not None
    assert moved is not None
    assert set(none.place[none.kind == 0].tolist()) <= {0, -1}
    assert set(moved.place[moved.kind == 0].tolist()) & {2, 3, 4}
    assert moved.in_time.mean() > 1.5 * none.in_time.mean()
    # nothing is moved to the devices, and what they compute stays there
    phone = 1
    for each in (none, moved):
        assert phone not in each.place[each.kind == 0]
        assert set(each.place[each.kind == 1].tolist()) == {phone}
        assert each.in_time[each.kind == 1].all()
