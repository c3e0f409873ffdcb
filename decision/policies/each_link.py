"""A bundle's policy made of one for each link: each decides by itself, none fills a path or node that another has.

What a move of one link puts on a path or node counts for the moves of all others, and a path that is a watched link has
besides what that link carries itself.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.moves import Loop
from offramp.decision.policies.policy import LinkPolicy, LinkView
from offramp.decision.site import Bundle, Link
from offramp.errors import ContractError

MAX_CLOSED = 1_024
"""Paths and nodes that are closed, of a checkpoint: more than any site has."""
SEEN_NS = 2_000_000_000
"""From when a moved flow is among what a watched path is seen to carry: two half-lives of the running rates."""


class EachLink:
    """Decides for a bundle by a policy a link; `policies` in the order of the bundle's links."""

    def __init__(self, bundle: Bundle, policies: Sequence[LinkPolicy]) -> None:
        self._links = {link.name: link for link in bundle.links}
        self.policies = dict(zip(self._links, policies, strict=True))
        versions = [policy.version for policy in policies]
        self.version = versions[0] if len(versions) == 1 else _together(versions)
        self.needs_forecast = any(policy.needs_forecast for policy in policies)
        self._unmoved = {link: policy.state() for link, policy in self.policies.items()}
        self._step: Sequence[LinkView] = ()
        self._closed: set[str] = set()
        for name, policy in self.policies.items():
            policy.share(partial(self._elsewhere, self._links[name]))

    @property
    def awake(self) -> bool:
        """Whether one of them wants every bin."""
        return any(policy.open_scopes for policy in self.policies.values())

    @property
    def open_moves(self) -> int:
        """Moves open now, of all links."""
        return sum(policy.open_moves for policy in self.policies.values())

    @property
    def expired(self) -> int:
        """Moves that ended unrenewed, ever."""
        return sum(policy.expired for policy in self.policies.values())

    @property
    def swayed(self) -> tuple[int, int]:
        """Looks at which something was to change, and those at which a forecast changed what, of all links."""
        found = [policy.swayed for policy in self.policies.values()]
        return sum(each[0] for each in found), sum(each[1] for each in found)

    def split_of(self, link: str) -> float:
        """Return the share of a link's flows that a hash sends over another path."""
        return self.policies[link].split

    def moved_of(self, link: str) -> tuple[int, float]:
        """Return how many flows and devices of a link are moved now, and the bit/s that they had when chosen."""
        return self.policies[link].moved

    def loops_of(self, link: str) -> Sequence[Loop]:
        """Return the open moves of a link."""
        return self.policies[link].loops

    def may_trigger(
        self, link: str, probabilities: NDArray[np.float32], quantiles_ms: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Return bool [n]: the rows of a link that may change something although it sleeps."""
        return self.policies[link].may_trigger(probabilities, quantiles_ms)

    def decide(self, step: Sequence[LinkView]) -> list[Command]:
        """Return the commands of one bin, link by link in the site's order."""
        self._step, commands = step, list[Command]()
        for view in step:
            policy = self.policies[view.link]
            if view.asked or policy.scope in policy.open_scopes:
                forecast = view.forecast
                if policy.acts_on_now:
                    forecast = replace(forecast, bin_end_ms=view.queue_ms)
                commands += policy.decide(forecast, view.traffic, view.quality)
            for forecast in view.devices(policy.open_scopes):
                commands += policy.decide(forecast, view.traffic, view.quality)
        self._step = ()
        return commands

    def close_place(self, name: str, *, closed: bool) -> None:
        """Take note that a path or node takes nothing more, or that it does again; what is there stays."""
        (self._closed.add if closed else self._closed.discard)(name)

    def forget(self, link: str) -> None:
        """Forget what is known of a link, whose time begins anew."""
        self.policies[link].restore(self._unmoved[link])

    def _elsewhere(self, link: Link) -> Mapping[str, float]:
        """Return what a link's paths and nodes carry beside its own moves, bit/s by name."""
        if len(self._links) == 1 and not self._closed:
            return {}
        used: dict[str, float] = {}
        now_ns = self._step[0].forecast.window_end_ns if self._step else 0
        for name, policy in self.policies.items():
            for loop in policy.loops:
                place = self._place_of(self._links[name], loop.move.target)
                seen = place in self._links and loop.enforced and now_ns - loop.opened_ns > SEEN_NS
                if name != link.name and not seen:
                    used[place] = used.get(place, 0.0) + loop.move.rate_bps
        views, found = {view.link: view for view in self._step}, dict[str, float]()
        for target in link.places:
            place = self._place_of(link, target.name)
            found[target.name] = math.inf if target.name in self._closed else used.get(place, 0.0)
            if place in views:
                sides = views[place].traffic().directions
                share = max(side.load_bps / side.capacity_bps if side.capacity_bps else 0.0 for side in sides)
                found[target.name] += share * target.capacity
        return {name: rate_bps for name, rate_bps in found.items() if rate_bps}

    def _place_of(self, link: Link, target: str) -> str:
        """Return the watched link that a path is, else the path's or node's own name."""
        return next((path.link or path.name for path in link.paths if path.name == target), target)

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""
        links = {link: policy.state() for link, policy in self.policies.items()}
        return {"version": self.version, "links": links, "closed": sorted(self._closed)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned. Raises ContractError for what is none."""
        links = state["links"]
        if links.keys() != self.policies.keys():
            raise ContractError("policy: the state of other links")
        if not all(type(name) is str for name in state["closed"]) or len(state["closed"]) > MAX_CLOSED:
            raise ContractError("policy: closed places that no site has")
        for link, policy in self.policies.items():
            policy.restore(links[link])
        self._closed = set(state["closed"])


def _together(versions: Sequence[str]) -> str:
    return f"links-{hashlib.sha256('|'.join(versions).encode()).hexdigest()[:12]}"
