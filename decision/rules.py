"""Settings of the policies beside the shipped one: tables [policy.NAME] of site.toml."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from offramp.decision.bounds import number
from offramp.decision.tables import Strict

Share = Annotated[float, number("some_share")]
Wait = Annotated[float, number("wait_s")]


class ThresholdRules(Strict):
    """A threshold on the present queue; what it was tuned to is in docs/arena.md."""

    queue_ms: Annotated[float, number("budget_ms")] = Field(
        8.0, description="queue of a direction from which flows are moved"
    )
    exit_share: Share = Field(0.5, description="share of queue_ms below which a direction is calm")
    enter_bins: Annotated[int, number("bins")] = Field(1, description="bins in a row above queue_ms before a move")
    hold_s: Wait = Field(0.3, description="time after moves before the next are opened or given back")
    exit_s: Wait = Field(0.5, description="calm before a flow is given back")
    target_load: Share = Field(0.7, description="share of the capacity that may stay on the link")
    return_load: Share = Field(0.7, description="share of the capacity up to which a flow is given back")
    room: Share = Field(0.9, description="share of another path's capacity that may be filled")
    drain: Annotated[float, number("share")] = Field(
        0.5, description="share of what would drain the queue above queue_ms within 100 ms that is moved besides"
    )


class Pace(NamedTuple):
    """How dear a move is, over how long delays are reckoned, how fast rates run, how often all queues are looked at.

    price_share: of the mean delay, beside price_ms: where all ways are long, what is won by to and fro is little.
    """

    price_ms: float
    price_share: float
    horizon_ms: float
    rate_s: float
    every_bins: int


PACES = {
    "fast": Pace(3.0, 0.0, 50.0, 0.05, 1),
    "even": Pace(3.0, 0.05, 200.0, 0.2, 2),
    "calm": Pace(10.0, 0.2, 200.0, 0.5, 2),
}
"""Chosen by the mean delay over ten kinds of traffic in the arena (docs/policy.md): the least; the least with at most
two onsets in a constant overload; the least with a flap a minute."""
SLOW_PRICE_MS, SLOW_RATE = 500.0, 0.25
"""Of slow commands: a command latency of so long doubles the price, and so much of it is added to the rates' time
constant, all of it to the horizon; tuned at 600 ms and 2 s (docs/policy.md)."""


class OptimiserRules(Strict):
    """What goes where, by the delay that it makes; what these were tuned by is in docs/policy.md."""

    pace: Literal["fast", "even", "calm"] = Field(
        "even", description="fast: least delay; even: as few moves as a threshold; calm: few moves, which stay"
    )
    command_ms: Annotated[float, number("delay_ms")] = Field(15.0, description="from a command to its effect")
    unit: Literal["auto", "flow", "source"] = Field(
        "auto",
        description="what is moved as one: a flow, or all flows of one device, direction and service, those to come "
        "too; auto: flows where command_ms is below 100",
    )
    price_ms: Annotated[float, number("price_ms")] | None = Field(
        None, description="what a move must save of the mean delay of its direction; none: the pace's"
    )
    price_share: Annotated[float, number("share")] | None = Field(
        None, description="share of that mean delay that it must save besides; none: the pace's"
    )
    horizon_ms: Annotated[float, number("horizon_ms")] | None = Field(
        None, description="over how long delays are reckoned; none: the pace's"
    )
    rate_s: Annotated[float, number("rate_s")] | None = Field(
        None, description="time constant of the running rates; none: the pace's"
    )
    every_bins: Annotated[int, number("bins")] | None = Field(
        None, description="bins from one look at all queues to the next; none: the pace's"
    )
    min_share: Annotated[float, number("share")] = Field(
        0.01, description="share of the capacity from which a flow or source is worth a move"
    )
    trust: Annotated[float, number("share")] = Field(
        0.3, description="share of the price by which a move is cheaper where High is foreseen for certain"
    )
    base_ms: Annotated[float, number("delay_ms")] = Field(1.0, description="delay of the link without load")

    @property
    def resolved(self) -> Pace:
        """The pace with what is set instead, made for the latency of commands."""
        own, wait_ms = PACES[self.pace], self.command_ms
        return Pace(
            own.price_ms * (1.0 + wait_ms / SLOW_PRICE_MS) if self.price_ms is None else self.price_ms,
            own.price_share if self.price_share is None else self.price_share,
            own.horizon_ms + wait_ms if self.horizon_ms is None else self.horizon_ms,
            own.rate_s + SLOW_RATE * wait_ms / 1e3 if self.rate_s is None else self.rate_s,
            own.every_bins if self.every_bins is None else self.every_bins,
        )


class PriorityRules(Strict):
    """Marks where a queue is long; what they were chosen by is in docs/arena.md."""

    queue_ms: Annotated[float, number("budget_ms")] = Field(
        2.0, description="queue of a direction from which its heavy flows are marked"
    )
    share: Share = Field(0.1, description="share of the capacity from which a flow is heavy")
    exit_share: Share = Field(0.5, description="share of queue_ms below which the link is calm")
    exit_s: Wait = Field(1.0, description="calm before marks are taken back")


class StaticRules(Strict):
    """A fixed split, as of equal-cost paths: no command, whatever comes."""

    share: Annotated[float, number("share")] = Field(
        0.3, description="share of the flows that take the first other path, by a hash of each"
    )
