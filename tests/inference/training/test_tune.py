"""The search for hyperparameters: bounded, resumed, of one data set, and its result is a preset that trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from offramp.errors import ConfigError, OfframpError
from offramp.inference.network.preset import PRESETS, load_preset, preset_toml
from offramp.inference.training.tune import GRID, Bounds, Method, StudyTask, suggested, tune
from tests.support.disks import SmallFiles
from tests.support.training_sequences import META, SCALE, sequences

SMALL = replace(PRESETS["default"], dense=8, spectrum=4, lstm=8, fusion=8)


@pytest.fixture
def task() -> StudyTask:
    made = sequences(4)
    return StudyTask(made[:3], made[3:], SCALE, META, (5.0, 25.0))


@pytest.mark.long
def test_a_study_is_bounded_and_resumed_and_gives_a_preset(
    task: StudyTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRID, "lstm", [8, 12])
    monkeypatch.setitem(GRID, "learning_rate", [1e-3])
    monkeypatch.setitem(GRID, "dropout", [0.0])
    monkeypatch.setitem(GRID, "batch", [4])
    told: list[str] = []
    study = tmp_path / "study.db"
    first = tune(task, SMALL, Method.GRID, Bounds(1, 5, 1), study, told.append)
    assert (first.trials, len(told)) == (1, 1)
    found = tune(task, SMALL, Method.GRID, Bounds(2, 5, 1), study, told.append)
    assert (found.trials, len(told)) == (2, 2)
    assert found.loss <= first.loss
    assert found.preset.dense == SMALL.dense
    again = tune(task, SMALL, Method.GRID, Bounds(2, 5, 1), study, told.append)
    assert again == found
    assert len(told) == 2
    (tmp_path / "best.toml").write_text(preset_toml(found.preset))
    assert load_preset(str(tmp_path / "best.toml")) == found.preset
    with pytest.raises(ConfigError, match="another method"):
        tune(task, SMALL, Method.BAYES, Bounds(2, 5, 1), study, told.append)
    with pytest.raises(ConfigError, match="another data"):
        tune(replace(task, train=task.train[:2]), SMALL, Method.GRID, Bounds(2, 5, 1), study, told.append)


def test_the_bayesian_search_suggests_within_its_bounds(tmp_path: Path) -> None:
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
    for _ in range(20):
        trial = study.ask()
        preset = suggested(trial, SMALL, Method.BAYES)
        assert 0 <= preset.dropout <= 0.4
        assert preset.memory
        assert preset.spectrum == SMALL.spectrum
        study.tell(trial, preset.learning_rate)


@pytest.mark.parametrize(
    ("text", "words"),
    [("lstm = 'x'", "lstm: expected a int"), ("units = 3", "units: there is no such key"), ("lstm", "is no TOML")],
)
def test_a_preset_file_that_does_not_fit_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_preset(str(tmp_path / "p.toml"))
    with pytest.raises(ConfigError, match="neither default nor paper"):
        load_preset("nowhere")


def test_a_study_that_cannot_be_written_is_one_line(task: StudyTask) -> None:
    with pytest.raises(OfframpError, match=r"/proc/nowhere/study\.db: the study cannot be written"):
        tune(task, SMALL, Method.GRID, Bounds(1, 5, 1), Path("/proc/nowhere/study.db"), print)


def test_a_study_on_a_full_disk_is_one_line(task: StudyTask, tmp_path: Path, small_files: SmallFiles) -> None:
    study = tmp_path / "study.db"
    tune(task, SMALL, Method.GRID, Bounds(1, 5, 1), study, lambda _: None)
    small_files.allow(study.stat().st_size // 2)
    with pytest.raises(OfframpError, match="the study cannot be written"):
        tune(task, SMALL, Method.GRID, Bounds(2, 5, 1), study, lambda _: None)
