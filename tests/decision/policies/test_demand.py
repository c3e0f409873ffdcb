"""Demands: exact rates out of running ones, units that are named by matches, a state that goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.decision.policies.demand import ANY, Demands, flow_key, key_of, match_of, source_key
from offramp.decision.traffic import Direction, FlowRate, Traffic
from offramp.errors import ContractError
from offramp.inference.forecast import BIN_NS

START_NS = 1_700_000_000_000_000_000
DECAY = 0.95
addresses = st.ip_addresses().map(str)


def flow(sport: int, rate_bps: float, *, down: bool = False) -> FlowRate:
    ends = ("192.0.2.1", "10.0.0.1") if down else ("10.0.0.1", "192.0.2.1")
    ports = (443, sport) if down else (sport, 443)
    return FlowRate(*ends, 6, *ports, rate_bps, down)


def seen(*flows: FlowRate) -> Traffic:
    return Traffic(flows, (), 0.0, 8e6, (Direction(8e6), Direction(8e6)), 0.0, DECAY)


@given(
    addresses, addresses, st.sampled_from([1, 6, 17, 47]), st.integers(0, 65535), st.integers(0, 65535), st.booleans()
)
def test_a_key_is_a_match_and_back(src: str, dst: str, proto: int, sport: int, dport: int, down: bool) -> None:
    if (":" in src) != (":" in dst):
        dst = src
    if proto not in (6, 17):
        sport = dport = 0
    one = FlowRate(src, dst, proto, sport, dport, 1.0, down)
    assert match_of(flow_key(one)) == one.match()
    assert key_of(match_of(flow_key(one))) == flow_key(one)
    source = match_of(source_key(one))
    assert source.items() <= one.match().items()
    assert key_of(source) == source_key(one) or proto not in (6, 17)
    assert ANY in source_key(one)


@pytest.mark.parametrize("gap", [1, 2, 5, 20])
def test_the_rate_of_what_is_steady_is_exact_from_the_first_looks_on(gap: int) -> None:
    """A link tells rates that run up slowly; what was sent between two looks is in their steps."""
    demands, running = Demands(0.2, sources=False), 0.0
    demands.look(seen(), START_NS)
    for look in range(1, 20):
        for _ in range(gap):
            running += (1 - DECAY) * (3e6 - running)
        found = demands.look(seen(flow(1, running)), START_NS + look * gap * BIN_NS)
        assert found[flow_key(flow(1, 0))].rate_bps == pytest.approx(3e6)


def test_a_source_has_the_sum_of_its_flows_and_outlives_them() -> None:
    demands = Demands(1.0, sources=True)
    demands.look(seen(), START_NS)
    running = np.zeros(2)
    for look in range(1, 100):
        running += (1 - DECAY) * (np.array([1e6, 2e6]) - running)
        now_ns = START_NS + look * BIN_NS
        found = demands.look(seen(flow(1, running[0]), flow(2, running[1]), flow(3, 5e5, down=True)), now_ns)
    up, down = source_key(flow(1, 0)), source_key(flow(3, 0, down=True))
    assert set(found) == {up, down}
    assert found[up].rate_bps == pytest.approx(3e6)
    found = demands.look(seen(flow(4, 1.0)), now_ns + 10 * BIN_NS)
    assert found[up].seen_ns == now_ns + 10 * BIN_NS
    assert 0.85 * 3e6 < found[up].rate_bps < 3e6
    assert demands.look(seen(), now_ns + 1_000_000_000_000) == {}


def test_it_goes_on_from_its_state_and_takes_no_other() -> None:
    one, other = Demands(0.2, sources=True), Demands(0.2, sources=True)
    one.look(seen(flow(1, 1e6), flow(2, 2e6, down=True)), START_NS)
    state = json.loads(json.dumps(one.state()))
    other.restore(state)
    later = seen(flow(1, 2e6), flow(5, 1e6)), START_NS + BIN_NS
    rates = [{key: (each.rate_bps, each.seen_ns) for key, each in which.look(*later).items()} for which in (one, other)]
    assert rates[0] == rates[1]
    assert len(rates[0]) == 2
    for broken in ({"units": [[1]]}, {"told": [[*flow_key(flow(1, 0)), -1.0]]}, {"looked_ns": 0.5}):
        with pytest.raises(ContractError):
            other.restore({**state, **broken})
