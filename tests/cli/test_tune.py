"""`offramp tune` and `offramp train --preset FILE` over a data set, and the choices that a manifest's command tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offramp.cli.learning.train import TrainOptions, train
from offramp.cli.learning.tune import TuneOptions, tune
from offramp.errors import ConfigError
from offramp.inference.artifact import load_artifact
from offramp.inference.dataset.dataset import LabelledSeries, save_dataset
from offramp.inference.network import preset as shape
from offramp.inference.network.preset import Preset, load_preset, preset_of
from offramp.stream.channels import CHANNELS
from offramp.stream.learning.preprocessing_options import Imputation, Treatment
from offramp.stream.windows.normaliser import Normaliser

SMALL = Preset(8, 4, 8, 8, 0.0, 1e-6, 2e-3, 4, 2, memory=True, length=64, annealed=True)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    rng = np.random.default_rng(2)
    series = []
    for number, part in enumerate(("train", "train", "validation")):
        x = rng.gamma(2, 0.5, (200, len(CHANNELS))).astype(np.float32)
        x[5, 0] = 400.0
        delay = np.expm1(x[:, [CHANNELS.index("delay_peak")]])
        series.append(LabelledSeries(x, delay, delay[:, 0].copy(), f"{number}@1#link", str(number), part, 7))
    save_dataset(tmp_path / "data", series, channels=CHANNELS, horizons_ms=(500,), bin_ms=10)
    return tmp_path / "data"


@pytest.mark.long
def test_the_best_preset_of_a_search_trains(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(shape.PRESETS, "default", SMALL)
    best, study = tmp_path / "best.toml", tmp_path / "study.sqlite"
    tune(TuneOptions(dataset=dataset, out=best, study=study, trials=1, minutes=5.0, epochs=1))
    assert "trial 1 of 1" in capsys.readouterr().err
    found = load_preset(str(best))
    assert found.memory
    asked = TrainOptions(dataset=dataset, out=tmp_path / "m", preset=str(best), epochs=1)
    train(replace(asked, treatment=Treatment.TRIM, imputation=Imputation.MEDIAN))
    manifest = load_artifact(tmp_path / "m", CHANNELS).manifest
    assert preset_of(manifest) == found
    assert manifest["name"] == "hybrid-best"
    assert manifest["command"].endswith("--thresholds 5,25 --treat trim --impute median")
    limits = Normaliser.from_state(load_artifact(tmp_path / "m").normaliser).limits()
    assert limits.high[0] < 400


def test_a_preset_that_is_none_is_refused_before_anything_is_learned(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--preset nowhere"):
        train(TrainOptions(dataset=dataset, out=tmp_path / "m", preset="nowhere", epochs=1))


def test_the_command_tells_how_to_do_it_again() -> None:
    asked = TrainOptions(files=("a.pcap",), synthetic=3, horizon_ms=100, epochs=1, thresholds="terciles")
    assert asked.command == (
        "offramp train a.pcap --synthetic 3 --horizon 100 --preset default --seed 1 --epochs 1 --thresholds terciles"
    )
    assert TrainOptions(dataset=Path("data")).command.startswith("offramp train --dataset data --preset")
