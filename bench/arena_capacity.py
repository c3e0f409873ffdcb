"""What measuring a capacity that varies is worth: constant, measured and known, on traces of two operators.

`python -m bench.arena_capacity samples/arena/lte.toml --root DIR --traces ONE OTHER`: tuned over the trace of one,
played over that of the other, and the reverse. Prints the share of the gap from constant to known that measuring takes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from offramp.stream.arena.comparisons import ratio_of
from offramp.stream.arena.contest import Contest
from offramp.stream.arena.scenario import Scenario, load_scenario
from offramp.stream.arena.tuning import tune

POLICY = "optimiser-reactive"
TOLD = ("nominal", "measured", "known")


def over(scenario: Scenario, trace: str, told: str, latency: float | None) -> Scenario:
    """Return the scenario over another trace, with what is told of its capacity."""
    update = {"trace": trace, "trace_down": None, "capacity": told}
    network = scenario.network.model_copy(update=update | ({"command_ms": latency} if latency is not None else {}))
    return scenario.model_copy(update={"network": network})


def main() -> None:
    """Tune over one trace, play over the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument(
        "--traces", nargs=2, required=True, metavar=("ONE", "OTHER"), help="such as $ROOT/traces/x.down"
    )
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=140)
    parser.add_argument("--latency", type=float)
    args = parser.parse_args()
    scenario, here = load_scenario(args.scenario), args.scenario.parent
    for tuned, played in (args.traces, args.traces[::-1]):
        found = {}
        for told in TOLD:
            best = tune(over(scenario, tuned, told, args.latency), POLICY, args.trials, here=here, root=args.root)
            contest = Contest(
                over(scenario, played, told, args.latency), (POLICY,), args.seeds, here=here, root=args.root
            )
            found[told] = contest.play(POLICY, best.settings)
            print(f"{played}: {told} {found[told].measures.mean_ms:.2f} ms, tuned over {tuned}: {dict(best.settings)}")
        mean = {told: standing.measures.mean_ms for told, standing in found.items()}
        share = (mean["nominal"] - mean["measured"]) / (mean["nominal"] - mean["known"])
        ratio = "{:.2f} ({:.2f}, {:.2f})".format(*ratio_of(found["measured"].blocks, found["nominal"].blocks))
        print(f"{played}: measured takes {share:.2f} of the gap; measured : constant {ratio}", flush=True)


if __name__ == "__main__":
    main()
