"""Episodes: repeatable, the loop closed, policies compared on the same packets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_backend
from offramp.stream.arena.episode import Model, Outcome, play
from offramp.stream.arena.measures import difference, measures
from offramp.stream.arena.scenario import Scenario, load_scenario
from offramp.stream.arena.traffic import arrivals_of
from offramp.stream.arena.tuning import Trial, tune, with_settings
from offramp.stream.bins.virtual_queue import virtual_delays_ms
from tests.support.places import ROOT
from tests.support.tapped import tapped

JOBS = ROOT / "samples/arena/jobs.toml"
SEEDS = range(1, 5)
HOW: tuple[dict[str, float], ...] = ({}, {"command_ms": 1_500.0}, {"command_loss": 0.9})


def scenario(name: str = "jobs", **network: object) -> Scenario:
    found = load_scenario(ROOT / f"samples/arena/{name}.toml")
    return found.model_copy(update={"network": found.network.model_copy(update=network)})


def played(one: Scenario, policy: str, model: Model | None = None) -> list[Outcome]:
    return [play(one, seed, policy, model=model, here=JOBS.parent) for seed in SEEDS]


@pytest.fixture(scope="module")
def model() -> Model:
    artifact = load_artifact(DEFAULT_ARTIFACT)
    return Model(artifact, open_backend("compiled", artifact))


def test_without_a_policy_each_direction_is_its_virtual_queue() -> None:
    one = scenario()
    found = play(one, 1, "none")
    arrivals = arrivals_of(one, 1, Path(), None)
    for down in (False, True):
        own = arrivals.down[arrivals.flow] == down
        wanted = virtual_delays_ms(found.time_ns[own], found.size[own], capacity_bps=8e6, buffer_bytes=100_000)
        sent = found.size[own] * 8e3 / 8e6
        np.testing.assert_allclose(found.delay_ms[own] - sent - one.network.delay_ms, wanted, atol=1e-6)
    assert found.counts.commands == 0
    assert set(found.place) == {0}


def test_a_threshold_wins_by_moving_and_gives_everything_back() -> None:
    one = scenario()
    none, threshold = played(one, "none"), played(one, "threshold")
    gain, low, high = difference(threshold, none, one.network.lost_ms)
    assert low <= gain <= high < 0, (gain, low, high)
    assert all((before.time_ns == after.time_ns).all() for before, after in zip(none, threshold, strict=True))
    counts = [each.counts for each in threshold]
    assert all(each.moved > 0 for each in counts)
    assert all(each.returned <= each.moved <= each.returned + 3 for each in counts)
    assert all(each.refused == each.lost == 0 for each in counts)
    found = measures(threshold, one.network.lost_ms, one.link.budget_ms)
    assert found.low_ms <= found.mean_ms <= found.high_ms <= measures(none, 200, 25).mean_ms


def test_the_same_seed_is_the_same_episode() -> None:
    one = scenario(command_loss=0.3)
    first, again = (play(one, 3, "threshold") for _ in range(2))
    assert [each.to_json() for each in first.commands] == [each.to_json() for each in again.commands]
    np.testing.assert_array_equal(first.delay_ms, again.delay_ms)
    assert first.counts == again.counts
    assert first.counts.lost > 0


def test_slow_commands_and_lost_ones_cost() -> None:
    quick, slow, lossy = (measures(played(scenario("jobs", **how), "threshold"), 200, 25).mean_ms for how in HOW)
    assert quick < slow
    assert quick < lossy


def test_a_move_that_nobody_renews_ends_by_itself() -> None:
    one = with_settings(scenario(), "threshold", {"exit_s": 60.0})
    rules = one.site.policy.model_copy(update={"expiry_s": 1.0})
    one = one.model_copy(update={"site": one.site.model_copy(update={"policy": rules})})
    one = one.model_copy(update={"network": one.network.model_copy(update={"command_loss": 0.7})})
    found = [each.counts for each in played(one, "threshold")]
    assert sum(each.expired for each in found) > 0


REACTING = """
name = "reacting"
seconds = 8
[[site.links]]
name = "a"
capacity = "8 Mbit/s"
buffer_bytes = 60_000
devices = ["10.0.0.0/24"]
[[site.links.paths]]
name = "b"
capacity = "20 Mbit/s"
delay_ms = 5
[[traffic]]
model = "sensors"
[[traffic]]
model = "tcp_files"
count = 4
direction = "up"
size_bytes = 3_000_000
[[traffic]]
model = "tcp_pages"
count = 4
[[traffic]]
model = "video"
count = 2
"""


@pytest.fixture
def reacting(tmp_path: Path) -> Scenario:
    (tmp_path / "a.toml").write_text(REACTING)
    return load_scenario(tmp_path / "a.toml")


@pytest.mark.parametrize("policy", ["none", "static", "threshold", "shipped", "clairvoyant"])
@pytest.mark.parametrize("tap", ["after", "before"])
def test_what_reacts_is_seen_and_moved(reacting: Scenario, model: Model, policy: str, tap: str) -> None:
    one = tapped(reacting, tap)
    found = play(one, 1, policy, model=model)
    again = play(one, 1, policy, model=model)
    np.testing.assert_array_equal(found.delay_ms, again.delay_ms)
    assert [each.to_json() for each in found.commands] == [each.to_json() for each in again.commands]
    assert (np.diff(found.time_ns) >= 0).all()
    assert found.classes == ("sensors", "tcp_files", "tcp_pages", "video")
    assert set(found.kind[found.flow].tolist()) == {0, 1, 2, 3}
    own = found.kind[found.flow] > 0
    if policy in ("static", "threshold", "shipped"):
        assert set(found.place[own].tolist()) == {0, 1}
    if policy in ("threshold", "shipped"):
        assert found.counts.moved > 0


def test_the_bound_foresees_those_who_react(reacting: Scenario) -> None:
    """Knowing of the open loop alone it moved nothing here."""
    found, lost_ms = {name: play(reacting, 1, name) for name in ("none", "static", "threshold", "clairvoyant")}, 200.0
    means = {name: each.mean_ms(lost_ms) for name, each in found.items()}
    assert found["clairvoyant"].counts.moved > 0
    assert min(means, key=lambda name: means[name]) == "clairvoyant", means


def test_room_is_filled_by_those_who_react(reacting: Scenario) -> None:
    """Who carries transfers over two ways gets more of them through: with the open loop's, the bytes are the same."""
    none, threshold = (play(reacting, 1, policy) for policy in ("none", "threshold"))
    came = [float(each.size[~np.isnan(each.delay_ms)].sum()) for each in (none, threshold)]
    assert came[1] > 1.1 * came[0]


