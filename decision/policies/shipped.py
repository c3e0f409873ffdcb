"""The policy that is shipped: what is foreseen opens moves, with hysteresis, holds and rests, and ends them.

Event time only; the same input gives the same commands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.hysteresis import Hysteresis
from offramp.decision.policies.open_moves import SECOND_NS, KeepsMoves, OpenMoves, is_count
from offramp.decision.selection import choose
from offramp.decision.site import Site
from offramp.decision.traffic import Quality, Traffic
from offramp.errors import ContractError
from offramp.inference.forecast import BIN_NS, Forecast

RULES = "2"
"""Version of the rules below; changes with every change that gives other commands for the same forecasts of data that
can be trusted."""
MAX_DEVICES = 512
"""Troubled devices that are remembered: what a link has had at once within the reach of a forecast, sixteen times."""


class ShippedPolicy(KeepsMoves):
    """Turns the forecasts of a link and its devices into commands.

    The link's forecast opens and closes moves; a device's forecast only ranks the device among those to offload.
    """

    needs_forecast, acts_on_now = True, False
    split = 0.0

    def __init__(
        self, site: Site, link: str, *, bin_ns: int = BIN_NS, mode: Literal["dry_run", "enforce"] | None = None
    ) -> None:
        """Make the policy of one link of `site`; bin_ns: from one forecast to the next; mode: overrides the site's."""
        self.site = site
        self.link = site.link(link)
        mode = mode or site.mode
        self.scope = f"link:{link}"
        shape = f"{mode}|{site.name}|{site.policy!r}|{site.limits!r}|{self.link!r}"
        self.version = f"{RULES}-{hashlib.sha256(shape.encode()).hexdigest()[:12]}"
        self._hysteresis = Hysteresis(site.policy, self.link.budget_ms, bin_ns)
        self._moves = OpenMoves(site, link, self.version, mode)
        self._devices: dict[str, tuple[int, float]] = {}
        self._quiet_until_ns = 0

    def may_trigger(self, probabilities: NDArray[np.float32], quantiles_ms: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return bool [n]: the rows (float32 [n, 3] each) that may change something although the scope is idle."""
        return self._hysteresis.may_trigger(probabilities, quantiles_ms)

    @property
    def open_scopes(self) -> frozenset[str]:
        """The scopes that want every forecast: the link while moves are open, devices with a fresh bad forecast."""
        return frozenset((self.scope, *self._devices)) if self._moves.loops else frozenset()

    def decide(self, forecast: Forecast, traffic: Traffic | Callable[[], Traffic], quality: Quality) -> list[Command]:
        """Return the commands that the forecast of one bin gives rise to, mostly none.

        traffic: the link's traffic at the end of the bin, or a function that gives it (called only for an onset).
        """
        if forecast.scope != self.scope:
            self._rank(forecast)
            return []
        self._hysteresis.update(forecast)
        now_ns, rule = forecast.window_end_ns, self._hysteresis.rule(forecast)
        if self._moves.expire(now_ns):
            self._rest(now_ns, self.site.policy.cooldown_s)
        if self._moves.loops and self._hysteresis.left() and self._moves.trusts(quality):
            return self._release(forecast, quality, rule)
        commands = self._moves.renew(forecast, quality, rule)
        if self._hysteresis.entered() and now_ns >= self._quiet_until_ns:
            commands += self._onset(forecast, traffic() if callable(traffic) else traffic, quality, rule)
        return commands

    def _rank(self, forecast: Forecast) -> None:
        """Remember a troubled device's P(High) for as long as its forecast reaches."""
        if self._hysteresis.is_above(forecast):
            until_ns = forecast.window_end_ns + forecast.horizon_ms * 1_000_000
            self._devices[forecast.scope] = (until_ns, float(forecast.probabilities[2]))
            if len(self._devices) > MAX_DEVICES:  # addresses that somebody makes up
                self._fresh(forecast.window_end_ns)
                while len(self._devices) > MAX_DEVICES:
                    del self._devices[next(iter(self._devices))]
        else:
            self._devices.pop(forecast.scope, None)

    def _rest(self, now_ns: int, seconds: float) -> None:
        self._quiet_until_ns = max(self._quiet_until_ns, now_ns + int(seconds * SECOND_NS))

    def _release(self, forecast: Forecast, quality: Quality, rule: str) -> list[Command]:
        """Clear the moves that have been held long enough; renew the others."""
        held_ns = forecast.window_end_ns - int(self.site.policy.hold_s * SECOND_NS)
        done = [loop for loop in self._moves.loops if loop.opened_ns <= held_ns]
        if done:
            self._rest(forecast.window_end_ns, self.site.policy.cooldown_s)
        return self._moves.clear(done, forecast, quality, rule) + self._moves.renew(forecast, quality, rule)

    def _onset(self, forecast: Forecast, traffic: Traffic, quality: Quality, rule: str) -> list[Command]:
        """Open the moves that bring the link back into its budget."""
        self._hysteresis.above = 0
        devices = self._fresh(forecast.window_end_ns)
        moves = choose(self.site, self.link, forecast, traffic, self._moves.held(), devices)
        commands = self._moves.open(moves, forecast, quality, rule)
        if commands:
            self._rest(forecast.window_end_ns, self.site.policy.hold_s)
        return commands

    def _fresh(self, now_ns: int) -> dict[str, float]:
        """Return P(High) by address of the devices whose forecast still reaches, and forget the others."""
        self._devices = {scope: found for scope, found in self._devices.items() if found[0] >= now_ns}
        return {scope.rpartition("/")[2]: p_high for scope, (_, p_high) in self._devices.items()}

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""
        return {
            "version": self.version,
            "hysteresis": list(self._hysteresis.state()),
            "loops": self._moves.state(),
            "devices": {scope: list(found) for scope, found in self._devices.items()},
            "quiet_until_ns": self._quiet_until_ns,
            "expired": self._moves.expired,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned, with the same later commands.

        Raises ContractError where it is none that this policy may have returned.
        """
        devices = {scope: (until_ns, p_high) for scope, (until_ns, p_high) in state["devices"].items()}
        times = [state["quiet_until_ns"], *(until_ns for until_ns, _ in devices.values())]
        if not all(is_count(each) for each in (*times, *state["hysteresis"], state["expired"])):
            raise ContractError("policy: counts or times that are none")
        if len(state["hysteresis"]) != 4 or len(devices) > MAX_DEVICES:
            raise ContractError("policy: more, or less, than a policy keeps")
        if not all(type(p_high) is float and 0 <= p_high <= 1 for _, p_high in devices.values()):
            raise ContractError("policy: devices without a probability")
        self._moves.restore(state["loops"], state["expired"])
        self._hysteresis.restore(state["hysteresis"])
        self._devices, self._quiet_until_ns = devices, state["quiet_until_ns"]
