"""Hysteresis: congestion is entered by a run of bad bins and left by a longer time without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.decision.site import Rules
from offramp.inference.forecast import BIN_NS, Forecast

QUANTILE = {"q50": 0, "q90": 1, "q99": 2}
"""Place of each delay quantile in a forecast."""


@dataclass(slots=True)
class Hysteresis:
    """Counts bins of three kinds.

    `above`: in a row that foresee congestion; `uneasy`: in a row that do not foresee calm; `below`: since the last run
    of uneasy ones long enough to enter. So a short peak neither enters nor keeps from leaving.

    A bin foresees congestion when the site's delay quantile breaks the budget, or when High is probable and the 0.99
    quantile breaks it: classes learned as terciles may call High what the budget allows, the delay does not.
    """

    settings: Rules
    budget_ms: float
    bin_ns: int = BIN_NS
    above: int = 0
    uneasy: int = 0
    below: int = 0
    last_ns: int = 0

    def update(self, forecast: Forecast) -> None:
        """Count one bin; a gap, as quiet bins are not passed, ends a run."""
        if forecast.window_end_ns - self.last_ns > 1.5 * self.bin_ns:
            self.restore((0, 0, 0, 0))
        self.last_ns = forecast.window_end_ns
        self.above = self.above + 1 if self.is_above(forecast) else 0
        self.uneasy = 0 if self.is_below(forecast) else self.uneasy + 1
        self.below = self.below + 1 if self.uneasy < self.settings.enter_bins else 0

    def delay_ms(self, forecast: Forecast) -> float:
        """Return the delay quantile that is compared with the budget."""
        return float(forecast.quantiles_ms[QUANTILE[self.settings.quantile]])

    def is_above(self, forecast: Forecast) -> bool:
        """Return whether the forecast breaks the budget."""
        probable = forecast.probabilities[2] >= self.settings.enter_probability
        return self.delay_ms(forecast) > self.budget_ms or (probable and forecast.quantiles_ms[2] > self.budget_ms)

    def is_below(self, forecast: Forecast) -> bool:
        """Return whether the forecast is well within the budget (lower than what enters)."""
        improbable = forecast.probabilities[2] < self.settings.exit_probability
        calm = self.delay_ms(forecast) < self.budget_ms * self.settings.exit_share
        return calm and (improbable or forecast.quantiles_ms[2] <= self.budget_ms)

    def may_trigger(self, probabilities: NDArray[np.float32], quantiles_ms: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return bool [n]: the rows that foresee congestion (as `is_above`), of float32 [n, 3] each."""
        delay = quantiles_ms[:, QUANTILE[self.settings.quantile]]
        probable = probabilities[:, 2] >= self.settings.enter_probability
        found: NDArray[np.bool_] = (delay > self.budget_ms) | (probable & (quantiles_ms[:, 2] > self.budget_ms))
        return found

    def entered(self) -> bool:
        """Return whether enough bins in a row foresaw congestion."""
        return self.above >= self.settings.enter_bins

    def left(self) -> bool:
        """Return whether enough bins passed without a run that could have entered."""
        return self.below >= self.settings.exit_bins

    def rule(self, forecast: Forecast) -> str:
        """Return in words how the forecast compares with the budget."""
        delay_ms, name = self.delay_ms(forecast), self.settings.quantile
        sign = ">" if delay_ms > self.budget_ms else "<="
        return (
            f"delay {name} {delay_ms:.1f} ms {sign} budget {self.budget_ms:g} ms, "
            f"P(High) {forecast.probabilities[2]:.2f}"
        )

    def state(self) -> tuple[int, int, int, int]:
        """Return the counts as plain values, for JSON."""
        return self.above, self.uneasy, self.below, self.last_ns

    def restore(self, state: Sequence[int]) -> None:
        """Go on from what `state` returned."""
        self.above, self.uneasy, self.below, self.last_ns = state
