"""A threshold on the queue as it is now, each direction by itself: the rival that a forecast has to beat.

Above the threshold the heaviest flows of that direction go to the cheapest path with room, then devices to nodes, then
what is left is marked; in calm the lightest moved flow comes back if it fits. It needs no model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from offramp.decision.command import Command
from offramp.decision.costs import spread
from offramp.decision.moves import HeldMoves, Loop, Move
from offramp.decision.offload import offload
from offramp.decision.policies.open_moves import SECOND_NS, ActsEveryBin, OpenMoves, is_count
from offramp.decision.reroute import mark, movable
from offramp.decision.site import AltPath, Site
from offramp.decision.traffic import Direction, FlowRate, Quality, Traffic
from offramp.errors import ContractError
from offramp.inference.forecast import Forecast

DRAIN_S = 0.1
"""Within so long the queue above the threshold is to drain, where all of `drain` is asked for."""
LOOK_NS = 500_000_000
"""From one look for moved flows that are over to the next."""
RETURN_NS = 100_000_000
"""From one flow that is given back to the next: its effect is seen first."""


class ThresholdPolicy(ActsEveryBin):
    """Reacts to the queue of now; settings: [policy.threshold]."""

    needs_forecast = False
    split = 0.0

    def __init__(self, site: Site, link: str, *, mode: Literal["dry_run", "enforce"] | None = None) -> None:
        self.site, self.link, self.rules = site, site.link(link), site.policy.threshold
        mode = mode or site.mode
        text = f"{mode}|{site.name}|{self.rules!r}|{site.policy.expiry_s!r}|{site.limits!r}|{self.link!r}"
        self.scope = f"link:{link}"
        self.version = f"threshold-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        self._moves = OpenMoves(site, link, self.version, mode)
        self._above = 0
        self._calm_since_ns = self._quiet_until_ns = self._looked_ns = 0
        self._paths = tuple(
            path.model_copy(update={"capacity": path.capacity * self.rules.room}) for path in self.link.paths
        )

    def decide(self, forecast: Forecast, traffic: Traffic | Callable[[], Traffic], quality: Quality) -> list[Command]:
        """Return the commands of one bin, by its queue."""
        if forecast.scope != self.scope:
            return []
        look = traffic if callable(traffic) else lambda: traffic
        now_ns, queue_ms, rules = forecast.window_end_ns, forecast.bin_end_ms, self.rules
        rule = f"queue {queue_ms:.1f} ms, threshold {rules.queue_ms:g} ms"
        self._moves.expire(now_ns)
        self._above = self._above + 1 if queue_ms > rules.queue_ms else 0
        if queue_ms >= rules.queue_ms * rules.exit_share:
            self._calm_since_ns = now_ns
        commands = self._moves.renew(forecast, quality, rule)
        if self._moves.loops and now_ns >= self._looked_ns + LOOK_NS and self._moves.trusts(quality):
            self._looked_ns = now_ns
            over = self._over(look())
            commands += self._moves.clear(over, forecast, quality, rule)
        if now_ns < self._quiet_until_ns:
            return commands
        if self._above >= rules.enter_bins:
            moves = self._relief(look())
            if moves:
                self._quiet_until_ns = now_ns + int(rules.hold_s * SECOND_NS)
            return commands + self._moves.open(moves, forecast, quality, rule)
        calm = now_ns - self._calm_since_ns >= rules.exit_s * SECOND_NS
        if calm and self._moves.loops and self._moves.trusts(quality):
            back = self._fitting(look())
            if back is not None:
                self._quiet_until_ns = now_ns + RETURN_NS
                commands += self._moves.clear([back], forecast, quality, rule)
        return commands

    def _relief(self, traffic: Traffic) -> list[Move]:
        """Return the moves that bring the directions above the threshold below it, one of each flow."""
        held, limits, moves = self._held(traffic), self.site.limits, list[Move]()
        for down, side in enumerate(traffic.directions):
            need = self._excess(side)
            if need <= 0:
                continue
            own = Traffic(
                tuple(flow for flow in traffic.flows if flow.down == bool(down)), traffic.devices, side.load_bps,
                side.capacity_bps,
            )  # fmt: skip
            moves += self._of(own, need, held.plus(moves))
            left = need - sum(move.rate_bps for move in moves)
            if "offload" in limits.actions and left > 0:
                moves += offload(self.link, limits, own, left, held.plus(moves), {})
            if "mark" in limits.actions and not moves:
                moves += mark(self.link, limits, own, need, held)
        return moves

    def _held(self, traffic: Traffic) -> HeldMoves:
        """Return what the open moves hold, the room that they take by the rates of now."""
        used = dict(self._moves.elsewhere())
        for loop, flows in self._seen(traffic):
            used[loop.move.target] = used.get(loop.move.target, 0.0) + rate_of(loop, flows)
        return replace(self._moves.held(), used_bps=used)

    def _over(self, traffic: Traffic) -> list[Loop]:
        """Return the open moves of flows of which nothing is seen any more."""
        return [loop for loop, flows in self._seen(traffic) if "flows" in loop.move.action and not flows]

    def _seen(self, traffic: Traffic) -> list[tuple[Loop, list[FlowRate]]]:
        """Return the open moves, each with those of its flows that are seen now."""
        rates = {tuple(flow.match().items()): flow for flow in traffic.flows if flow.rate_bps}
        found = []
        for loop in self._moves.loops:
            keys = [tuple(match.items()) for match in loop.move.action.get("flows", ())]
            found.append((loop, [rates[key] for key in keys if key in rates]))
        return found

    def _of(self, own: Traffic, need: float, held: HeldMoves) -> Iterator[Move]:
        """Yield one move for each of the heaviest flows of a direction, to the cheapest path with room."""
        if "reroute" not in self.site.limits.actions:
            return
        wanted = movable(self.link, self.site.limits, own, held)
        room = self.site.limits.moves - held.moves
        chosen: Iterator[tuple[FlowRate, AltPath, float]] = spread(
            wanted, self._paths, held.used_bps, own.capacity_bps, room, need
        )
        for flow, path, rate_bps in chosen:
            yield Move(self.scope, {"type": "reroute", "path": path.name, "flows": [flow.match()]}, rate_bps)

    def _excess(self, side: Direction) -> float:
        """Return what must leave a direction, bit/s; nothing where its queue is below the threshold."""
        over_ms = side.queue_ms - self.rules.queue_ms
        if over_ms <= 0:
            return 0.0
        drain = self.rules.drain * min(over_ms / 1e3 / DRAIN_S, 1.0) * side.capacity_bps
        return max(side.load_bps - self.rules.target_load * side.capacity_bps + drain, 1.0)

    def _fitting(self, traffic: Traffic) -> Loop | None:
        """Return the open move of the least rate that fits on the link again."""
        found: list[tuple[float, int, Loop]] = []
        for number, (loop, flows) in enumerate(self._seen(traffic)):
            rate_bps = rate_of(loop, flows)
            side = traffic.directions[bool(flows and flows[0].down)]
            if side.load_bps + rate_bps <= self.rules.return_load * side.capacity_bps:
                found.append((rate_bps, number, loop))
        return min(found, default=(0.0, 0, None))[2]

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""
        return {
            "version": self.version,
            "loops": self._moves.state(),
            "times": [self._above, self._calm_since_ns, self._quiet_until_ns, self._looked_ns],
            "expired": self._moves.expired,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned. Raises ContractError where this policy cannot have returned it."""
        times = state["times"]
        if len(times) != 4 or not all(is_count(each) for each in (*times, state["expired"])):
            raise ContractError("policy: counts or times that are none")
        self._moves.restore(state["loops"], state["expired"])
        self._above, self._calm_since_ns, self._quiet_until_ns, self._looked_ns = times


def rate_of(loop: Loop, flows: list[FlowRate]) -> float:
    """Return the rate of a move's flows now, bit/s; of a device's move, as it was when it was chosen."""
    return sum(flow.rate_bps for flow in flows) if "flows" in loop.move.action else loop.move.rate_bps
