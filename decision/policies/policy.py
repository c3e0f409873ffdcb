"""What a policy is: forecasts and traffic of one link in, commands out, in event time alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.traffic import Quality, Traffic
from offramp.inference.forecast import Forecast


class Policy(Protocol):
    """Decides for one link; the same input gives the same commands, whatever the clock and the cut into batches.

    `decide` must be called, in order of time, for every bin that is `may_trigger` or whose scope is in `open_scopes`.
    """

    @property
    def version(self) -> str:
        """Rules and settings as a short text: commands carry it, and another version takes up no state of this one."""

    @property
    def scope(self) -> str:
        """`link:NAME`."""

    @property
    def needs_forecast(self) -> bool:
        """Whether it looks at what is foreseen; one that does not is judged without a model."""

    @property
    def split(self) -> float:
        """Share of the flows that the network itself sends over another path from their first packet on, by a hash."""

    @property
    def open_scopes(self) -> frozenset[str]:
        """The scopes that want every forecast."""

    @property
    def open_moves(self) -> int:
        """Moves open now (a rerouted flow or an offloaded device each)."""

    @property
    def moved(self) -> tuple[int, float]:
        """How many flows and devices are moved now, and the bits per second that they had when they were chosen."""

    @property
    def expired(self) -> int:
        """Moves that ended unrenewed, ever."""

    def may_trigger(self, probabilities: NDArray[np.float32], quantiles_ms: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return bool [n]: the rows (float32 [n, 3] each) that may change something although the scope is idle."""

    def decide(self, forecast: Forecast, traffic: Traffic | Callable[[], Traffic], quality: Quality) -> list[Command]:
        """Return the commands that one bin's forecast gives rise to; traffic: at its end, or what gives it if asked."""

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned, with the same later commands. Raises ContractError for what is none."""