@pytest.mark.parametrize("loss", [0.02, 0.2])
def test_packets_of_the_open_loop_get_lost_at_random(loss: float) -> None:
    plain, lossy = (play(scenario("web", loss=each), 1, "none") for each in (0.0, loss))
    np.testing.assert_array_equal(plain.time_ns, lossy.time_ns)
    there = ~np.isnan(plain.delay_ms)
    lost = np.isnan(lossy.delay_ms[there])
    assert lost.mean() == pytest.approx(loss, rel=0.2)
    np.testing.assert_array_equal(lossy.delay_ms[there][~lost], plain.delay_ms[there][~lost])


@pytest.mark.parametrize("tap", ["after", "before"])
def test_the_product_itself_is_in_the_loop(model: Model, tap: str) -> None:
    one = tapped(scenario("onoff"), tap).model_copy(update={"seconds": 8.0})
    found = play(one, 2, "shipped", model=model)
    again = play(one, 2, "shipped", model=model)
    assert [each.to_json() for each in found.commands] == [each.to_json() for each in again.commands]
    assert found.counts.moved > 0
    assert {each.phase for each in found.commands} >= {"onset"}
    assert all(each.mode == "enforce" for each in found.commands)
    assert len(set(found.place)) > 1


@pytest.mark.parametrize("name", ["jobs", "bulk", "full", "plant", "flood"])
def test_no_policy_is_surely_better_than_who_knows_what_comes(name: str) -> None:
    one = scenario(name).model_copy(update={"seconds": 10.0 if name in ("full", "plant", "flood") else 30.0})
    bound, none = played(one, "clairvoyant"), played(one, "none")
    assert difference(bound, none, one.network.lost_ms)[2] < 0
    for policy in ("static", "threshold"):
        assert difference(played(one, policy), bound, one.network.lost_ms)[2] > 0, policy
    assert all(each.counts.moved >= each.counts.returned > 0 for each in bound)


def test_a_static_split_moves_a_share_from_the_first_packet_on() -> None:
    found = play(scenario("web"), 1, "static")
    share = float((found.place == 1).mean())
    assert 0.1 < share < 0.5
    assert found.counts.commands == 0


def test_tuning_takes_the_best_of_its_trials_on_seeds_of_its_own() -> None:
    one = scenario("jobs").model_copy(update={"seconds": 6.0})
    trials: list[Trial] = []
    best = tune(one, "threshold", 6, report=trials.append)
    assert len(trials) == 6
    assert best.mean_ms == min(trial.mean_ms for trial in trials)
    assert trials[0].settings == {}
    assert tune(one, "threshold", 6).settings == best.settings
    assert tune(one, "none", 6).settings == {}


def test_a_bin_is_congested_where_a_watched_link_is_over_its_own_budget() -> None:
    one = scenario()
    found = play(one, 1, "none")
    peak_ms = np.zeros(len(found.congested))
    waits = found.delay_ms - one.network.delay_ms
    np.maximum.at(peak_ms, found.time_ns // 10_000_000, waits)
    np.testing.assert_allclose(found.queue_ms[:, 0], peak_ms, rtol=1e-6)
    assert 0 < found.congested.sum() < len(found.congested)
    np.testing.assert_array_equal(found.congested, found.queue_ms[:, 0] > one.link.budget_ms)
