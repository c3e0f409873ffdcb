"""Policies that decide nothing: traffic goes its way, or is split by a hash once and for all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.moves import Loop
from offramp.decision.site import Site
from offramp.decision.traffic import Quality, Traffic
from offramp.errors import ContractError
from offramp.inference.forecast import Forecast


class NoPolicy:
    """Never gives a command; `split` of the flows are sent over another path by the network itself."""

    needs_forecast = False
    open_moves = expired = 0
    moved = 0, 0.0
    swayed = 0, 0
    acts_on_now = True
    loops: tuple[Loop, ...] = ()
    open_scopes: frozenset[str] = frozenset()

    def __init__(self, site: Site, link: str, *, split: float = 0.0) -> None:
        self.scope, self.split = f"link:{link}", split
        self.version = f"none-{hashlib.sha256(f'{site.name}|{link}|{split}'.encode()).hexdigest()[:12]}"

    def share(self, elsewhere: Callable[[], Mapping[str, float]]) -> None:
        """Pass it over: nothing is moved."""

    def may_trigger(self, probabilities: NDArray[np.float32], quantiles_ms: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return bool [n], all False."""
        return np.zeros(len(probabilities), np.bool_)

    def decide(self, forecast: Forecast, traffic: Traffic | Callable[[], Traffic], quality: Quality) -> list[Command]:
        """Return nothing."""
        return []

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: whose it is."""
        return {"version": self.version}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned. Raises ContractError for another policy's."""
        if state != self.state():
            raise ContractError("policy: the state of another")


def static_policy(site: Site, link: str) -> NoPolicy:
    """Return the policy that splits flows by [policy.static]."""
    return NoPolicy(site, link, split=site.policy.static.share)
