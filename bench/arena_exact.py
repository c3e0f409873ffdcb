"""`python -m bench.arena_exact SCENARIO.toml...`: the arena's greedy bound beside the optimum, on small instances.

Of each scenario the heaviest flows of a short episode, alone. Both plans are played by the same queues, packet by
packet, and reckoned by fluid ones, in which the optimum is exact.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.stream.arena.episode import Episode, Outcome
from offramp.stream.arena.measures import delays
from offramp.stream.arena.milp import SLOT_NS, Planned, fluid_ms, heaviest, instance_of, solve
from offramp.stream.arena.places import enforcing, traces_of
from offramp.stream.arena.scenario import Scenario, load_scenario
from offramp.stream.arena.traffic import arrivals_of

COLUMNS = ("packets: none", "greedy", "optimum's plan", "fluid: greedy", "optimum", "not below", "seconds")


def compare(scenario: Scenario, seed: int, flows: int, here: Path, root: Path | None, limit_s: float) -> list[float]:
    """Return the numbers of COLUMNS, ms."""
    arrivals = heaviest(arrivals_of(scenario, seed, here, root), flows)
    traces, lost_ms = traces_of(scenario, arrivals, here, root), scenario.network.lost_ms

    def episode(horizon_ms: float | None) -> Episode:
        site = enforcing(scenario, "none", arrivals.scale)
        return Episode(scenario, site, arrivals, None, traces, seed, horizon_ms=horizon_ms)

    stays, planned, greedy = episode(None), episode(None), [episode(each) for each in scenario.clairvoyant.horizons_ms]
    instance = instance_of(arrivals, stays.queues, scenario.seconds, lost_ms, scenario.clairvoyant.price)
    begun = time.process_time()
    found = solve(instance, limit_s)
    spent = time.process_time() - begun
    planned.bound = Planned(planned.flows, found.place)
    best = min((each.run() for each in greedy), key=lambda each: each.mean_ms(lost_ms))
    played = [mean(each, lost_ms) for each in (stays.run(), best, planned.run())]
    fluid = fluid_ms(instance, places_of(best, instance.arrived.shape, instance.home))
    return [*played, fluid, found.mean_ms, found.least_ms, spent]


def mean(outcome: Outcome, lost_ms: float) -> float:
    """Return the mean delay of a byte, as the optimum weighs them, ms."""
    return float(np.average(delays(outcome, lost_ms), weights=outcome.size))


def places_of(outcome: Outcome, shape: tuple[int, ...], home: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where the flows were, int64 [F, T]: where the first packet of a slot went, else as before."""
    place = np.full(shape, -1, np.int64)
    slot = outcome.time_ns // SLOT_NS
    place[outcome.flow[::-1], slot[::-1]] = outcome.place[::-1]
    place[:, 0] = home
    for at in range(1, shape[1]):
        place[:, at] = np.where(place[:, at] < 0, place[:, at - 1], place[:, at])
    return place


def main() -> None:
    """Read the command line and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.arena_exact", description=__doc__)
    parser.add_argument("scenarios", nargs="+", type=Path, help="scenario files (docs/arena.md)")
    parser.add_argument("--root", type=Path, help="the folder that $ROOT/ means in them")
    parser.add_argument("--seed", type=int, default=1, help="of the episode")
    parser.add_argument("--flows", type=int, default=8, help="the heaviest ones, which alone are kept")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the episode")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that the optimum may be sought for")
    args = parser.parse_args()
    print(f"{'mean delay of a byte, ms':<26}{''.join(f'{name:>16}' for name in COLUMNS)}")
    for path in args.scenarios:
        scenario = load_scenario(path).model_copy(update={"seconds": args.seconds})
        found = compare(scenario, args.seed, args.flows, path.parent, args.root, args.limit)
        print(f"{scenario.name:<26}{''.join(f'{value:>16.2f}' for value in found)}", flush=True)


if __name__ == "__main__":
    main()
