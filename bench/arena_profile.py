"""`python -m bench.arena_profile SCENARIO.toml`: where the time of an episode goes, for each policy.

Processor time of one episode, each part without those that it calls. The traffic is made once for all policies, and
the first episode of each is thrown away, as kernels are loaded in it.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from offramp.decision.policies.table import POLICIES, policy_of
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_backend
from offramp.stream.arena import episode
from offramp.stream.arena.clairvoyant import Clairvoyant
from offramp.stream.arena.episode import BOUND, Episode, Model
from offramp.stream.arena.executor import Executor
from offramp.stream.arena.scenario import Scenario, load_scenario
from offramp.stream.pipeline.pipeline import Pipeline

PARTS: dict[str, list[tuple[Any, str]]] = {
    "queues": [(episode, "serve")],
    "bins": [(Episode, "_decide")],
    "counters": [(Episode, "_traffic")],
    "pipeline": [(Pipeline, "decide")],
    "model": [],
    "policy": [],
    "moves": [(Executor, "__post_init__"), (Executor, "take"), (Executor, "expire")],
    "foresight": [(Clairvoyant, "steer")],
}  # fmt: skip
"""Functions of each part; the model's and the policy's are of the classes that are used."""


class Parts:
    """Adds up the time of parts, each without the parts that it calls."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = defaultdict(float)
        self._inner_s = [0.0]

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose time is added to a part."""

        def run(*args: Any, **named: Any) -> Any:
            begun = time.process_time()
            self._inner_s.append(0.0)
            try:
                return function(*args, **named)
            finally:
                whole = time.process_time() - begun
                self.spent_s[part] += whole - self._inner_s.pop()
                self._inner_s[-1] += whole

        return run

    @contextmanager
    def watching(self, scenario: Scenario, policy: str, model: Model) -> Iterator[None]:
        """Time the parts while the body runs."""
        rules = scenario.site.policy.model_copy(update={"name": "none" if policy == BOUND else policy})
        decides = type(policy_of(scenario.site.model_copy(update={"policy": rules})))
        deciding = [(decides, "decide"), (decides, "may_trigger")]
        own: dict[str, list[tuple[Any, str]]] = {"model": [(type(model.predictor), "predict")], "policy": deciding}
        with ExitStack() as stack:
            for part, places in (PARTS | own).items():
                for owner, name in places:
                    stack.enter_context(patch.object(owner, name, self.timed(part, getattr(owner, name))))
            yield


def profile(scenario: Scenario, policy: str, model: Model, here: Path, root: Path | None) -> dict[str, float]:
    """Return the seconds of each part of an episode, and of all of it as `all`."""
    episode.play(scenario, 1, policy, model=model, here=here, root=root)
    parts = Parts()
    with parts.watching(scenario, policy, model):
        begun = time.process_time()
        episode.play(scenario, 1, policy, model=model, here=here, root=root)
        whole = time.process_time() - begun
    return {**parts.spent_s, "all": whole}


def main() -> None:
    """Read the command line and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.arena_profile", description=__doc__)
    parser.add_argument("scenarios", nargs="+", type=Path, help="scenario files (docs/arena.md)")
    parser.add_argument("--root", type=Path, help="the folder that $ROOT/ means in them")
    args = parser.parse_args()
    artifact = load_artifact(DEFAULT_ARTIFACT)
    model = Model(artifact, open_backend("compiled", artifact))
    for path in args.scenarios:
        scenario = load_scenario(path)
        print(f"{scenario.name:<14}{'s a second':>11}{''.join(f'{part:>11}' for part in (*PARTS, 'rest'))}")
        for policy in (*POLICIES, BOUND):
            spent = profile(scenario, policy, model, path.parent, args.root)
            shares = {part: spent.get(part, 0.0) / spent["all"] for part in PARTS}
            shares["rest"] = 1.0 - sum(shares.values())
            told = "".join(f"{share:>11.0%}" for share in shares.values())
            print(f"{policy:<14}{scenario.seconds / spent['all']:>11.0f}{told}", flush=True)


if __name__ == "__main__":
    main()
