"""A scenario of the arena with its taps elsewhere."""

from __future__ import annotations

from offramp.stream.arena.scenario import Scenario


def tapped(scenario: Scenario, tap: str) -> Scenario:
    links = tuple(link.model_copy(update={"tap": tap}) for link in scenario.site.links)
    return scenario.model_copy(update={"site": scenario.site.model_copy(update={"links": links})})
