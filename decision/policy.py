"""The policy: forecasts in, commands out, with hysteresis, hold, cooldown, a cap on moves, and expiry.

It lives on event time alone: no clock, no chance. The same forecasts give the same commands, to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decision.choice import choose
from decision.command import Command, decision_id, rfc3339
from decision.site import Site
from decision.traffic import Quality, Traffic
from inference.forecast import CLASSES, Forecast

POLICY_VERSION = "1"
"""Part of every decision id; raised when the rules change."""
QUANTILE_NAMES = ("q50", "q90", "q99")
SECOND_NS = 1_000_000_000


@dataclass(slots=True)
class Loop:
    """What the policy remembers of one scope; times in nanoseconds, 0 for never."""

    hot_bins: int = 0
    cool_bins: int = 0
    last_ns: int = 0
    loop_id: str = ""
    sequence: int = 0
    opened_ns: int = 0
    expires_ns: int = 0
    cooldown_ns: int = 0
    action: dict[str, Any] | None = None


class Policy:
    """Decides for one link of a site and the devices behind it.

    bin_ns is the distance of two forecasts of a scope; a scope that is not asked about for longer starts to count anew.
    """

    def __init__(self, site: Site, link: str, *, bin_ns: int = 10_000_000, version: str = POLICY_VERSION) -> None:
        self.version = version
        self._site = site
        self._link = site.link(link)
        self._bin_ns = bin_ns
        self._loops: dict[str, Loop] = {}

    @property
    def open_scopes(self) -> frozenset[str]:
        """The scopes with a move open: these want every forecast."""
        return frozenset(scope for scope, loop in self._loops.items() if loop.loop_id)

    def interesting(self, probabilities: NDArray[np.float32], delay_ms: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Tell which forecasts may open a move: bool [n] from float32 [n, 3] each.

        `decide` need not see the others, unless their scope has a move open.
        """
        enter = self._site.policy.enter_probability
        hot: NDArray[np.bool_] = (probabilities[:, 2] >= enter) | (delay_ms[:, 1] > self._link.budget_ms)
        return hot

    def decide(self, forecast: Forecast, traffic: Traffic, quality: Quality) -> list[Command]:
        """Return the commands that follow from one forecast of one scope; most often none."""
        loop = self._loops.setdefault(forecast.scope, Loop())
        now = forecast.window_end_ns
        self._count(loop, forecast, now)
        if loop.loop_id:
            return self._keep(loop, forecast, quality, now)
        return self._open(loop, forecast, traffic, quality, now)

    def state(self) -> dict[str, Any]:
        """Return what the policy remembers as plain values for JSON."""
        return {scope: asdict(loop) for scope, loop in sorted(self._loops.items())}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the commands that follow are the same."""
        self._loops = {scope: Loop(**loop) for scope, loop in state.items()}

    def _count(self, loop: Loop, forecast: Forecast, now: int) -> None:
        rules = self._site.policy
        if now - loop.last_ns > 1.5 * self._bin_ns:
            loop.hot_bins = 0
        high, q90 = forecast.probabilities[2], forecast.delay_ms[1]
        hot = high >= rules.enter_probability or q90 > self._link.budget_ms
        cool = high < rules.exit_probability and q90 <= self._link.budget_ms
        loop.hot_bins = loop.hot_bins + 1 if hot else 0
        loop.cool_bins = loop.cool_bins + 1 if cool else 0
        loop.last_ns = now

    def _open(self, loop: Loop, forecast: Forecast, traffic: Traffic, quality: Quality, now: int) -> list[Command]:
        rules = self._site.policy
        if loop.hot_bins < rules.enter_bins or now < loop.cooldown_ns:
            return []
        if len(self.open_scopes) >= self._site.limits.moves:
            return []
        action = choose(self._site, self._link, forecast.scope, traffic)
        if action is None:
            return []
        loop.action, loop.sequence, loop.opened_ns, loop.cool_bins = action, 0, now, 0
        loop.loop_id = decision_id(self.version, forecast.model_sha, forecast.scope, now, action)
        rule = f"congestion foreseen in {rules.enter_bins} bins in a row"
        return [self._command(loop, "onset", action, forecast, quality, rule)]

    def _keep(self, loop: Loop, forecast: Forecast, quality: Quality, now: int) -> list[Command]:
        rules = self._site.policy
        held = now >= loop.opened_ns + rules.hold_s * SECOND_NS
        if held and loop.cool_bins >= rules.exit_bins:
            action = {"type": "clear", "loop_id": loop.loop_id}
            rule = f"no congestion foreseen in {rules.exit_bins} bins in a row"
            command = self._command(loop, "abated", action, forecast, quality, rule)
            loop.loop_id, loop.action, loop.hot_bins = "", None, 0
            loop.cooldown_ns = now + int(rules.cooldown_s * SECOND_NS)
            return [command]
        if now < loop.expires_ns - rules.expiry_s * SECOND_NS / 2 or loop.action is None:
            return []
        return [self._command(loop, "update", loop.action, forecast, quality, "renewed before its expiry")]

    def _command(
        self, loop: Loop, phase: str, action: dict[str, Any], forecast: Forecast, quality: Quality, rule: str
    ) -> Command:
        now = forecast.window_end_ns
        loop.sequence += 1
        loop.expires_ns = now + int(self._site.policy.expiry_s * SECOND_NS)
        mode = self._site.mode
        if mode == "enforce" and quality.decoded < self._site.limits.quality:
            mode, rule = "dry_run", f"{rule}; not enforced, the data quality is below {self._site.limits.quality:g}"
        return Command(
            decision_id=decision_id(self.version, forecast.model_sha, forecast.scope, now, action),
            loop_id=loop.loop_id,
            sequence=loop.sequence,
            phase=phase,
            mode=mode,
            scope=forecast.scope,
            action=action,
            not_before_ns=now,
            expires_at_ns=loop.expires_ns,
            rollback={"type": "clear", "loop_id": loop.loop_id},
            reason=self._reason(forecast, quality, rule),
        )

    def _reason(self, forecast: Forecast, quality: Quality, rule: str) -> dict[str, Any]:
        return {
            "probabilities": {
                name: round(float(p), 4) for name, p in zip(CLASSES, forecast.probabilities, strict=True)
            },
            "delay_ms": {name: round(float(d), 3) for name, d in zip(QUANTILE_NAMES, forecast.delay_ms, strict=True)},
            "delay_now_ms": round(float(forecast.delay_now_ms), 3),
            "horizon_ms": forecast.horizon_ms,
            "rule": rule,
            "window_start": rfc3339(forecast.window_start_ns),
            "window_end": rfc3339(forecast.window_end_ns),
            "quality": quality.as_dict(),
            "model": forecast.model,
            "model_sha": forecast.model_sha,
            "policy_version": self.version,
        }
