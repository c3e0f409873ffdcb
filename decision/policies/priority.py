"""Marks alone: where a direction queues, its heavy flows give way to all others, on a link with a queue of two classes.

No flow leaves its link. It needs no model; on a link with one class a mark does nothing, and it gives no command.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.moves import Loop, Move
from offramp.decision.policies.open_moves import SECOND_NS, KeepsMoves, OpenMoves, is_count
from offramp.decision.reroute import LOWER_EFFORT, movable
from offramp.decision.site import Site
from offramp.decision.traffic import Quality, Traffic
from offramp.errors import ContractError
from offramp.inference.forecast import Forecast

LOOK_NS = 500_000_000
"""From one look for marked flows that are over to the next: they take up room in `moves`."""


class PriorityPolicy(KeepsMoves):
    """Marks heavy flows as lower effort while there is a queue; settings: [policy.priority]."""

    needs_forecast = False
    split = 0.0

    def __init__(self, site: Site, link: str, *, mode: Literal["dry_run", "enforce"] | None = None) -> None:
        self.site, self.link, self.rules = site, site.link(link), site.policy.priority
        mode = mode or site.mode
        text = (
            f"{mode}|{site.name}|{self.rules!r}|{site.policy.expiry_s!r}|{site.limits!r}|{self.link!r}|"
            f"{self.link.queues}"
        )
        self.scope = f"link:{link}"
        self.version = f"priority-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        self._moves = OpenMoves(site, link, self.version, mode)
        self._acts = self.link.queues > 1 and "mark" in site.limits.actions
        self._calm_since_ns = self._looked_ns = 0

    @property
    def open_scopes(self) -> frozenset[str]:
        """The link: every bin counts; none where it may not mark, or a mark does nothing."""
        return frozenset((self.scope,) if self._acts else ())

    def may_trigger(self, probabilities: NDArray[np.float32], quantiles_ms: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return bool [n], all alike: what it acts on is not among forecasts."""
        return np.full(len(probabilities), self._acts)

    def decide(self, forecast: Forecast, traffic: Traffic | Callable[[], Traffic], quality: Quality) -> list[Command]:
        """Return the commands of one bin, by its queue."""
        if forecast.scope != self.scope or not self._acts:
            return []
        look = traffic if callable(traffic) else lambda: traffic
        now_ns, queue_ms, rules = forecast.window_end_ns, forecast.bin_end_ms, self.rules
        rule = f"queue {queue_ms:.1f} ms, threshold {rules.queue_ms:g} ms"
        self._moves.expire(now_ns)
        if queue_ms >= rules.queue_ms * rules.exit_share:
            self._calm_since_ns = now_ns
        commands = self._moves.renew(forecast, quality, rule)
        if self._moves.loops and self._moves.trusts(quality):
            over: list[Loop] = []
            if now_ns - self._calm_since_ns >= rules.exit_s * SECOND_NS:
                over = list(self._moves.loops)
            elif now_ns >= self._looked_ns + LOOK_NS:
                self._looked_ns = now_ns
                over = self._over(look())
            commands += self._moves.clear(over, forecast, quality, rule)
        if queue_ms > rules.queue_ms:
            room = self.site.limits.moves - self._moves.moved[0]
            if room > 0:
                commands += self._moves.open(list(islice(self._marks(look()), room)), forecast, quality, rule)
        return commands

    def _marks(self, traffic: Traffic) -> Iterator[Move]:
        """Yield a mark for each heavy flow of the directions above the threshold, the heaviest first."""
        held = self._moves.held()
        for down, side in enumerate(traffic.directions):
            if side.queue_ms <= self.rules.queue_ms:
                continue
            flows = tuple(flow for flow in traffic.flows if flow.down == bool(down))
            own = Traffic(flows, traffic.devices, side.load_bps, side.capacity_bps)
            for flow in movable(self.link, self.site.limits, own, held):
                if flow.rate_bps >= self.rules.share * side.capacity_bps:
                    action = {"type": "mark", "dscp": LOWER_EFFORT, "flows": [flow.match()]}
                    yield Move(self.scope, action, flow.rate_bps)

    def _over(self, traffic: Traffic) -> list[Loop]:
        """Return the marks of flows of which nothing is seen any more."""
        seen = {tuple(flow.match().items()) for flow in traffic.flows if flow.rate_bps}
        return [
            loop
            for loop in self._moves.loops
            if seen.isdisjoint(tuple(match.items()) for match in loop.move.action.get("flows", ()))
        ]

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""
        return {
            "version": self.version,
            "loops": self._moves.state(),
            "times": [self._calm_since_ns, self._looked_ns],
            "expired": self._moves.expired,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned. Raises ContractError where this policy cannot have returned it."""
        times = state["times"]
        if len(times) != 2 or not all(is_count(each) for each in (*times, state["expired"])):
            raise ContractError("policy: counts or times that are none")
        self._moves.restore(state["loops"], state["expired"])
        self._calm_since_ns, self._looked_ns = times
