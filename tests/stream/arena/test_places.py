"""Several links in an episode: each with its own policy, and one queue for what they share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from offramp.errors import ConfigError
from offramp.inference.artifact import DEFAULT_ARTIFACT, load_artifact
from offramp.inference.serving.table import open_backend
from offramp.stream.arena.episode import Model, play
from offramp.stream.arena.places import enforcing, numbers_of, outages_of
from offramp.stream.arena.scenario import Scenario, load_scenario
from offramp.stream.arena.traffic import arrivals_of
from offramp.stream.bins.virtual_queue import virtual_delays_ms
from tests.support.places import ROOT
from tests.support.tapped import tapped

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
    one = tapped(load(tmp_path, TWO), tap)
    found = play(one, 1, "shipped", model=Model(artifact, open_backend("compiled", artifact)))
    assert {each.scope for each in found.commands} == {"link:east", "link:west"}


@pytest.mark.parametrize("told", ['name = "west"', 'name = "over there"\nlink = "west"'])
def test_a_path_that_is_a_link_is_that_link(tmp_path: Path, told: str) -> None:
    text = TWO.replace('name = "lte"\ncapacity = "6 Mbit/s"\ndelay_ms = 5', f'{told}\ncapacity = "4 Mbit/s"', 1)
    one = load(tmp_path, text)
    arrivals, found = arrivals_of(one, 1, Path(), None), play(one, 1, "static")
    there, up = found.place == 1, ~arrivals.down[arrivals.flow]
    assert set(arrivals.link[arrivals.flow[there]].tolist()) == {0, 1}
    wanted = virtual_delays_ms(found.time_ns[there & up], found.size[there & up], capacity_bps=4e6, buffer_bytes=50_000)
    sent = found.size[there & up] * 8e3 / 4e6
    np.testing.assert_allclose(found.delay_ms[there & up] - sent - one.network.delay_ms, wanted, atol=1e-6)


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
        ('capacity = "6 Mbit/s"', 'capacity = "7 Mbit/s"', "have 'lte' of two kinds or capacities"),
        ("[[site.links.paths]]\nname = \"dsl\"", "[[site.links.nodes]]\nname = \"lte\"", "two of its paths and nodes"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_links_is_one_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, TWO.replace(old, new, 1))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


ONE = """
name = "one"
seconds = 6
[[site.links]]
name = "a"
capacity = "8 Mbit/s"
buffer_bytes = 100_000
devices = ["10.0.0.0/24"]
[[site.links.paths]]
name = "b"
capacity = "6 Mbit/s"
[[site.links.nodes]]
name = "edge"
[[traffic]]
model = "sensors"
count = 20
"""


def test_a_place_sends_nothing_in_an_outage(tmp_path: Path) -> None:
    text = f'{ONE}[[network.outages]]\nplace = "a"\nfrom_s = 2\nseconds = 1.5\n'
    found, usual = play(load(tmp_path, text), 1, "none"), play(load(tmp_path, ONE), 1, "none")
    left_s = (found.time_ns + found.delay_ms * 1e6 - 1e6) / 1e9
    assert not ((left_s > 2.000_001) & (left_s < 3.5)).any()
    inside = (found.time_ns >= 2e9) & (found.time_ns < 3.5e9)
    assert (found.delay_ms[inside] > usual.delay_ms[inside]).all()
    np.testing.assert_array_equal(found.delay_ms[found.time_ns < 2e9], usual.delay_ms[usual.time_ns < 2e9])
    assert not np.isnan(found.delay_ms).any(), "all of it fits into the buffer"
    short = load(tmp_path, text.replace("100_000", "1_500"))
    lost = np.isnan(play(short, 1, "none").delay_ms)
    assert lost[inside].mean() > 0.5
    assert not lost[~inside].any()


def test_outages_of_random_length_are_the_same_for_a_seed_and_come_again(tmp_path: Path) -> None:
    text = f'{ONE}[[network.outages]]\nplace = "PLACE"\nfrom_s = 0.5\nseconds = 0.2\nmost_s = 0.9\nevery_s = 2\n'
    for place, number in (("a", 0), ("b", 1), ("edge", 2)):
        one = load(tmp_path, text.replace("PLACE", place))
        assert one.varies
        first, again, other = (outages_of(one, seed)[number] for seed in (1, 1, 2))
        assert first.tolist() == again.tolist() != other.tolist()
        assert (first[:, 0] / 1e9).tolist() == [0.5, 2.5, 4.5]
        length = (first[:, 1] - first[:, 0]) / 1e9
        assert ((length >= 0.2) & (length < 0.9)).all()
        assert len(set(length)) == 3


def test_outages_that_touch_are_one(tmp_path: Path) -> None:
    table = '[[network.outages]]\nplace = "a"\nfrom_s = {}\nseconds = {}\n'
    spans = [(4, 1), (1, 1), (2, 1), (1.5, 0.2), (4.5, 1)]
    one = load(tmp_path, ONE + "".join(table.format(*span) for span in spans))
    assert (outages_of(one, 1)[0] / 1e9).tolist() == [[1, 3], [4, 5.5]]
    late = load(tmp_path, f"{ONE}{table.format(70, 1)}every_s = 2\n")
    assert outages_of(late, 1) == {}


def test_a_policy_leads_flows_around_an_outage(tmp_path: Path) -> None:
    text = TWO.replace("count = 5\nshare = 0.8", "count = 5\nshare = 0.2").replace("seconds = 6", "seconds = 12")
    one = load(tmp_path, f'{text}[[network.outages]]\nplace = "east"\nfrom_s = 3\nseconds = 4\n')
    arrivals = arrivals_of(one, 1, Path(), None)
    none, threshold = (play(one, 1, policy) for policy in ("none", "threshold"))
    later = (arrivals.link[arrivals.flow] == 0) & (none.time_ns > 5e9) & (none.time_ns < 7e9)
    waited = [np.where(np.isnan(each.delay_ms), 200, each.delay_ms)[later].mean() for each in (none, threshold)]
    assert waited[1] < waited[0] / 2, waited
    assert set(threshold.place[later].tolist()) >= {2}


def test_any_place_may_follow_recorded_capacity(tmp_path: Path) -> None:
    (tmp_path / "slow.trace").write_text("\n".join(map(str, range(20, 2_001, 20))))
    (tmp_path / "quick.trace").write_text("\n".join(map(str, range(1, 2_001))))
    table = '[[network.traces]]\nplace = "{}"\nfile = "{}"\n'
    old = load(tmp_path, f'{TWO}[network]\ntrace = "slow.trace"\ntrace_down = "quick.trace"\n')
    new = load(tmp_path, f'{TWO}{table.format("east", "slow.trace")}file_down = "quick.trace"\n')
    one, other = (play(each, 1, "static", here=tmp_path) for each in (old, new))
    np.testing.assert_array_equal(one.delay_ms, other.delay_ms)
    plain = play(load(tmp_path), 1, "static")
    path = play(load(tmp_path, f"{TWO}{table.format('lte', 'slow.trace')}"), 1, "static", here=tmp_path)
    there = plain.place == 2
    np.testing.assert_array_equal(path.delay_ms[~there], plain.delay_ms[~there])
    left_ms = path.time_ns[there] / 1e6 + path.delay_ms[there] - 5.0
    np.testing.assert_allclose(left_ms % 20, np.where(left_ms % 20 > 10, 20, 0), atol=1e-5)
    assert "lte" not in {each.name for each in new.site.links}


OUT = '[[network.outages]]\nplace = "a"\n'
OF_SITE = "expected a place of the site (a, b, edge)"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (OUT.replace('"a"', '"c"') + "from_s = 1\nseconds = 1", f"network.outages: {OF_SITE}; found 'c'"),
        ('[[network.traces]]\nplace = "c"\nfile = "x"', f"network.traces: {OF_SITE}; found 'c'"),
        ('[[network.traces]]\nplace = "a"\nfile = "x"\n[network]\ntrace = "x"', "two tables of one place"),
        (f"{OUT}from_s = 1\nseconds = 2\nmost_s = 1", "expected most_s of at least seconds (2); found 1"),
        (f"{OUT}from_s = 1\nseconds = 2\nevery_s = 2", "expected every_s above 2, the longest outage; found 2"),
        (f"{OUT}from_s = 1\nseconds = 0", "expected 0.01 s to 86,400 s; found 0 s"),
        (f"{OUT}seconds = 1", "from_s: is missing"),
    ],
)
def test_what_is_wrong_with_outages_and_traces_is_one_line(tmp_path: Path, table: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"{ONE}{table}\n")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
