"""A source of several interfaces: each packet goes to its link, and what is told of the source once is counted once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from offramp.capture.block import Interface, some_rows
from offramp.capture.sources.file.files import open_captures
from offramp.capture.sources.source import ListSource
from offramp.decision.site import Link, Site, load_site
from offramp.errors import ConfigError
from offramp.inference.artifact import DEFAULT_ARTIFACT, Artifact, load_artifact
from offramp.inference.serving.predictor import Predictor
from offramp.stream.local.link_batches import LinkBatches
from offramp.stream.local.link_choice import MAX_NAMED, LinkChoice, unlinked_lines
from offramp.stream.local.replay import Replay
from offramp.stream.local.site_match import SiteMatch
from tests.support.live_blocks import blocks
from tests.support.places import ROOT

SAMPLES = ROOT / "samples"
DEMO, SITE_FILE = str(SAMPLES / "demo.pcap.zst"), SAMPLES / "site.toml"
SITE = Site.model_validate({
    "name": "lab",
    "links": [{"name": name, "capacity": 1e6, "interface": pattern} for name, pattern in (("a", "x*"), ("b", "y*"))],
})  # fmt: skip


def test_kernel_drops_of_a_source_are_counted_once() -> None:
    found = []
    for block in blocks(3, drops=7):
        interfaces = (Interface("x0", 1), Interface("y0", 1), Interface("x1", 1))
        found.append(replace(block, interface=np.arange(len(block), dtype=np.int32) % 3, interfaces=interfaces))
    batches = LinkBatches(ListSource(found), SITE, "agent")
    rows = {"a": 0, "b": 0}
    for link, batch in batches.read():
        assert not isinstance(batch, int)
        rows[link] += batch.num_rows
    whole = sum(len(block) for block in found)
    assert rows["a"] + rows["b"] == whole == batches.ledger().captured
    assert rows["b"] == sum(int(np.count_nonzero(block.interface == 1)) for block in found) > 0
    assert batches.ledger().kernel_drops == sum(block.kernel_drops for block in found) == 21


def test_the_link_of_an_interface_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[str] = Counter()
    look_up = LinkChoice.of

    def counted(chosen: LinkChoice, interface: str) -> str | None:
        asked[interface] += 1
        return look_up(chosen, interface)

    monkeypatch.setattr(LinkChoice, "of", counted)
    found = []
    for number, block in enumerate(blocks(6)):
        interfaces = tuple(Interface(f"{'xy'[at % 2]}{at}", 1) for at in range(4 + number // 2))
        which = np.arange(len(block), dtype=np.int32) % len(interfaces)
        found.append(replace(block, interface=which, interfaces=interfaces))
    batches = LinkBatches(ListSource(found), SITE, "agent")
    assert {link for link, _ in batches.read()} == {"a", "b"}
    assert asked == {f"{'xy'[at % 2]}{at}": 1 for at in range(6)}


def choice(forced: str = "", told: list[str] | None = None, **patterns: str | None) -> LinkChoice:
    links = [
        {"name": name, "capacity": 1e6} | ({"interface": pattern} if pattern else {})
        for name, pattern in patterns.items()
    ]
    return LinkChoice(Site.model_validate({"links": links}), forced, (told if told is not None else []).append)


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ({"a": "eth0", "b": "eth1"}, {"eth0": "a", "eth1": "b", "eth10": None, "ETH0": None, "wlan0": None, "": None}),
        ({"a": "eth0", "b": None}, {"eth0": "a", "eth1": "b", "wlan0": "b", "": "b"}),
        ({"a": None, "b": "eth0"}, {"eth0": "b", "eth1": "a", "": "a"}),
        ({"a": "eth0"}, {"eth0": "a", "wlan0": None, "": "a"}),
        ({"a": None}, {"eth0": "a", "": "a"}),
        ({"a": "eth[01]", "b": "*"}, {"eth0": "a", "eth2": "b", "": None}),
    ],
)
def test_an_interface_is_of_the_link_that_names_it_or_of_the_one_that_names_none(
    patterns: dict[str, str | None], found: dict[str, str | None]
) -> None:
    chosen = choice("", None, **patterns)
    assert {interface: chosen.of(interface) for interface in found} == found


def test_a_link_may_be_chosen_for_all() -> None:
    chosen = choice("b", a=None, b=None, c="eth0")
    assert [chosen.of(name) for name in ("eth0", "wlan0", "")] == ["b", "b", "b"]
    with pytest.raises(ConfigError, match="--link 'd': the site has a, b and c"):
        choice("d", a=None, b=None, c="eth0")


def test_two_links_without_a_pattern_are_refused_where_interfaces_are_given_out() -> None:
    with pytest.raises(ConfigError, match=r"links a and b have no interface.*--link NAME"):
        choice(a=None, b=None)


def test_patterns_that_overlap_are_told_once() -> None:
    told: list[str] = []
    chosen = choice(told=told, a="eth*", b="eth0")
    assert [chosen.of("eth0") for _ in range(3)] == ["a", "a", "a"]
    assert told == ["eth0 fits a (eth*) and b (eth0); a takes it, as it stands first"]


def test_what_belongs_to_no_link_is_counted_by_interface_in_bounded_room() -> None:
    chosen = choice(a="eth0")
    chosen.count("wlan0", 7)
    chosen.count("evil\x1b[2J", 5)
    for number in range(1000):
        chosen.count(f"x{number}", 1)
    assert chosen.unlinked.total() == 1012
    assert len(chosen.unlinked) <= MAX_NAMED + 1
    lines = [*chosen.warnings(), *unlinked_lines(chosen.unlinked)]
    assert all(line.isprintable() for line in lines)
    assert "7 packets of wlan0 belong to no link: the links name eth0 (a)" in chosen.warnings()[1]


def demo(*names: str) -> ListSource:
    """The sample, each packet on every one of the interfaces in turn."""
    found = []
    for block in open_captures([DEMO]).read():
        rows = np.repeat(np.arange(len(block)), len(names))
        several = some_rows(block, rows)
        of = np.tile(np.arange(len(names), dtype=np.int32), len(block))
        found.append(replace(several, interface=of, interfaces=tuple(Interface(name, 1) for name in names)))
    return ListSource(found)


def commands_of(source: ListSource, site: Site, predictor: Predictor, artifact: Artifact) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    replay = Replay(source, site, artifact, predictor)
    for command in replay.run():
        found.setdefault(command.scope, []).append(command.to_json())
    return found


def test_interfaces_of_one_capture_give_the_commands_that_each_gives_alone(predictor: Predictor) -> None:
    artifact, lab = load_artifact(DEFAULT_ARTIFACT), load_site(SITE_FILE)
    links = tuple(
        lab.links[0].model_copy(update={"name": name, "interface": of}) for name, of in (("one", "v1"), ("two", "v2"))
    )
    site = lab.model_copy(update={"links": links})
    together = commands_of(demo("v1", "v2", "wlan0"), site, predictor, artifact)
    alone = {**commands_of(demo("v1"), site, predictor, artifact), **commands_of(demo("v2"), site, predictor, artifact)}
    assert together == alone
    assert sorted(together) == ["link:one", "link:two"]
    assert min(map(len, together.values())) > 3
    batches = LinkBatches(demo("v1", "wlan0", "v2"), site, "a")
    rows = sum(batch.num_rows for _, batch in batches.read() if not isinstance(batch, int))
    assert batches.choice.unlinked == {"wlan0": rows // 2}
    assert batches.ledger().captured == rows


def test_what_the_site_names_and_no_packet_has_is_said() -> None:
    lab = load_site(SITE_FILE)
    other = Site.model_validate({
        "limits": {"only": ["198.51.100.0/24"]},
        "links": [{
            "name": "uplink", "capacity": 8e6, "devices": ["192.168.7.0/24", "fd00::/8"],
            "known": [{"address": "10.13.0.12", "priority": -1}, {"address": "192.168.7.9", "priority": -1},
                      {"address": "192.168.8.0/24", "priority": -1}, {"address": "192.168.7.10"}],
        }],
    })  # fmt: skip
    for site, words in (
        (lab, []),
        (other, ["192.168.7.0/24, fd00::/8 (devices)", "192.168.7.9", "192.168.8.0/24", "only"]),
    ):
        batches = LinkBatches(open_captures([DEMO]), site, "a")
        for _ in batches.read():
            pass
        said = batches.warnings()
        assert len(said) == len(words), said
        for text, word in zip(said, words, strict=True):
            assert word in text
    assert "busiest: 10.13.1.2, 10.13.0.1" in said[0]


def test_a_live_link_is_told_after_the_first_seconds_and_once() -> None:
    site = load_site(SITE_FILE).model_copy(
        update={"links": (Link(name="uplink", capacity=8e6, devices=("fd00::/8",)),)}
    )
    match, said = SiteMatch(site, "uplink"), []
    for _, batch in LinkBatches(open_captures([DEMO]), site, "a").read():
        assert not isinstance(batch, int)
        for start in range(0, batch.num_rows, 500):
            match.update(batch.slice(start, 500))
            said.append(match.early())
    assert sum(map(len, said)) == 1
    assert not said[0]
    assert said.index(next(filter(None, said))) < len(said) / 2


def test_links_without_packets_are_said_with_what_there_is() -> None:
    lab = load_site(SITE_FILE)
    links = (lab.links[0].model_copy(update={"interface": "v1"}), Link(name="lte", interface="wwan*", capacity=1e6))
    batches = LinkBatches(demo("v1"), lab.model_copy(update={"links": links}), "a")
    for _ in batches.read():
        pass
    assert batches.warnings() == ["no packet belongs to lte (wwan*); the interfaces are v1"]
