"""The preprocessing choices: what they find, what they do with it, and that serving needs to know none of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from offramp.stream.learning.preprocessing import fit_scale
from offramp.stream.learning.preprocessing_options import Imputation, Outliers, Preprocessing, Treatment
from offramp.stream.windows.normaliser import Normaliser

ALL = [Preprocessing(*each) for each in itertools.product(Outliers, Treatment, Imputation)]


def rows() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    parts = [rng.gamma(4, 0.25, (1_000, 3)).astype(np.float32) for _ in range(2)]
    parts[0][rng.random(1_000) < 0.2, 2] = np.nan
    parts[1][7] = 90.0
    return parts


@pytest.mark.parametrize("choice", ALL, ids=lambda each: "-".join(each.words) or "own")
def test_every_choice_scales_to_0_and_1_and_survives_the_artifact(choice: Preprocessing) -> None:
    normaliser, kept = fit_scale(rows(), choice)
    again = Normaliser.from_state(normaliser.state())
    for part, mask in zip(rows(), kept, strict=True):
        found = normaliser.transform(part)
        assert found.min() >= 0
        assert found.max() <= 1
        assert np.array_equal(again.transform(part), found)
        assert mask.shape == (len(part),)
    trims = choice.treatment is Treatment.TRIM and choice.outliers is not Outliers.NONE
    assert bool(kept[1][7]) is not trims
    assert all(mask.mean() > 0.95 for mask in kept)
    if choice.outliers is Outliers.NONE:
        assert normaliser.limits().high[0] == 90.0
    else:
        assert normaliser.limits().high[0] < 90.0


def test_what_stands_in_for_a_missing_value() -> None:
    found = {each: fit_scale(rows(), Preprocessing(imputation=each))[0].limits().mean[2] for each in Imputation}
    values = np.concatenate([part[:, 2] for part in rows()])
    assert found[Imputation.ZERO] == 0
    assert found[Imputation.MEAN] == pytest.approx(np.nanmean(values), rel=1e-5)
    assert found[Imputation.MEDIAN] == pytest.approx(np.nanmedian(values), rel=0.06)


def test_the_streams_own_choice_is_the_running_normaliser() -> None:
    own = Normaliser(3)
    for part in rows():
        own.update(part)
    normaliser, _ = fit_scale(rows(), Preprocessing())
    for mine, theirs in zip(normaliser.limits(), own.limits(), strict=True):
        assert np.array_equal(mine, theirs)


def test_more_to_learn_from_gives_up_the_choice() -> None:
    normaliser, _ = fit_scale(rows(), Preprocessing(outliers=Outliers.NONE))
    chosen = normaliser.limits()
    normaliser.update(rows()[0])
    assert normaliser.limits().high[0] < chosen.high[0]
