"""Hysteresis: congestion is entered by a run of bad bins and left by a longer run of good ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decision.site import Policy as Rules
from inference.forecast import Forecast


@dataclass(slots=True)
class Hysteresis:
    """Counts the bins in a row that foresee congestion (`above`) and that foresee none (`below`).

    A bin foresees congestion when the 0.9 quantile of the delay breaks the budget, or when High is probable and the
    0.99 quantile breaks it: classes learned as terciles may call High what the budget allows, the delay does not.
    """

    settings: Rules
    budget_ms: float
    bin_ns: int = 10_000_000
    above: int = 0
    below: int = 0
    last_ns: int = 0

    def update(self, forecast: Forecast) -> None:
        """Count one bin; bins that were not shown (quiet ones) end a run."""
        if forecast.window_end_ns - self.last_ns > 1.5 * self.bin_ns:
            self.above = self.below = 0
        self.last_ns = forecast.window_end_ns
        self.above = self.above + 1 if self.is_above(forecast) else 0
        self.below = self.below + 1 if self.is_below(forecast) else 0

    def is_above(self, forecast: Forecast) -> bool:
        """Tell whether the forecast breaks the budget."""
        probable = forecast.probabilities[2] >= self.settings.enter_probability
        return forecast.delay_ms[1] > self.budget_ms or (probable and forecast.delay_ms[2] > self.budget_ms)

    def is_below(self, forecast: Forecast) -> bool:
        """Tell whether the forecast is well within the budget (lower than what enters)."""
        improbable = forecast.probabilities[2] < self.settings.exit_probability
        calm = forecast.delay_ms[1] < self.budget_ms * self.settings.exit_share
        return calm and (improbable or forecast.delay_ms[2] <= self.budget_ms)

    def interesting(self, probabilities: NDArray[np.float32], delay_ms: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return bool [n]: the rows that foresee congestion (as `is_above`), of float32 [n, 3] each."""
        probable = probabilities[:, 2] >= self.settings.enter_probability
        found: NDArray[np.bool_] = (delay_ms[:, 1] > self.budget_ms) | (probable & (delay_ms[:, 2] > self.budget_ms))
        return found

    def entered(self) -> bool:
        """Tell whether enough bins in a row foresaw congestion."""
        return self.above >= self.settings.enter_bins

    def left(self) -> bool:
        """Tell whether enough bins in a row foresaw none."""
        return self.below >= self.settings.exit_bins

    def rule(self, forecast: Forecast) -> str:
        """Return in words what the forecast says against the budget."""
        sign = ">" if forecast.delay_ms[1] > self.budget_ms else "<="
        return (
            f"delay q90 {forecast.delay_ms[1]:.1f} ms {sign} budget {self.budget_ms:g} ms, "
            f"P(High) {forecast.probabilities[2]:.2f}"
        )
