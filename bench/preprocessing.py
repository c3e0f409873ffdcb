"""The paper's preprocessing choices side by side: one training each, scored on the test part of a data set.

.venv/bin/python -m bench.preprocessing DATASET [--epochs 4] [--every 4]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from offramp.inference.dataset.dataset import LabelledSeries, open_dataset
from offramp.inference.scores import score
from offramp.inference.training.train import train, validate
from offramp.stream.channels import BIN_MS, CHANNELS, SPECTRUM_SIZE
from offramp.stream.learning.preprocessing import fit_scale
from offramp.stream.learning.preprocessing_options import Imputation, Outliers, Preprocessing, Treatment
from offramp.stream.learning.training import sequence_of

HORIZON_MS = 500
THRESHOLDS_MS = (5.0, 25.0)
CHOICES = (
    Preprocessing(),
    Preprocessing(treatment=Treatment.TRIM),
    Preprocessing(outliers=Outliers.ISOLATION_FOREST),
    Preprocessing(outliers=Outliers.ISOLATION_FOREST, treatment=Treatment.TRIM),
    Preprocessing(outliers=Outliers.NONE),
    Preprocessing(imputation=Imputation.MEDIAN),
    Preprocessing(imputation=Imputation.ZERO),
)


def scores(parts: dict[str, list[LabelledSeries]], at: int, choice: Preprocessing, epochs: int) -> dict[str, float]:
    """Return the test scores of the default preset, trained on rows preprocessed as chosen."""
    normaliser, kept = fit_scale([each.x for each in parts["train"]], choice)
    limits = normaliser.limits()
    learn = [sequence_of(each, at, limits, mask) for each, mask in zip(parts["train"], kept, strict=True)]
    held, test = ([sequence_of(each, at, limits) for each in parts[name]] for name in ("validation", "test"))
    meta = {
        "name": "compared", "channels": list(CHANNELS), "spectrum_size": SPECTRUM_SIZE, "bin_ms": BIN_MS,
        "horizon_ms": HORIZON_MS, "command": "bench.preprocessing",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        train(
            learn, normaliser.state(), Path(folder), meta, epochs=epochs, thresholds_ms=THRESHOLDS_MS, validation=held
        )
        return score(*validate(Path(folder), test), THRESHOLDS_MS)


def main() -> None:
    """Print one row a choice."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("dataset", type=Path)
    options.add_argument("--epochs", type=int, default=4)
    options.add_argument("--every", type=int, default=4, help="learn from every n-th series of the training part")
    asked = options.parse_args()
    found = open_dataset(asked.dataset)
    at = found.horizons_ms.index(HORIZON_MS)
    parts = {name: list(found.part(name)) for name in ("train", "validation", "test")}
    parts["train"] = parts["train"][:: asked.every]
    print(f"{'outliers':<18} {'treatment':<10} {'missing':<8} {'accuracy':>8} {'macro F1':>8} {'MAE ms':>7}")
    for choice in CHOICES:
        got = scores(parts, at, choice, asked.epochs)
        print(
            f"{choice.outliers:<18} {choice.treatment:<10} {choice.imputation:<8} {got['accuracy']:8.4f} "
            f"{got['macro_f1']:8.4f} {got['mae_ms']:7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
