"""Whatever the site, network and traffic: an episode ends, is the same again, and no packet is quicker than light."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import InputError
from offramp.stream.arena.episode import play
from offramp.stream.arena.network.flows import NEVER
from offramp.stream.arena.places import capacities_of, enforcing
from offramp.stream.arena.scenario import Scenario
from offramp.stream.arena.traffic import arrivals_of

RATE = st.sampled_from([1e4, 3e5, 1e6, 8e6, 1e9])
PATH = st.fixed_dictionaries(
    {"capacity": RATE, "delay_ms": st.sampled_from([0.0, 4.0, 300.0])},
    optional={"mtu": st.integers(576, 9_000), "same_address": st.booleans()},
)
SHARED = st.fixed_dictionaries(
    dict.fromkeys(("lte", "dsl", "sat"), PATH) | {"edge": st.fixed_dictionaries({"capacity": RATE})}
)
TAKEN = st.lists(st.sampled_from(["lte", "dsl", "sat", "edge"]), unique=True)
LINK = st.fixed_dictionaries(
    {"capacity": RATE, "taken": TAKEN},
    optional={"capacity_down": RATE, "buffer_bytes": st.integers(1_500, 200_000), "queues": st.integers(1, 2)},
)
OUTAGE = st.fixed_dictionaries(
    {"from_s": st.floats(0, 2), "seconds": st.floats(0.01, 2)},
    optional={"most_s": st.floats(2, 4), "every_s": st.floats(4.01, 5)},
)
NETWORK = st.fixed_dictionaries(
    {},
    optional={
        "delay_ms": st.sampled_from([0.0, 1.0]),
        "path_buffer_ms": st.sampled_from([0.1, 100.0]),
        "command_ms": st.sampled_from([0.0, 15.0, 900.0]),
        "command_loss": st.sampled_from([0.0, 0.5, 1.0]),
        "reconnect_ms": st.sampled_from([10.0, 1_000.0]),
    },
)
MODEL = st.sampled_from(["sensors", "web", "onoff", "overload", "jobs"])
TRAFFIC = st.lists(
    st.fixed_dictionaries({"model": MODEL, "count": st.integers(1, 4), "share": st.sampled_from([0.1, 0.7, 1.5])}),
    min_size=1, max_size=3,
)  # fmt: skip
POLICIES = ("none", "static", "threshold", "priority", "optimiser-reactive", "clairvoyant")


def scenario(draw: st.DataObject) -> Scenario:
    """Return a scenario of one to three links, what they share among them."""
    shared: dict[str, dict[str, Any]] = draw.draw(SHARED)
    links: list[dict[str, Any]] = draw.draw(st.lists(LINK, min_size=1, max_size=3))
    tables: list[dict[str, Any]] = []
    for number, link in enumerate(links):
        taken = link.pop("taken")
        others = [{"name": name, **shared[name]} for name in taken]
        tables.append({
            "name": f"link-{number}", "devices": [f"10.{number}.0.0/24"], **link,
            "paths": [each for each in others if each["name"] != "edge"],
            "nodes": [each for each in others if each["name"] == "edge"],
        })  # fmt: skip
    names = [table["name"] for table in tables]
    places = names + sorted({each["name"] for table in tables for each in (*table["paths"], *table["nodes"])})
    outages = [{"place": draw.draw(st.sampled_from(places)), **draw.draw(OUTAGE)} for _ in range(2)]
    traffic = [{"link": draw.draw(st.sampled_from(names)), **each} for each in draw.draw(TRAFFIC)]
    return Scenario.model_validate({
        "name": "any", "seconds": 3.0, "site": {"links": tables, "limits": {"moves": 20}},
        "network": {**draw.draw(NETWORK), "outages": outages[: draw.draw(st.integers(0, 2))]}, "traffic": traffic,
    })  # fmt: skip


@given(st.data(), st.sampled_from(POLICIES))
@settings(max_examples=40, deadline=None)
def test_any_scenario_plays(draw: st.DataObject, policy: str) -> None:
    one = scenario(draw)
    try:
        found, again = play(one, 1, policy), play(one, 1, policy)
    except InputError as error:
        assert "no packet in 3 s of seed 1" in str(error)  # noqa: PT017 - few of what is drawn have none
        return
    np.testing.assert_array_equal(found.delay_ms, again.delay_ms)
    np.testing.assert_array_equal(found.place, again.place)
    assert found.counts == again.counts
    assert [each.to_json() for each in found.commands] == [each.to_json() for each in again.commands]
    arrivals = arrivals_of(one, 1, Path(), None)
    capacity = capacities_of(enforcing(one, policy if policy != "clairvoyant" else "none", arrivals.scale))
    side = arrivals.down[arrivals.flow].astype(int)
    sent = ~np.isnan(found.delay_ms)
    least = found.size[sent] * 8e3 / capacity[found.place[sent], side[sent]]
    assert (found.delay_ms[sent] >= least - 1e-6).all()
    assert (found.place[sent] != NEVER).all()
    assert ((found.place >= NEVER) & (found.place < len(capacity))).all()
    assert (found.counts.broken > 0) == bool((found.place == NEVER).any())
    counts = found.counts
    assert counts.returned <= counts.moved
    for place, number in np.ndindex(capacity.shape):
        mine = sent & (found.place == place) & (side == number)
        if mine.any():  # no more than its capacity has left the place by the time that the last packet did
            left_ns = found.time_ns[mine] + found.delay_ms[mine] * 1e6
            bits = float(found.size[mine].sum()) * 8
            assert bits <= capacity[place, number] * (left_ns.max() - found.time_ns[mine].min()) / 1e9 + 1e-3
