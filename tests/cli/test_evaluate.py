"""`offramp evaluate` from end to end on a small made-up data set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from offramp.inference.baselines.forecaster import Budget
from offramp.inference.dataset.dataset import PARTS, open_dataset
from offramp.inference.evaluation.jobs import Job, stamp_of
from offramp.stream.learning.evaluating import evaluation_data_of
from tests.support.made_datasets import made_dataset
from tests.support.places import ROOT


def offramp(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TZ": "UTC", "OMP_NUM_THREADS": "1"}  # threads of small tables wait more than work
    return subprocess.run(
        [sys.executable, "-m", "offramp", *words], capture_output=True, text=True, check=False, cwd=ROOT,
        env=environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    dataset = made_dataset(folder / "data", links=10, seconds=14)
    assert all(dataset.part(name) for name in PARTS)
    return folder


@pytest.mark.long
def test_a_report_and_what_it_is_made_of(data: Path) -> None:
    words = ["evaluate", str(data / "data"), "-o", str(data / "out"), "--quick", "--no-curves",
             "--models", "boosting", "--models", "persistence", "--models", "ewma"]  # fmt: skip
    done = offramp(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split()[:3] == ["model", "accuracy", "macro"]
    assert "Gradient boosting" in done.stdout
    results = json.loads((data / "out/results.json").read_text())
    assert set(results["models"]) == {"boosting", "persistence", "ewma"}
    for model in results["models"].values():
        for name in ("accuracy", "f1", "mae_ms", "rmse_ms", "ece"):
            assert model["scores"][name]["low"] <= model["scores"][name]["high"]
    page = (data / "out/report.html").read_text()
    figures = sorted((data / "out/figures").glob("*.png"))
    assert {"bars.png", "roc.png", "confusion.png", "reliability.png", "over-time.png"} <= {f.name for f in figures}
    assert page.count("data:image/png;base64,") == len(figures)
    assert "http://" not in page
    assert "https://" not in page
    assert "no file of edge-iiotset" in page.lower()

    again = offramp(*words)
    assert again.returncode == 0, again.stderr
    assert "3 of 3 models kept from before" in again.stderr
    assert again.stdout == done.stdout

    at_once = offramp(*words[:3], str(data / "at-once"), *words[4:], "--jobs", "2")
    assert at_once.returncode == 0, at_once.stderr
    assert "3 of 3 done" in at_once.stderr
    assert at_once.stdout == done.stdout


def test_a_kept_model_is_of_the_input_that_it_was_made_of(data: Path) -> None:
    """Another normaliser or other spectra give other inputs of the same data."""
    world = evaluation_data_of(open_dataset(data / "data"), None, 7, "offramp evaluate")

    def louder(raw: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        x, spectrum = world.transform(raw)
        return x, spectrum * 1.01

    job, task = Job("persistence", 500), world.task(500, Budget())
    assert stamp_of(job, world, task) == stamp_of(job, replace(world), task)
    assert stamp_of(job, world, task) != stamp_of(job, replace(world, transform=louder), task)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "oracle"], "--models oracle: unknown; expected some of hybrid"),
        (["--horizon", "77"], "--horizon 77: the data set has 100, 500, 1000 ms"),
        (["--scale", "0"], "--scale"),
    ],
)
def test_a_wrong_word_is_told_in_one_line(data: Path, words: list[str], said: str) -> None:
    done = offramp("evaluate", str(data / "data"), "-o", str(data / "wrong"), *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
