"""Made-up sites for refinement: rows of a link as the pipeline makes them, and a refiner fed with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from offramp.inference.artifact import Artifact
from offramp.inference.forecast import Prediction
from offramp.inference.refinement.paired_test import Scored, block_losses
from offramp.inference.serving.compiled import CompiledPredictor
from offramp.stream.bins.packets import Packets, part_of
from offramp.stream.bins.state import SERIES, LinkConfig
from offramp.stream.datasets.synthetic import (
    NETWORK,
    Flow,
    bulk_transfers,
    merged,
    name_lookups,
    on_off,
    periodic_device,
    web_bursts,
)
from offramp.stream.pipeline.carried_state import Ask, CarriedState, predict_together
from offramp.stream.refine.reference_set import sequences_of
from offramp.stream.refine.refiner import Refiner
from offramp.stream.windows.windows import WindowRows, Windows

CAPACITY = 8e6
SHAPE = LinkConfig(CAPACITY, CAPACITY, 60_000.0, (NETWORK,))


def site_flows(seed: int, seconds: float) -> list[Flow]:
    """Sensors, pages and long transfers over a link with a shallow buffer: its delays end at 60 ms."""
    rng = np.random.default_rng([5, seed])
    flows = [flow for device in range(4) for flow in periodic_device(rng, seconds, device)]
    flows += name_lookups(rng, seconds, 4)
    flows += [flow for device in (5, 6) for flow in web_bursts(rng, seconds, device, CAPACITY)]
    return flows + on_off(rng, seconds, 7, CAPACITY) + bulk_transfers(rng, seconds, 8, SHAPE)


def window_rows(flows: list[Flow], artifact: Artifact, block: int = 20_000) -> Iterator[WindowRows]:
    """The rows of a link's closed bins, as the pipeline would make them from blocks of packets."""
    packets: Packets = merged(flows)
    windows = Windows(SHAPE, artifact.normaliser)
    for start in range(0, len(packets.time_ns), block):
        yield from windows.rows_of(windows.bins.update(part_of(packets, start, start + block)))
    yield from windows.rows_of(windows.bins.close())


def run(
    refiner: Refiner, rows: Iterator[WindowRows], meddle: Callable[[WindowRows], WindowRows] | None = None
) -> list[tuple[int, str]]:
    """Feed a refiner as the pipeline does; return which model served from which bin on. meddle: alters the rows."""
    carried, served = CarriedState(SERIES, refiner.predictor.state_size), list[tuple[int, str]]()
    for whole in rows:
        for part in refiner.parts(meddle(whole) if meddle else whole):
            if not served or served[-1][1] != refiner.predictor.sha:
                served.append((int(part.closed.bin_number[0]), refiner.predictor.sha))
                carried.state[...] = refiner.carried()
            ask = Ask(carried, part.x, part.spectrum, part.closed.series, part.closed.fresh)
            found = predict_together(refiner.predictor, [ask])[0]
            refiner.observe(part, found)
    return served


def clean(seeds: range, seconds: float, artifact: Artifact) -> list[Scored]:
    """Labelled series of clean traffic of the site, that no refiner has seen."""
    out: list[Scored] = []
    for seed in seeds:
        scaled = sequences_of(merged(site_flows(seed, seconds)), SHAPE, f"site{seed}", artifact, devices=2)
        out += [Scored(each, seed * 1_000_000 + np.arange(len(each.x), dtype=np.int64)) for each in scaled]
    return out


def loss(artifact: Artifact, scored: list[Scored]) -> float:
    """The mean loss of an artifact's forecasts."""
    return float(block_losses(CompiledPredictor(artifact), scored).mean())


def nothing(n: int) -> Prediction:
    """Forecasts that say nothing."""
    return Prediction(np.full((n, 3), 1 / 3, np.float32), np.zeros((n, 3), np.float32))
