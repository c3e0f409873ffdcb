"""Only weights travel: updates are averaged by rows and clipped; strangers are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from offramp.errors import ArtifactError, ConfigError
from offramp.inference.artifact import DEFAULT_ARTIFACT, Artifact, load_artifact
from offramp.inference.network.preset import WEIGHT_NAMES
from offramp.inference.refinement.challenger import blended, norm, refined_artifact
from offramp.inference.refinement.federated import average, federate, updates_of
from tests.support.places import ROOT
from tests.support.training_sequences import series


@pytest.fixture(scope="module")
def base() -> Artifact:
    return load_artifact(DEFAULT_ARTIFACT)


def site(base: Artifact, folder: Path, seed: int, rows: int, step: float = 1e-3) -> tuple[Artifact, Path]:
    rng = np.random.default_rng(seed)
    learned = {
        name: base.weights[name] + step * rng.normal(size=base.weights[name].shape).astype(np.float32)
        for name in WEIGHT_NAMES
    }
    return refined_artifact(base, {**base.weights, **learned}, folder, series(rows), seed, {})


def test_the_average_is_weighted_by_rows(base: Artifact, tmp_path: Path) -> None:
    one, two = (site(base, tmp_path, seed, rows)[0] for seed, rows in ((1, 300), (2, 100)))
    out = federate(base, [one, two], tmp_path / "out", clip_share=1.0)
    for name, array in base.weights.items():
        expected = array + 0.75 * (one.weights[name] - array) + 0.25 * (two.weights[name] - array)
        np.testing.assert_allclose(out.weights[name], expected, atol=1e-6)
    assert out.manifest["federated"]["rows"] == 400
    assert out.manifest["federated"]["base"] == base.sha
    assert load_artifact(tmp_path / "out").sha == out.sha


def test_a_site_that_claims_rows_without_end_is_not_the_average() -> None:
    updates = [{"w": np.full(4, value, np.float32)} for value in (0.0, 0.0, 0.0, 1.0)]
    honest, lying = (float(average(updates, [100, 200, 300, rows], clip=10.0)["w"][0]) for rows in (200, 10**15))
    assert honest == pytest.approx(0.25)
    assert lying == pytest.approx(800 / 1_400)  # of 100, 200, 300 and four times the middle
    alone = average(updates[2:], [5, 10**15], clip=10.0)
    assert float(alone["w"][0]) == pytest.approx(0.8)
    assert float(average(updates[3:], [10**15], clip=10.0)["w"][0]) == 1.0


@pytest.mark.parametrize("rows", [10**400, 1 << 53, -1, "many", True, 0.5, None, [7]])
def test_rows_that_are_none_are_refused(rows: object, base: Artifact, tmp_path: Path) -> None:
    lying = site(base, tmp_path, 1, 100)[0]
    lying.manifest["refined"]["rows"] = rows
    with pytest.raises(ArtifactError, match="tells no rows"):
        updates_of(base, [lying])


def test_weights_that_are_no_numbers_are_refused(base: Artifact, tmp_path: Path) -> None:
    broken = site(base, tmp_path, 1, 100)[0]
    broken.weights["dense1_w"][0, 0] = np.nan
    with pytest.raises(ArtifactError, match="no numbers"):
        updates_of(base, [broken])


def test_no_site_moves_the_model_further_than_its_share_of_the_clip(base: Artifact, tmp_path: Path) -> None:
    honest, hostile = site(base, tmp_path, 1, 100)[0], site(base, tmp_path, 2, 100, step=5.0)[0]
    clip = 0.02
    with_it = federate(base, [honest, hostile], tmp_path / "a", clip_share=clip)
    idle = refined_artifact(base, dict(base.weights), tmp_path, series(100), 3, {})[0]
    without = federate(base, [honest, idle], tmp_path / "b", clip_share=clip)
    moved = norm({name: with_it.weights[name] - without.weights[name] for name in base.weights})
    assert moved <= 0.5 * clip * norm(base.weights) * 1.001


def test_a_second_round_goes_on_from_the_first(base: Artifact, tmp_path: Path) -> None:
    first = federate(base, [site(base, tmp_path, 1, 100)[0]], tmp_path / "first")
    again = site(first, tmp_path, 2, 100)[0]
    second = federate(first, [again], tmp_path / "second")
    assert second.manifest["federated"]["round"] == 2
    nearer = blended(again.weights, base.weights, 0.1)
    refined_twice = refined_artifact(again, nearer, tmp_path, series(9), 3, {})[0]
    federate(first, [refined_twice], tmp_path / "third")  # its base is the first round's model still


def test_strangers_are_refused(base: Artifact, tmp_path: Path) -> None:
    other = federate(base, [site(base, tmp_path, 1, 100)[0]], tmp_path / "other")
    with pytest.raises(ArtifactError, match="was not refined from"):
        federate(other, [site(base, tmp_path, 2, 100)[0]], tmp_path / "x")
    with pytest.raises(ArtifactError, match="was not refined from"):
        federate(base, [base], tmp_path / "x")
    with pytest.raises(ArtifactError, match="tells no rows"):
        federate(base, [site(base, tmp_path, 3, 0)[0]], tmp_path / "x")
    with pytest.raises(ConfigError, match="nothing to average"):
        federate(base, [], tmp_path / "x")


def test_the_command_averages_and_says_what(base: Artifact, tmp_path: Path) -> None:
    folders = [str(site(base, tmp_path / name, seed, 50)[1]) for seed, name in ((1, "a"), (2, "b"))]
    code = "from offramp.cli.commands import main; main()"
    command = [sys.executable, "-c", code, "federate", str(DEFAULT_ARTIFACT), *folders, "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "2 sites, 100 rows, round 1" in done.stdout
    load_artifact(tmp_path / "out")
    bad = subprocess.run([*command, "--clip", "7"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert bad.returncode == 2
    assert "--clip 7" in bad.stderr
