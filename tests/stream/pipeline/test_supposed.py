"""The network as it would be if the moves told were carried out, beside the queue of the packets that are then left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.site import Site
from offramp.stream.bins.packets import UDP, Packets
from offramp.stream.channels import Counter
from offramp.stream.datasets.synthetic import Flow, mark, merged
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.pipeline.timeline import LinkTimeline
from offramp.stream.windows.windows import Windowed
from tests.support.fake_predictor import FakePredictor
from tests.support.pipelines import learned

BEGIN_NS, CAPACITY = 1_700_000_000_000_000_000, 8e6
UDP_MARK = mark(Counter.UDP)


def site(mode: str = "dry_run", **link: Any) -> Site:
    paths = [{"name": "b", "capacity": "20 Mbit/s", "delay_ms": 5}]
    return Site.model_validate({
        "mode": mode,
        "links": [{"name": "a", "capacity": CAPACITY, "buffer_bytes": 100_000, "devices": ["10.0.0.0/24"],
                   "paths": paths, **link}],
        "policy": {"name": "threshold", "threshold": {"hold_s": 1, "exit_s": 5}}, "limits": {"moves": 50},
    })  # fmt: skip


def packets(load: float, flows: int = 6, seconds: float = 20.0, seed: int = 1, *, paced: bool = False) -> Packets:
    """As many datagrams of 1,200 bytes a flow as come to a load; each flow of a device of its own.

    At random times, or paced as evenly as may be.
    """
    rng, out = np.random.default_rng(seed), []
    for number in range(flows):
        count = int(CAPACITY * load / flows * seconds / 8 / 1_200)
        times = np.sort(rng.uniform(0, seconds, count))
        if paced:
            times = (np.arange(count) + rng.random()) * seconds / count
        out.append(Flow(times, np.full(count, 1_200.0), False, 10 + number, UDP, 6_000 + number, UDP_MARK))
    return merged(out)


def run(of: Site, seen: Packets) -> tuple[list[LinkTimeline], list[Command]]:
    lines, commands = list[LinkTimeline](), list[Command]()
    pipeline = Pipeline(of, "a", FakePredictor(), learned(), sink=lines.append)
    for begin in range(0, len(seen.time_ns), 500):
        part = Packets._make(column[begin : begin + 500] for column in seen)
        for rows in pipeline.windows.rows_of(pipeline.windows.bins.update(part)):
            commands += pipeline.decide(Windowed([rows]))
    return lines, commands


def column(lines: list[LinkTimeline], name: str) -> NDArray[np.float64]:
    return np.concatenate([getattr(line.context, name) for line in lines]).astype(np.float64)


def test_where_nothing_is_moved_it_is_what_is_seen_to_the_bit() -> None:
    calm = site().model_copy(update={"policy": site().policy.model_copy(update={"name": "none"})})
    lines, commands = run(calm, packets(1.1))
    assert commands == []
    for line in lines:
        assert line.context is not None
        np.testing.assert_array_equal(line.context.supposed_ms, line.bin_end_ms)
        np.testing.assert_array_equal(line.context.supposed_up, line.load_up)
        assert not line.context.supposed_path_ms.any()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_dry_run_tells_the_queue_of_the_packets_that_would_be_left(seed: int) -> None:
    """The virtual queue of the packets without those of flows from when they are moved on, which is exact."""
    seen = packets(1.25, seed=seed)
    lines, commands = run(site(), seen)
    away = np.zeros(len(seen.time_ns), bool)
    for command in commands:
        if command.phase == "onset":
            ports = [int(match["udp_src"]) for match in command.action["flows"]]
            away |= np.isin(seen.ports >> 16, ports) & (seen.time_ns >= command.not_before_ns)
    ended = min((each.not_before_ns for each in commands if each.phase == "abated"), default=1 << 62)
    left, _ = run(site().model_copy(update={"policy": site().policy.model_copy(update={"name": "none"})}),
                  Packets._make(each[~away] for each in seen))  # fmt: skip
    truth = {int(at): float(ms) for line in left for at, ms in zip(line.time_ns, line.bin_end_ms, strict=True)}
    ends = np.concatenate([line.time_ns for line in lines])
    supposed = column(lines, "supposed_ms")
    as_is = np.concatenate([line.bin_end_ms for line in lines]).astype(np.float64)
    both = [
        (supposed[at], truth[int(end)], as_is[at]) for at, end in enumerate(ends) if int(end) in truth and end < ended
    ]
    mine, true, now = (np.array(each) for each in zip(*both, strict=True))
    assert len(mine) > 500
    assert now[-200:].mean() > 50, "the link as it is stays congested"
    assert np.abs(mine - true).mean() < 0.1 * np.abs(now - true).mean()
    assert (column(lines, "supposed_path_ms") < 1).all(), "the path has room"
    loads = column(lines, "supposed_up")
    assert loads[-500:].mean() < 0.95 < np.concatenate([line.load_up for line in lines])[-500:].mean()


def test_moves_in_a_dry_run_come_to_an_end_and_stay() -> None:
    """A threshold on the queue as it is opened a move every 0.3 s for as long as the overload lasted."""
    _, commands = run(site(), packets(1.25, seconds=55, paced=True))
    onsets = [command for command in commands if command.phase == "onset"]
    assert 0 < len({command.not_before_ns for command in onsets}) <= 2, "each opens one move a flow, together"
    assert max(command.not_before_ns for command in onsets) < BEGIN_NS + 2 * 10**9
    assert sum(command.phase == "abated" for command in commands) <= 1, "what still fits is given back"


def test_behind_the_point_of_steering_what_is_seen_is_how_it_is() -> None:
    lines, commands = run(site("enforce", tap="after"), packets(1.25))
    assert commands
    for line in lines:
        assert line.context is not None
        np.testing.assert_array_equal(line.context.supposed_ms, line.bin_end_ms)


def test_a_state_goes_on_with_the_same_supposed_network() -> None:
    seen, half = packets(1.25), 4_000
    whole, commands = run(site(), seen)
    first, lines = Pipeline(site(), "a", FakePredictor(), learned(), sink=(told := list[LinkTimeline]()).append), told
    out = list[Command]()

    def take(pipeline: Pipeline, begin: int, end: int) -> None:
        for at in range(begin, end, 500):
            part = Packets._make(each[at : min(at + 500, end)] for each in seen)
            for rows in pipeline.windows.rows_of(pipeline.windows.bins.update(part)):
                out.extend(pipeline.decide(Windowed([rows])))

    take(first, 0, half)
    second = Pipeline(site(), "a", FakePredictor(), learned(), sink=told.append)
    second.restore(first.state())
    take(second, half, len(seen.time_ns))
    assert [each.to_json() for each in out] == [each.to_json() for each in commands]
    np.testing.assert_array_equal(column(lines, "supposed_ms"), column(whole, "supposed_ms"))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_dry_run_of_the_optimiser_answers_a_constant_overload_once(seed: int) -> None:
    """125 % for 55 s, random packets: at most two onsets, as told within the budget, and nothing ends."""
    of = site()
    chosen = of.model_copy(update={"policy": of.policy.model_copy(update={"name": "optimiser-reactive"})})
    lines, commands = run(chosen, packets(1.25, flows=10, seconds=55.0, seed=seed))
    assert 1 <= sum(each.phase == "onset" for each in commands) <= 2
    assert not any(each.phase == "abated" for each in commands)
    supposed = column(lines, "supposed_ms")
    assert (supposed[100:] > 25).mean() < 0.03
    assert np.concatenate([line.bin_end_ms for line in lines])[-500:].mean() > 50, "the link as it is stays congested"
