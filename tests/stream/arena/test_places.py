"""Several links in an episode: each with its own policy, and one queue for what they share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from offramp.errors import ConfigError
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_backend
from offramp.stream.arena.episode import Model, play
from offramp.stream.arena.places import enforcing, numbers_of
from offramp.stream.arena.scenario import Scenario, load_scenario
from offramp.stream.arena.traffic import arrivals_of
from offramp.stream.bins.virtual_queue import virtual_delays_ms
from tests.support.places import ROOT

TWO = """
name = "two"
seconds = 6

[[site.links]]
name = "east"
capacity = "8 Mbit/s"
buffer_bytes = 100_000
devices = ["10.0.0.0/24"]
[[site.links.paths]]
name = "lte"
capacity = "6 Mbit/s"
delay_ms = 5

[[site.links]]
name = "west"
capacity = "4 Mbit/s"
buffer_bytes = 50_000
devices = ["10.1.0.0/24"]
[[site.links.paths]]
name = "dsl"
capacity = "2 Mbit/s"
delay_ms = 9
[[site.links.paths]]
name = "lte"
capacity = "6 Mbit/s"
delay_ms = 5

[site.limits]
moves = 50

[[traffic]]
model = "jobs"
count = 5
share = 0.8

[[traffic]]
model = "jobs"
count = 5
share = 0.8
link = "west"

[[traffic]]
model = "sensors"
count = 2
link = "west"
"""


def load(tmp_path: Path, text: str = TWO) -> Scenario:
    path = tmp_path / "two.toml"
    path.write_text(text)
    return load_scenario(path)


def test_a_place_is_numbered_once(tmp_path: Path) -> None:
    assert numbers_of(load(tmp_path).site) == {"east": 0, "west": 1, "lte": 2, "dsl": 3}


def test_each_link_has_its_own_traffic_and_queue(tmp_path: Path) -> None:
    one = load(tmp_path)
    arrivals, found = arrivals_of(one, 1, Path(), None), play(one, 1, "none")
    link = arrivals.link[arrivals.flow]
    assert set(link.tolist()) == {0, 1}
    assert (found.place == link).all()
    for number, each in enumerate(one.site.links):
        devices = {arrivals.flow_rate(int(which), 0).src for which in np.flatnonzero(arrivals.link == number)}
        assert {text.rpartition(".")[0] for text in devices} <= {f"10.{number}.0", "192.0.2"}
        own = (link == number) & ~arrivals.down[arrivals.flow]
        wanted = virtual_delays_ms(
            found.time_ns[own], found.size[own], capacity_bps=each.capacity_bps, buffer_bytes=each.buffer_bytes
        )
        sent = found.size[own] * 8e3 / each.capacity_bps
        np.testing.assert_allclose(found.delay_ms[own] - sent - one.network.delay_ms, wanted, atol=1e-6)
    assert (arrivals.down[arrivals.link == 1]).any(), "what comes down to the devices of the second link"


def test_links_fill_one_queue_of_a_path_that_they_share(tmp_path: Path) -> None:
    one = load(tmp_path)
    arrivals, found = arrivals_of(one, 1, Path(), None), play(one, 1, "threshold")
    shared = found.place == 2
    assert set(arrivals.link[arrivals.flow[shared]].tolist()) == {0, 1}
    wanted = virtual_delays_ms(found.time_ns[shared], found.size[shared], capacity_bps=6e6, buffer_bytes=75_000)
    np.testing.assert_allclose(found.delay_ms[shared] - found.size[shared] * 8e3 / 6e6 - 5.0, wanted, atol=1e-6)


def test_each_link_is_decided_for_by_itself(tmp_path: Path) -> None:
    one = load(tmp_path)
    found, again = play(one, 1, "threshold"), play(one, 1, "threshold")
    assert [each.to_json() for each in found.commands] == [each.to_json() for each in again.commands]
    assert {each.scope for each in found.commands} == {"link:east", "link:west"}
    arrivals = arrivals_of(one, 1, Path(), None)
    reached = {0: {0, 2}, 1: {1, 2, 3}}
    for number, places in reached.items():
        assert set(found.place[arrivals.link[arrivals.flow] == number].tolist()) <= places
    for command in found.commands:
        for match in command.action.get("flows", ()):
            assert match["ipv4_src"].startswith("10.0." if command.scope == "link:east" else "10.1.")


@pytest.mark.parametrize("policy", ["static", "clairvoyant"])
def test_flows_take_only_places_of_their_link(tmp_path: Path, policy: str) -> None:
    text = TWO.replace('name = "dsl"\ncapacity = "2', 'name = "dsl"\ncapacity = "20')
    one = load(tmp_path, text)
    arrivals, found = arrivals_of(one, 1, Path(), None), play(one, 1, policy)
    link = arrivals.link[arrivals.flow]
    assert set(found.place[link == 0].tolist()) == {0, 2}
    assert {1} < set(found.place[link == 1].tolist()) <= {1, 2, 3}


@pytest.mark.parametrize("tap", ["before", "after"])
def test_the_product_watches_each_link(tmp_path: Path, tap: str) -> None:
    artifact = load_artifact(DEFAULT_ARTIFACT)
    one = load(tmp_path, f'{TWO}[network]\ntap = "{tap}"\n')
    found = play(one, 1, "shipped", model=Model(artifact, open_backend("compiled", artifact)))
    assert {each.scope for each in found.commands} == {"link:east", "link:west"}


def test_the_same_addresses_on_two_links_are_flows_of_their_own(tmp_path: Path) -> None:
    capture = str(ROOT / "samples/demo.pcap.zst")
    source = f'[[traffic]]\nmodel = "capture"\nfile = "{capture}"\n'
    text = TWO.partition("[[traffic]]")[0]
    alone = arrivals_of(load(tmp_path, text + source), 1, Path(), None)
    both = arrivals_of(load(tmp_path, f'{text}{source}{source}link = "west"\n'), 1, Path(), None)
    assert len(both.link) == 2 * len(alone.link)
    assert np.bincount(both.link).tolist() == [len(alone.link)] * 2


def test_capacities_of_all_links_are_scaled_by_the_traffic_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "times.txt").write_text("\n".join(f"{at / 1000} 986" for at in range(10_000)))
    source = '[[traffic]]\nmodel = "packet_times"\nfile = "times.txt"\n'
    text = f'{TWO.partition("[[traffic]]")[0]}{source}{source}link = "west"\n[network]\nload = 0.5\n'
    one = load(tmp_path, text)
    arrivals = arrivals_of(one, 1, tmp_path, None)
    assert arrivals.scale == pytest.approx(2.0)
    site = enforcing(one, "none", arrivals.scale)
    assert [link.capacity_bps for link in site.links] == pytest.approx([16e6, 8e6])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('link = "west"', 'link = "north"', "expected a link of the site (east, west); found 'north'"),
        ('capacity = "6 Mbit/s"', 'capacity = "7 Mbit/s"', "'lte' of the links 'east' and 'west' is one place"),
        ("[[site.links.paths]]\nname = \"dsl\"", "[[site.links.nodes]]\nname = \"lte\"", "two of its paths and nodes"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_links_is_one_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, TWO.replace(old, new, 1))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
