"""Made-up sites that pre-training never saw, each with traffic of its own kind over a link of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from offramp.inference.artifact import Artifact
from offramp.inference.dataset.sequence import TrainingSequence
from offramp.stream.bins.state import LinkConfig
from offramp.stream.datasets.synthetic import (
    NETWORK,
    Flow,
    bulk_transfers,
    merged,
    name_lookups,
    on_off,
    overload,
    periodic_device,
    ramp,
    web_bursts,
)
from offramp.stream.refine.reference_set import sequences_of

Make = Callable[[np.random.Generator, float, LinkConfig], list[Flow]]


class SimulatedSite(NamedTuple):
    """A site: its link, and what its busy devices do."""

    name: str
    capacity_bps: float
    buffer_bytes: float
    makes: tuple[Make, ...]

    def traffic(self, seed: int, seconds: float, artifact: Artifact) -> list[TrainingSequence]:
        """Return the labelled series of the link and its busiest device, on the artifact's scale."""
        rng = np.random.default_rng([seed, sum(self.name.encode())])
        config = LinkConfig(self.capacity_bps, self.capacity_bps, self.buffer_bytes, (NETWORK,))
        flows = [flow for device in range(4) for flow in periodic_device(rng, seconds, device)]
        flows += name_lookups(rng, seconds, 4)
        for make in self.makes:
            flows += make(rng, seconds, config)
        return sequences_of(merged(flows), config, f"{self.name}:{seed}", artifact, devices=1)


def pages(rng: np.random.Generator, seconds: float, config: LinkConfig) -> list[Flow]:
    return web_bursts(rng, seconds, 5, config.capacity_up_bps) + web_bursts(rng, seconds, 6, config.capacity_up_bps)


def transfers(rng: np.random.Generator, seconds: float, config: LinkConfig) -> list[Flow]:
    return bulk_transfers(rng, seconds, 7, config)


def streams(rng: np.random.Generator, seconds: float, config: LinkConfig) -> list[Flow]:
    return on_off(rng, seconds, 8, config.capacity_up_bps) + on_off(rng, seconds, 9, config.capacity_up_bps)


def ramps(rng: np.random.Generator, seconds: float, config: LinkConfig) -> list[Flow]:
    return [flow for _ in range(int(seconds / 12)) for flow in ramp(rng, seconds, 10, config.capacity_up_bps)]


def floods(rng: np.random.Generator, seconds: float, config: LinkConfig) -> list[Flow]:
    return [flow for _ in range(int(seconds / 15)) for flow in overload(rng, seconds, 11, config.capacity_up_bps)]


TAKING_PART = (
    SimulatedSite("office", 20e6, 150_000, (pages,)),
    SimulatedSite("backup", 8e6, 60_000, (transfers, pages)),
    SimulatedSite("cameras", 5e6, 120_000, (streams,)),
    SimulatedSite("plant", 3e6, 40_000, (ramps, pages)),
    SimulatedSite("besieged", 10e6, 100_000, (floods, streams)),
)
HELD_OUT = (
    SimulatedSite("campus", 30e6, 200_000, (pages, transfers, streams)),
    SimulatedSite("harbour", 4e6, 70_000, (ramps, transfers)),
    SimulatedSite("ward", 6e6, 50_000, (streams, floods)),
)
