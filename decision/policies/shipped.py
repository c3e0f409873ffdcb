"""The policy of one link: forecasts in, commands out. Event time only; the same input gives the same commands."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from offramp.decision.command import Command, decision_id, validate
from offramp.decision.hysteresis import Hysteresis
from offramp.decision.moves import HeldMoves, Loop
from offramp.decision.reason import reason
from offramp.decision.selection import choose
from offramp.decision.site import Site
from offramp.decision.traffic import Quality, Traffic
from offramp.errors import ContractError
from offramp.inference.forecast import BIN_NS, Forecast

RULES = "2"
"""Version of the rules below; changes with every change that gives other commands for the same forecasts of data that
can be trusted."""
SECOND_NS = 1_000_000_000
MAX_INTEGER = 1 << 63
MAX_DEVICES = 512
"""Troubled devices that are remembered: what a link has had at once within the reach of a forecast, sixteen times."""


class Policy:
    """Turns the forecasts of a link and its devices into commands.

    The link's forecast opens and closes moves; a device's forecast only ranks the device among those to offload.
    `decide` must be called, in order of time, for every bin that is `may_trigger` or whose scope is in
    `open_scopes`.
    """

    def __init__(
        self, site: Site, link: str, *, bin_ns: int = BIN_NS, mode: Literal["dry_run", "enforce"] | None = None
    ) -> None:
        """Make the policy of one link of `site`; bin_ns: from one forecast to the next; mode: overrides the site's."""
        self.site = site
        self.link = site.link(link)
        self.mode = mode or site.mode
        self.scope = f"link:{link}"
        shape = f"{self.mode}|{site.name}|{site.policy!r}|{site.limits!r}|{self.link!r}"
        self.version = f"{RULES}-{hashlib.sha256(shape.encode()).hexdigest()[:12]}"
        self._hysteresis = Hysteresis(site.policy, self.link.budget_ms, bin_ns)
        self._loops: list[Loop] = []
        self._devices: dict[str, tuple[int, float]] = {}
        self._life_ns = int(site.policy.expiry_s * SECOND_NS)
        self._quiet_until_ns = 0
        self.expired = 0

    def may_trigger(self, probabilities: NDArray[np.float32], quantiles_ms: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return bool [n]: the rows (float32 [n, 3] each) that may change something although the scope is idle."""
        return self._hysteresis.may_trigger(probabilities, quantiles_ms)

    @property
    def open_scopes(self) -> frozenset[str]:
        """The scopes that want every forecast: the link while moves are open, devices with a fresh bad forecast."""
        return frozenset((self.scope, *self._devices)) if self._loops else frozenset()

    @property
    def open_moves(self) -> int:
        """Moves open now (a rerouted flow or an offloaded device each)."""
        return self._taken().moves

    def decide(self, forecast: Forecast, traffic: Traffic | Callable[[], Traffic], quality: Quality) -> list[Command]:
        """Return the commands that the forecast of one bin gives rise to, mostly none.

        traffic: the link's traffic at the end of the bin, or a function that gives it (called only for an onset).
        """
        if forecast.scope != self.scope:
            self._rank(forecast)
            return []
        self._hysteresis.update(forecast)
        self._expire(forecast.window_end_ns)
        if self._loops and self._hysteresis.left() and self._trusts(quality):
            return self._release(forecast, quality)
        commands = self._renew(forecast, quality)
        if self._hysteresis.entered() and forecast.window_end_ns >= self._quiet_until_ns:
            commands += self._onset(forecast, traffic() if callable(traffic) else traffic, quality)
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

    def _expire(self, now_ns: int) -> None:
        """Forget loops whose last command has expired: the controller has undone them by itself."""
        over = [loop for loop in self._loops if loop.expires_ns <= now_ns]
        if over:
            self._loops = [loop for loop in self._loops if loop.expires_ns > now_ns]
            self.expired += len(over)
            self._rest(now_ns, self.site.policy.cooldown_s)

    def _rest(self, now_ns: int, seconds: float) -> None:
        self._quiet_until_ns = max(self._quiet_until_ns, now_ns + int(seconds * SECOND_NS))

    def _release(self, forecast: Forecast, quality: Quality) -> list[Command]:
        """Clear the moves that have been held long enough; renew the others."""
        held_ns = forecast.window_end_ns - int(self.site.policy.hold_s * SECOND_NS)
        done = [loop for loop in self._loops if loop.opened_ns <= held_ns]
        self._loops = [loop for loop in self._loops if loop.opened_ns > held_ns]
        if done:
            self._rest(forecast.window_end_ns, self.site.policy.cooldown_s)
        cleared = [self._command(loop, "abated", forecast, quality) for loop in done]
        return cleared + self._renew(forecast, quality)

    def _renew(self, forecast: Forecast, quality: Quality) -> list[Command]:
        """Update the moves of which half the time to expiry is over, or whose life bad data kept from being renewed."""
        half_ns, trusted = self._life_ns // 2, self._trusts(quality)
        due = [
            loop
            for loop in self._loops
            if forecast.window_end_ns - loop.renewed_ns >= half_ns
            or (trusted and loop.expires_ns < loop.renewed_ns + self._life_ns)
        ]
        return [self._command(loop, "update", forecast, quality) for loop in due]

    def _onset(self, forecast: Forecast, traffic: Traffic, quality: Quality) -> list[Command]:
        """Open the moves that bring the link back into its budget."""
        self._hysteresis.above = 0
        commands = []
        for move in choose(self.site, self.link, forecast, traffic, self._taken(), self._fresh(forecast.window_end_ns)):
            now_ns = forecast.window_end_ns
            name = decision_id(self.version, forecast.model_sha, move.scope, now_ns, move.action)
            loop = Loop(name, move, now_ns, now_ns, now_ns, 0, False)
            self._loops.append(loop)
            commands.append(self._command(loop, "onset", forecast, quality))
        if commands:
            self._rest(forecast.window_end_ns, self.site.policy.hold_s)
        return commands

    def _taken(self) -> HeldMoves:
        return HeldMoves().plus(loop.move for loop in self._loops)

    def _fresh(self, now_ns: int) -> dict[str, float]:
        """Return P(High) by address of the devices whose forecast still reaches, and forget the others."""
        self._devices = {scope: found for scope, found in self._devices.items() if found[0] >= now_ns}
        return {scope.rpartition("/")[2]: p_high for scope, (_, p_high) in self._devices.items()}

    def _command(self, loop: Loop, phase: str, forecast: Forecast, quality: Quality) -> Command:
        """Return the loop's next command and count it in the loop.

        On data below the floor none is enforced, and a move that was goes on to its expiry, as whoever carries it out
        will have it: it is neither cleared nor renewed by what is not known.
        """
        now_ns = forecast.window_end_ns
        trusted = self._trusts(quality)
        enforce = self.mode == "enforce" and trusted and (phase != "abated" or loop.enforced)
        clear = {"type": "clear", "loop_id": loop.loop_id}
        action = clear if phase == "abated" else loop.move.action
        if enforce or not loop.enforced:
            loop.expires_ns = now_ns + self._life_ns
        loop.sequence, loop.renewed_ns, loop.enforced = loop.sequence + 1, now_ns, loop.enforced or enforce
        return Command(
            decision_id=decision_id(self.version, forecast.model_sha, loop.move.scope, now_ns, action),
            loop_id=loop.loop_id,
            sequence=loop.sequence,
            phase=phase,
            mode="enforce" if enforce else "dry_run",
            scope=loop.move.scope,
            action=action,
            not_before_ns=now_ns,
            expires_at_ns=now_ns + self._life_ns,
            rollback=clear,
            reason=self._reason(forecast, quality, self._doubt(trusted)),
        )

    def _trusts(self, quality: Quality) -> bool:
        return quality.share >= self.site.limits.quality

    def _doubt(self, trusted: bool) -> str:
        floor = self.site.limits.quality
        return "" if trusted else f"; data quality below the floor {floor:g}: not enforced"

    def _reason(self, forecast: Forecast, quality: Quality, doubt: str) -> dict[str, Any]:
        return reason(forecast, quality, self._hysteresis.rule(forecast) + doubt, self.version)

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""
        return {
            "version": self.version,
            "hysteresis": list(self._hysteresis.state()),
            "loops": [loop.state() for loop in self._loops],
            "devices": {scope: list(found) for scope, found in self._devices.items()},
            "quiet_until_ns": self._quiet_until_ns,
            "expired": self.expired,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned, with the same later commands.

        Raises ContractError where it is none that this policy may have returned.
        """
        devices = {scope: (until_ns, p_high) for scope, (until_ns, p_high) in state["devices"].items()}
        loops = [Loop.from_state(loop) for loop in state["loops"]]
        times = [state["quiet_until_ns"], *(until_ns for until_ns, _ in devices.values())]
        counts = [*state["hysteresis"], state["expired"], len(loops)]
        if not all(type(each) is int and 0 <= each < MAX_INTEGER for each in (*times, *counts)):
            raise ContractError("policy: counts or times that are none")
        if len(counts) != 6 or len(loops) > self.site.limits.moves or len(devices) > MAX_DEVICES:
            raise ContractError("policy: more, or less, than a policy keeps")
        if not all(type(p_high) is float and 0 <= p_high <= 1 for _, p_high in devices.values()):
            raise ContractError("policy: devices without a probability")
        for loop in loops:
            self._require_own(loop)
        self._hysteresis.restore(state["hysteresis"])
        self._loops, self._devices = loops, devices
        self._quiet_until_ns, self.expired = state["quiet_until_ns"], state["expired"]

    def _require_own(self, loop: Loop) -> None:
        """Refuse a loop that is not of this link, or whose next command would break the contract."""
        times = loop.opened_ns, loop.renewed_ns, loop.expires_ns, loop.sequence
        if not all(type(each) is int and 0 <= each < MAX_INTEGER for each in times) or type(loop.enforced) is not bool:
            raise ContractError("policy: a move with counts or times that are none")
        if type(loop.move.rate_bps) not in (int, float) or not 0 <= loop.move.rate_bps < MAX_INTEGER:
            raise ContractError("policy: a move without a rate")
        if loop.move.scope != self.scope and not loop.move.scope.startswith(f"device:{self.link.name}/"):
            raise ContractError("policy: a move of another link")
        forecast = Forecast(
            self.scope, loop.opened_ns, loop.opened_ns, 1, (1.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0, "model", ""
        )
        copy = Loop(**{name: getattr(loop, name) for name in Loop.__dataclass_fields__})
        validate(self._command(copy, "update", forecast, Quality()).to_dict())
