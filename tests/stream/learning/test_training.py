"""What `offramp train` learns from: a data set's parts, or files and synthetic links built the same way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offramp.errors import ConfigError, InputError
from offramp.inference.dataset.dataset import save_dataset
from offramp.inference.dataset.sequence import TrainingSequence
from offramp.stream.channels import CHANNELS, SPECTRUM_SIZE
from offramp.stream.datasets.build import build_series
from offramp.stream.learning.training import Material, balanced, labelled, prepared, spec_of
from tests.support.captures import conversation, random_times, write

NOTHING = Material()


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> str:
    rng = np.random.default_rng(3)
    few = conversation(rng, 200)
    path = tmp_path_factory.mktemp("training") / "one.pcap"
    return str(write(path, [few[i] for i in rng.integers(0, 200, 3_000)], random_times(rng, 3_000)))


def test_one_capture_trains_and_validates(capture: str) -> None:
    series, at = labelled(replace(NOTHING, files=(capture,)))
    fit, held, normaliser = prepared(series, at)
    assert {s.source.split("@")[0] for s in fit} == {"capture/one.pcap:train"}
    assert {s.source.split("@")[0] for s in held} == {"capture/one.pcap:validation"}
    assert {s.source.split("@")[1].split("#")[0] for s in fit} == {"100Mbit", "0.35", "0.7", "0.95", "1.3"}
    for sequence in (*fit, *held):
        assert sequence.x.shape == (len(sequence.label_ms), len(CHANNELS))
        assert sequence.spectrum.shape == (len(sequence.x), SPECTRUM_SIZE)
        assert not np.isnan(sequence.x).any()
    assert normaliser["count"].sum() + normaliser["missing"].sum() == sum(s.x.size for s in fit), "of training alone"


def test_many_files_and_synthetic_links_are_held_out_whole() -> None:
    spec = spec_of(replace(NOTHING, files=("a.pcap", "b.pcap", "c.pcap", "d.pcap", "e.pcap", "t.txt"), synthetic=10))
    assert [(source.name, source.split and source.split.by) for source in spec.sources] == [
        ("synthetic", "origin"), ("capture", "origin"), ("trace", "time"),
    ]  # fmt: skip
    found = build_series(spec_of(replace(NOTHING, synthetic=5)), Path())
    assert {series.part for series in found.series} == {"train", "validation"}


def test_a_data_set_is_taken_as_it_is_at_the_horizon_asked_for(tmp_path: Path) -> None:
    options = replace(NOTHING, synthetic=5)
    built = build_series(spec_of(options).model_copy(update={"horizons_ms": (100, 500)}), Path()).series
    save_dataset(tmp_path, built, channels=CHANNELS, horizons_ms=(100, 500), bin_ms=10)
    series, at = labelled(replace(NOTHING, dataset=tmp_path, horizon_ms=100))
    assert at == 0
    fit, _, _ = prepared(series, at)
    np.testing.assert_array_equal(fit[0].label_ms, next(s for s in built if s.part == "train").delay_ms[:, 0])
    with pytest.raises(ConfigError, match=r"--horizon 200: the data set has \[100, 500\]"):
        labelled(replace(NOTHING, dataset=tmp_path, horizon_ms=200))
    with pytest.raises(ConfigError, match="--dataset: holds what there is"):
        labelled(replace(options, dataset=tmp_path))
    save_dataset(tmp_path, built, channels=("x",) * len(CHANNELS), horizons_ms=(100, 500), bin_ms=10)
    with pytest.raises(ConfigError, match="other channels"):
        labelled(replace(NOTHING, dataset=tmp_path))


def test_nothing_to_learn_from_is_said(capture: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        spec_of(NOTHING)
    with pytest.raises(InputError, match=r"no series of 64 bins .* give longer captures"):
        prepared([], 0)
    with pytest.raises(InputError, match=r"gone\.pcap: no such file"):
        labelled(replace(NOTHING, files=(str(tmp_path / "gone.pcap"),)))


def test_a_rare_kind_of_source_weighs_more_and_the_mean_weight_is_one() -> None:
    def bins(count: int, source: str) -> TrainingSequence:
        delay = np.ones(count + 1, np.float32)
        delay[-1] = np.nan
        x = np.zeros((count + 1, len(CHANNELS)), np.float32)
        return TrainingSequence(x, np.zeros((count + 1, SPECTRUM_SIZE), np.float32), delay, source)

    kinds = {"made/1": "made", "made/2": "made", "a@b.pcap": "lab"}
    found = balanced([bins(450, "made/1@own#link"), bins(450, "made/2@own"), bins(100, "a@b.pcap@0.5#::1")], kinds)
    assert found[0].weight == found[1].weight == pytest.approx(found[2].weight / 3)
    total = sum(each.weight * np.count_nonzero(~np.isnan(each.label_ms)) for each in found)
    assert total == pytest.approx(1000)
