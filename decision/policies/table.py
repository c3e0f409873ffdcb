"""The policies that there are, by name: a row each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from offramp.decision.policies.none import NoPolicy, static_policy
from offramp.decision.policies.policy import Policy
from offramp.decision.policies.priority import PriorityPolicy
from offramp.decision.policies.shipped import ShippedPolicy
from offramp.decision.policies.threshold import ThresholdPolicy
from offramp.decision.site import Site


class PolicyRow(NamedTuple):
    """make: of a site and the name of one of its links; about: what it does, for people."""

    make: Callable[[Site, str], Policy]
    about: str


POLICIES: dict[str, PolicyRow] = {
    "none": PolicyRow(NoPolicy, "nothing is moved"),
    "static": PolicyRow(static_policy, "a hash sends a fixed share of the flows over the first other path"),
    "threshold": PolicyRow(ThresholdPolicy, "moves flows when the queue is long now, and gives back what fits"),
    "priority": PolicyRow(PriorityPolicy, "marks heavy flows where the queue is long, and moves none"),
    "shipped": PolicyRow(ShippedPolicy, "what is foreseen opens moves, with hysteresis, holds and rests"),
}


def policy_of(site: Site, link: str) -> Policy:
    """Return the policy that decides for a link of a site."""
    return POLICIES[site.policy.name].make(site, link)
