"""What light traffic feels where a link has two queues: mean delay of light and heavy flows under policies.

`python -m bench.arena_light samples/arena/{onoff,bulk,web,mixed,overload,lab}.toml` prints a table. A flow is light
where its mean rate, from its first packet to its last and over half a second at least, is below a tenth of its link's
capacity.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from offramp.stream.arena.episode import Outcome, play
from offramp.stream.arena.measures import delays
from offramp.stream.arena.scenario import Scenario, load_scenario
from offramp.stream.arena.traffic import arrivals_of

POLICIES = ("none", "priority", "optimiser-reactive")
LIGHT, LEAST_S = 0.1, 0.5


def two_queues(scenario: Scenario) -> Scenario:
    """Return the scenario with links of two classes."""
    links = tuple(link.model_copy(update={"queues": 2}) for link in scenario.site.links)
    return scenario.model_copy(update={"site": scenario.site.model_copy(update={"links": links})})


def is_light(outcome: Outcome, capacity_bps: float) -> np.ndarray:
    """Return bool [n]: the packets of light flows."""
    count = int(outcome.flow.max()) + 1
    first, last = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
    np.minimum.at(first, outcome.flow, outcome.time_ns)
    np.maximum.at(last, outcome.flow, outcome.time_ns)
    seconds = np.maximum((last - first) / 1e9, LEAST_S)
    rate_bps = np.bincount(outcome.flow, outcome.size, count) * 8 / seconds
    found: np.ndarray = (rate_bps < LIGHT * capacity_bps)[outcome.flow]
    return found


def main() -> None:
    """Play the scenarios, their links with two queues."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="+", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--seeds", type=int, default=30)
    args = parser.parse_args()
    print(f"| traffic | {' | '.join(f'{policy}: light, heavy, ms' for policy in POLICIES)} | none : optimiser, light |")
    print("|---|" + "---|" * (len(POLICIES) + 1))
    for path in args.scenarios:
        scenario = two_queues(load_scenario(path))
        cells, lights = [], []
        for policy in POLICIES:
            light, heavy = list[np.ndarray](), list[np.ndarray]()
            for seed in range(1, (args.seeds if scenario.varies else 1) + 1):
                scale = arrivals_of(scenario, seed, path.parent, args.root).scale
                outcome = play(scenario, seed, policy, here=path.parent, root=args.root)
                mine = is_light(outcome, scenario.link.capacity_bps * scale)
                every = delays(outcome, scenario.network.lost_ms)
                light.append(every[mine])
                heavy.append(every[~mine])
            lights.append(float(np.concatenate(light).mean()))
            cells.append(f"{lights[-1]:.1f}, {float(np.concatenate(heavy).mean()):.1f}")
        print(f"| {scenario.name} | {' | '.join(cells)} | {lights[0] / lights[-1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
