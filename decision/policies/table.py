"""The policies that there are, by name: a row each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from offramp.decision.policies.each_link import EachLink
from offramp.decision.policies.none import NoPolicy, static_policy
from offramp.decision.policies.optimiser import OptimiserPolicy
from offramp.decision.policies.policy import LinkPolicy, Policy
from offramp.decision.policies.priority import PriorityPolicy
from offramp.decision.policies.shipped import ShippedPolicy
from offramp.decision.policies.threshold import ThresholdPolicy
from offramp.decision.site import Bundle, Site


class PolicyRow(NamedTuple):
    """make: of a site and the name of one of its links; about: what it does, for people.

    counted: whether the arena shows it what executors count of moved flows; else what passes the tap is all it has.
    """

    make: Callable[[Site, str], LinkPolicy]
    about: str
    counted: bool = True


POLICIES: dict[str, PolicyRow] = {
    "none": PolicyRow(NoPolicy, "nothing is moved"),
    "static": PolicyRow(static_policy, "a hash sends a fixed share of the flows over the first other path"),
    "threshold": PolicyRow(ThresholdPolicy, "moves flows when the queue is long now, and gives back what fits"),
    "priority": PolicyRow(PriorityPolicy, "marks heavy flows where the queue is long, and moves none"),
    "optimiser": PolicyRow(OptimiserPolicy, "revises what goes where over all queues, what is foreseen sways it"),
    "optimiser-reactive": PolicyRow(
        partial(OptimiserPolicy, needs_forecast=False), "the same optimiser without a forecast"
    ),
    "shipped": PolicyRow(
        ShippedPolicy, "what is foreseen opens moves, with hysteresis, holds and rests", counted=False
    ),
}


def link_policy(site: Site, link: str) -> LinkPolicy:
    """Return the policy that decides for one link of a site by itself."""
    return POLICIES[site.policy.name].make(site, link)


def policy_of(site: Site, bundle: Bundle | None = None) -> Policy:
    """Return the policy that decides for a bundle of a site; without one for the site's first."""
    bundle = bundle or site.bundles[0]
    return EachLink(bundle, [link_policy(site, link.name) for link in bundle.links])
