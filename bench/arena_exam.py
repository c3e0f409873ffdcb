"""The exam of the optimiser: tuned per kind like its rivals, at three paces, on episodes that none was tuned on.

`python -m bench.arena_exam samples/arena/onoff.toml ... [--root DIR]` prints a JSON line a scenario and policy. Paces
are the same trials under other bounds: fast the least mean delay; even the least within the tuned threshold's moves a
minute, and its flaps and 4; calm within its moves (half of them above 40 a minute) and a flap.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_backend
from offramp.stream.arena.comparisons import ratio_of
from offramp.stream.arena.contest import Contest
from offramp.stream.arena.episode import BOUND, Model
from offramp.stream.arena.scenario import load_scenario
from offramp.stream.arena.tuning import Trial, tune

RIVAL, OWN = "threshold", "optimiser-reactive"
MORE_FLAPS, MANY_MOVES = 4.0, 40.0


def chosen(trials: Sequence[Trial], rival: Trial) -> dict[str, Trial | None]:
    """Return the best trial of each pace."""
    calm_moves = rival.moves / 2 if rival.moves > MANY_MOVES else rival.moves
    bounds = {
        "fast": (float("inf"), float("inf")),
        "even": (rival.moves, rival.flaps + MORE_FLAPS),
        "calm": (calm_moves, 1.0),
    }
    return {
        pace: min(
            (each for each in trials if each.moves <= moves and each.flaps <= flaps), key=lambda each: each.mean_ms,
            default=None,
        )
        for pace, (moves, flaps) in bounds.items()
    }  # fmt: skip


def exam(path: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of one scenario."""
    scenario = load_scenario(path)
    artifact = load_artifact(DEFAULT_ARTIFACT)
    model = Model(artifact, open_backend("compiled", artifact))
    if args.latency is not None:
        network = scenario.network.model_copy(update={"command_ms": args.latency})
        scenario = scenario.model_copy(update={"network": network})
    contest = Contest(scenario, (RIVAL,), args.seeds, model=model, here=path.parent, root=args.root)
    best, trials = {}, dict[str, list[Trial]]()
    for policy in ("static", RIVAL, OWN):
        found = trials.setdefault(policy, [])
        best[policy] = tune(
            scenario, policy, args.trials if policy != "static" else min(args.trials, 20), here=path.parent,
            root=args.root, report=found.append,
        )  # fmt: skip
    played = [("none", "none", {}), ("static", "static", best["static"].settings)]
    played.append(("threshold, tuned", RIVAL, best[RIVAL].settings))
    played += [
        (f"optimiser, {pace}, tuned", OWN, trial.settings)
        for pace, trial in chosen(trials[OWN], best[RIVAL]).items()
        if trial is not None
    ]
    played += [("optimiser-reactive, as set", OWN, {}), ("optimiser, as set", "optimiser", {})]
    played += [("shipped, as set", "shipped", {}), (BOUND, BOUND, {})]
    standings = {name: contest.play(policy, settings) for name, policy, settings in played}
    rows = []
    for name, standing in standings.items():
        ratios = {
            other: ratio_of(standing.blocks, standings[other].blocks)
            for other in ("threshold, tuned", "static", "optimiser-reactive, as set")
        }
        rows.append({"scenario": scenario.name, "command_ms": scenario.network.command_ms, "policy": name,
                     "settings": dict(standing.settings), **standing.measures._asdict(), "ratio": ratios})  # fmt: skip
    return rows


def main() -> None:
    """Play the exam."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="+", type=Path)
    parser.add_argument("--root", type=Path, help="the folder that $ROOT/ means in scenarios")
    parser.add_argument("--seeds", type=int, default=30, help="episodes of each scenario (30)")
    parser.add_argument("--trials", type=int, default=140, help="settings that each policy is tuned by (140)")
    parser.add_argument("--latency", type=float, help="ms until a command is carried out; none: the scenario's")
    parser.add_argument("--jobs", type=int, default=2, help="scenarios at a time (2)")
    args = parser.parse_args()
    with ProcessPoolExecutor(args.jobs) as pool:
        for done in as_completed([pool.submit(exam, path, args) for path in args.scenarios]):
            for row in done.result():
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
