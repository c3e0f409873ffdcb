"""The clock of a link without packets is told for as long as its agent lives: with every bin where others may wait."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from offramp.decision.site import Site
from offramp.stream.agent.live import ALIVE_NS, SILENCE_NS, LiveAgent
from offramp.stream.channels import BIN_NS
from tests.support.feature_batches import make_batch

BASE = 1_700_000_000_000_000_000
MINUTE = 60_000_000_000
SHARED = {"name": "lte", "capacity": 1e6}


def agent_of(*here: str, shared: bool = True) -> tuple[LiveAgent, dict[str, list[int]]]:
    """An agent of a site of links a and b, that watches some of them, and the clocks that it tells."""
    links = [{"name": name, "capacity": 1e6, "paths": [SHARED] if shared else []} for name in "ab"]
    site, told = Site.model_validate({"links": links}), dict[str, list[int]]()
    source = SimpleNamespace(links=SimpleNamespace(dissectors=dict.fromkeys(here), site=site))

    def clock(link: str, now_ns: int) -> None:
        told.setdefault(link, []).append(now_ns)

    publisher: Any = SimpleNamespace(publish=lambda *_: None, clock=clock)
    sources: Any = [source]
    return LiveAgent(sources, publisher), told


def pass_time(agent: LiveAgent, link: str, begin_ns: int, end_ns: int) -> None:
    for now_ns in range(begin_ns, end_ns, BIN_NS):
        agent._publish(link, now_ns)


def test_a_silent_link_is_told_of_for_as_long_as_the_agent_lives() -> None:
    agent, told = agent_of("a", "b", shared=False)
    agent._publish("a", make_batch(1, frame__time_epoch=[BASE]))
    pass_time(agent, "a", BASE + BIN_NS, BASE + MINUTE)
    steps = {later - at for at, later in zip(told["a"], told["a"][1:], strict=False)}
    assert steps == {BIN_NS, ALIVE_NS}, "with every bin while bins may be open, then to tell that it lives"
    assert told["a"][-1] > BASE + MINUTE - ALIVE_NS
    late = [at for at in told["a"] if at > BASE + SILENCE_NS]
    assert len(late) == pytest.approx((MINUTE - SILENCE_NS) / ALIVE_NS, abs=2)


def test_a_link_that_never_had_a_packet_is_told_of_too() -> None:
    agent, told = agent_of("a", "b", shared=False)
    pass_time(agent, "b", BASE, BASE + MINUTE)
    assert len(told["b"]) == pytest.approx(MINUTE / ALIVE_NS, abs=2)


def test_while_another_link_of_the_bundle_is_awake_every_bin_is_told() -> None:
    agent, told = agent_of("a", "b")
    agent._publish("b", make_batch(1, frame__time_epoch=[BASE]))
    for second in range(10):
        at = BASE + MINUTE + second * 1_000_000_000
        agent._publish("a", make_batch(1, frame__time_epoch=[at]))
        pass_time(agent, "b", at, at + 1_000_000_000)
    assert [later - at for at, later in zip(told["b"], told["b"][1:], strict=False)] == [BIN_NS] * 999


def test_where_another_agent_has_the_other_link_every_bin_is_told() -> None:
    agent, told = agent_of("b")
    pass_time(agent, "b", BASE, BASE + 1_000_000_000)
    assert len(told["b"]) == 100
