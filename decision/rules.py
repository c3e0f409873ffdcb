"""Settings of the policies beside the shipped one: tables [policy.NAME] of site.toml."""

from __future__ import annotations

from typing import Annotated

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
