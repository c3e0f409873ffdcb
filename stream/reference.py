"""The reference set: made-up links from a fixed seed, on an artifact's own scale. No packet of a link can change it.

Half of it is rehearsed while a model is refined, so that it forgets little; by the other half a challenger is judged.
"""

from __future__ import annotations

import numpy as np

from inference.artifact import Artifact
from inference.judge import Scored
from inference.sequences import TrainingSequence
from stream.dataset import synthetic_sequences, training_sequences
from stream.normaliser import Normaliser

SEED, LINKS, SECONDS = 20_011, 20, 12.0


def reference_set(artifact: Artifact) -> tuple[list[TrainingSequence], list[Scored]]:
    """Return the rehearsal, and what is judged by."""
    raw = synthetic_sequences(SEED, LINKS, seconds=SECONDS, devices=0)
    scaled, _ = training_sequences(raw, Normaliser.from_state(dict(artifact.normaliser)))
    rehearsal = [each for each in scaled if _link(each) % 2 == 0]
    judged = [each for each in scaled if _link(each) % 2]
    bins = np.cumsum([0, *(len(each.x) + 100 for each in judged)])
    return rehearsal, [
        Scored(each, begin + np.arange(len(each.x), dtype=np.int64)) for begin, each in zip(bins, judged, strict=False)
    ]


def _link(sequence: TrainingSequence) -> int:
    return int(sequence.source.split("#")[0].split(":")[2])
