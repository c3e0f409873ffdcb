"""`python -m bench.federated`: cloud, edge, federated: what refinement brings, on sites that pre-training never saw.

The shipped model is the cloud's. Each site refines it on its own traffic (isolated); or in rounds in which only weights
travel (federated); or refines the federated model once more (federated, then edge). All are scored on later traffic of
the sites that take part, and on sites that do not. Loss: class cross-entropy and quantile loss, as in the paired test.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.sites import HELD_OUT, TAKING_PART
from offramp.inference.artifact import DEFAULT_ARTIFACT, Artifact, load_artifact
from offramp.inference.dataset.sequence import TrainingSequence
from offramp.inference.forecast import Prediction
from offramp.inference.refinement.challenger import ChallengerJob, refine_weights, refined_artifact
from offramp.inference.refinement.federated import federate
from offramp.inference.refinement.paired_test import row_losses
from offramp.inference.scores import score
from offramp.inference.serving.compiled import CompiledPredictor
from offramp.stream.refine.reference_set import reference_set

Data = list[list[TrainingSequence]]
HEAD = f"{'':<28}" + "".join(f"{name:>21}" for name in ("own site, later", "other sites", "sites held out")) + "\n" + (
    f"{'model':<28}" + 3 * f"{'loss':>7}{'F1':>7}{'MAE':>7}"
)  # fmt: skip


class Federation:
    """The sites' data, and the ways to learn from it."""

    def __init__(self, folder: Path, seconds: float, rounds: int, epochs: int) -> None:
        self.base, self.folder, self.rounds, self.epochs = load_artifact(DEFAULT_ARTIFACT), folder, rounds, epochs
        self.learn: Data = [site.traffic(1, seconds, self.base) for site in TAKING_PART]
        self.later: Data = [site.traffic(2, seconds, self.base) for site in TAKING_PART]
        self.held: Data = [site.traffic(2, seconds, self.base) for site in HELD_OUT]
        self.rehearsal, _ = reference_set(self.base)

    def refined(self, parent: Artifact, site: int, seed: int) -> Artifact:
        """Return an artifact refined on a site's own traffic."""
        own = self.learn[site]
        weights = refine_weights(ChallengerJob(parent.weights, parent.manifest, own, self.rehearsal, seed, self.epochs))
        return refined_artifact(parent, weights, self.folder, own, seed, {"site": TAKING_PART[site].name})[0]

    def isolated(self, site: int) -> Artifact:
        """Return what a site makes of the base alone, in as many rounds."""
        artifact = self.base
        for number in range(self.rounds):
            artifact = self.refined(artifact, site, number + 1)
        return artifact

    def federated(self) -> Artifact:
        """Return what the sites make of the base together."""
        artifact = self.base
        for number in range(self.rounds):
            sites = [self.refined(artifact, site, number + 1) for site in range(len(self.learn))]
            artifact = federate(artifact, sites, self.folder / f"round{number}")
        return artifact

    def scores(self, models: Sequence[Artifact]) -> dict[str, dict[str, float]]:
        """Return the scores of the sites' models: each on its own site, on the others, and on the sites held out."""
        own, others, held = [], [], []
        for place, model in enumerate(models):
            predictor = CompiledPredictor(model)
            found = [scored(predictor, data) for data in self.later]
            own.append(found[place])
            others += [each for k, each in enumerate(found) if k != place]
            held += [scored(predictor, data) for data in self.held]
        return {name: mean(rows) for name, rows in (("own", own), ("others", others), ("held_out", held))}


def scored(predictor: CompiledPredictor, data: Sequence[TrainingSequence]) -> dict[str, float]:
    """Return loss, macro F1 and the median's mean absolute error of a model on a site."""
    parts = []
    for sequence in data:
        state = np.zeros((1, predictor.state_size), np.float32)
        found = predictor.predict(sequence.x, sequence.spectrum, np.zeros(len(sequence.x), np.int32), state)
        known = ~np.isnan(sequence.label_ms)
        parts.append((sequence.label_ms[known], found.probabilities[known], found.quantiles_ms[known]))
    delay, probabilities, quantiles = (np.concatenate(column) for column in zip(*parts, strict=True))
    loss = row_losses(delay, Prediction(probabilities, quantiles), predictor.thresholds_ms).mean()
    scores = score(delay, probabilities, quantiles, delay, predictor.thresholds_ms)
    return {"loss": float(loss), "macro_f1": scores["macro_f1"], "mae_ms": scores["mae_ms"]}


def mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of scores over sites."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def line(name: str, scores: dict[str, dict[str, float]]) -> str:
    """Return a row of the table."""
    cells = "".join(f"{s['loss']:>7.3f}{s['macro_f1']:>7.3f}{s['mae_ms']:>7.2f}" for s in scores.values())
    return f"{name:<28}{cells}"


def main() -> int:
    """Run the comparison and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.federated", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=90.0, help="traffic of each site, to learn and to score")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="of each round at each site")
    parser.add_argument("--json", type=Path, help="write the scores to this file too")
    asked = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        scores = compared(Federation(Path(folder), asked.seconds, asked.rounds, asked.epochs))
    print(f"{len(TAKING_PART)} sites take part, {len(HELD_OUT)} do not; {time.monotonic() - start:.0f} s")
    if asked.json:
        asked.json.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    return 0


def compared(sites: Federation) -> dict[str, Any]:
    """Print a row for each way to learn, and return their scores."""
    count, out = len(sites.learn), {}
    together = sites.federated()
    ways: list[tuple[str, Callable[[], list[Artifact]]]] = [
        ("pre-trained (cloud)", lambda: [sites.base] * count),
        ("isolated (edge)", lambda: [sites.isolated(site) for site in range(count)]),
        ("federated", lambda: [together] * count),
        ("federated, then edge", lambda: [sites.refined(together, site, 9) for site in range(count)]),
    ]
    print(HEAD)
    for name, models in ways:
        out[name] = sites.scores(models())
        print(line(name, out[name]), flush=True)
    return out


if __name__ == "__main__":
    sys.exit(main())
