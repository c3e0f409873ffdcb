"""The reference set: synthetic links from a fixed seed, on an artifact's own scale; no packet of a link can change it.

Half of it is rehearsed while a model is refined, so that it forgets little; challengers are scored on the other half.
"""

from __future__ import annotations

import numpy as np

from offramp.inference.artifact import Artifact
from offramp.inference.dataset.sequence import TrainingSequence
from offramp.inference.refinement.paired_test import BLOCK, Scored
from offramp.stream.bins.packets import Packets
from offramp.stream.bins.state import LinkConfig
from offramp.stream.datasets.labelling import Bottleneck, labelled_rows
from offramp.stream.datasets.synthetic import synthetic_packets
from offramp.stream.windows.model_input import model_input
from offramp.stream.windows.normaliser import Normaliser

SEED, LINKS, SECONDS = 20_011, 20, 12.0


def reference_set(artifact: Artifact) -> tuple[list[TrainingSequence], list[Scored]]:
    """Return the half to rehearse, and the half to score on."""
    halves: tuple[list[TrainingSequence], list[TrainingSequence]] = ([], [])
    for number in range(LINKS):
        packets, config = synthetic_packets(np.random.default_rng([SEED, number]), SECONDS)
        halves[number % 2].extend(sequences_of(packets, config, f"reference{number}", artifact))
    judged, start = [], 0
    for each in halves[1]:
        judged.append(Scored(each, start + np.arange(len(each.x), dtype=np.int64)))
        start += len(each.x) + BLOCK  # so that no block has bins of two links
    return halves[0], judged


def sequences_of(
    packets: Packets, config: LinkConfig, name: str, artifact: Artifact, *, devices: int = 0
) -> list[TrainingSequence]:
    """Return the labelled series of a link and its busiest devices, on the artifact's scale, at its horizon."""
    limits = Normaliser.from_state(dict(artifact.normaliser)).limits()
    out = []
    horizon_ms = int(artifact.manifest["horizon_ms"])
    for rows in labelled_rows(packets, Bottleneck(name, config), (horizon_ms,), devices=devices):
        x, spectrum = model_input(rows.x, limits)
        source = f"{name}#device{rows.series}" if rows.series else name
        out.append(TrainingSequence(x, spectrum, np.ascontiguousarray(rows.delay_ms[:, 0]), source))
    return out
