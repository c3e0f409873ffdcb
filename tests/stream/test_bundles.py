"""Links that share a path are decided over together: the same commands in replay, from two captures, and in a worker.

Two links of the sample's lab, the second's packets some seconds later, and a path that both may take.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from offramp.capture.block import PacketBlock, some_rows
from offramp.capture.message.encode import FeatureHeaders
from offramp.decision.site import Site
from offramp.errors import ContractError
from offramp.inference.artifact import DEFAULT_ARTIFACT, Artifact, load_artifact
from offramp.inference.serving.predictor import Predictor
from offramp.inference.serving.table import open_predictor
from offramp.stream.worker.checkpoint import decode_checkpoint, encode_checkpoint
from offramp.stream.worker.message_batch import MessageBatch
from tests.fuzz.messages import Mutator
from tests.fuzz.states import mutated
from tests.support.bundles import SHARED, SITE, Worker, both, mark, messages_of, replayed, site_of


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return load_artifact(DEFAULT_ARTIFACT)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return open_predictor(DEFAULT_ARTIFACT)


@pytest.fixture(scope="module")
def whole(blocks: list[PacketBlock], artifact: Artifact, predictor: Predictor) -> list[str]:
    return replayed(blocks, SITE, artifact, predictor)


@pytest.fixture(scope="module")
def blocks() -> list[PacketBlock]:
    return both()


def test_links_that_share_a_path_are_one_bundle() -> None:
    assert [bundle.name for bundle in SITE.bundles] == ["uplink"]
    assert SITE.bundle_names == {"uplink": "uplink", "second": "uplink"}
    apart = Site.model_validate({"links": [{"name": name, "capacity": 1e6} for name in "ab"]})
    assert [bundle.name for bundle in apart.bundles] == ["a", "b"]
    watched = Site.model_validate({
        "links": [
            {"name": "a", "capacity": 1e6, "paths": [{"name": "lte", "capacity": 1e6, "link": "b"}]},
            {"name": "b", "capacity": 1e6},
        ]
    })  # fmt: skip
    assert [len(bundle.links) for bundle in watched.bundles] == [2]


def test_a_path_of_any_name_has_the_load_of_the_link_that_it_is(
    blocks: list[PacketBlock], artifact: Artifact, predictor: Predictor
) -> None:
    """The later link's path is the earlier one, which is full by then: less is moved there than were it idle."""
    moved = []
    link = {"capacity": "8 Mbit/s", "buffer_bytes": 150_000, "devices": ["10.13.0.0/24"]}
    for there in (blocks, only(blocks, 1)):
        for name, is_link in (("uplink", None), ("over there", "uplink")):
            path = {"name": name, "link": is_link, "capacity": "8 Mbit/s"}
            later = {**link, "name": "second", "interface": "v2", "paths": [path]}
            both_of = Site.model_validate(
                {"name": "lab", "links": [{**link, "name": "uplink", "interface": "v1"}, later]}
            )
            assert both_of.bundle_names == SITE.bundle_names
            found = [json.loads(text) for text in replayed(there, both_of, artifact, predictor)]
            moved.append(
                sum(len(each["action"].get("flows", ())) for each in found if each["action"]["type"] == "reroute")
            )
    assert moved[0] == moved[1] < moved[2] == moved[3]


def test_replay_two_captures_and_a_worker_give_the_same_bytes(
    whole: list[str], blocks: list[PacketBlock], artifact: Artifact, predictor: Predictor
) -> None:
    scopes = {text.split('"scope":"')[1].split('"')[0] for text in whole}
    assert scopes == {"link:uplink", "link:second"}
    for rows in (700, 5_000):
        assert replayed(both(rows), SITE, artifact, predictor) == whole
    records = messages_of(blocks, SITE)
    worker = Worker(SITE, artifact, predictor)
    worker.work(records)
    assert worker.out == whole


@pytest.mark.parametrize("cut", [1, 17, 40, 77, 95])
def test_a_worker_that_takes_over_gives_the_rest(
    cut: int, whole: list[str], blocks: list[PacketBlock], artifact: Artifact, predictor: Predictor
) -> None:
    records = messages_of(blocks, SITE)
    first = Worker(SITE, artifact, predictor)
    first.work(records[:cut])
    second = first.handed_over(artifact, predictor)
    second.work(records[max(0, cut - 9) :])  # what was not committed comes again
    assert (second.links.restored, second.links.states_refused) == (1, 0)
    assert first.out + second.out == whole


def test_messages_of_the_links_may_come_in_any_interleaving(
    whole: list[str], blocks: list[PacketBlock], artifact: Artifact, predictor: Predictor
) -> None:
    records = messages_of(blocks, SITE)
    of = {
        link.name: [each for each in records if dict(each.headers)["link"] == link.name.encode()] for link in SITE.links
    }
    for seed in (1, 2):
        rng, left, mixed = np.random.default_rng(seed), {name: list(each) for name, each in of.items()}, []
        while any(left.values()):
            name = sorted(name for name in left if left[name])[int(rng.integers(sum(map(bool, left.values()))))]
            count = int(rng.integers(1, 30))
            mixed += left[name][:count]
            left[name] = left[name][count:]
        for offset, record in enumerate(mixed):
            record.offset = offset
        worker = Worker(SITE, artifact, predictor)
        worker.work(mixed)
        assert worker.out == whole


def test_another_recording_behind_a_checkpoint_of_the_ends_is_decided_as_the_first(
    whole: list[str], blocks: list[PacketBlock], artifact: Artifact, predictor: Predictor
) -> None:
    """It has the same times as what was decided: the checkpoint knows that both links have ended."""
    records = messages_of(blocks, SITE)
    first = Worker(SITE, artifact, predictor)
    first.work(records)
    second = first.handed_over(artifact, predictor)
    for record in records:
        record.offset += len(records)
        record.headers = [(name, b"2" if name == "agent_epoch" else value) for name, value in record.headers]
    second.work(records)
    assert second.links.restored == 1
    assert (first.out, second.out) == (whole, whole)


def booked(worker: Worker) -> float:
    """The bit/s that open moves of all links put on the path that they share."""
    found = [each.meeting.policy for each in worker.links.bundles.values()]
    loops = [loop for policy in found for link in policy.policies.values() for loop in link.loops]  # type: ignore[attr-defined]
    return float(sum(loop.move.rate_bps for loop in loops if loop.move.target.startswith("wireless")))


def test_two_links_never_overbook_the_path_that_they_share(
    blocks: list[PacketBlock], artifact: Artifact, predictor: Predictor
) -> None:
    """Where each has a path of its own and decides by itself, they put more on both than the one could take."""
    narrow = {"paths": [{**SHARED, "capacity": "4 Mbit/s"}]}
    most = []
    for site in (site_of(**narrow), apart(site_of(**narrow))):
        worker, seen = Worker(site, artifact, predictor), [0.0]
        for record in messages_of(blocks, site):
            worker.work([record])
            seen.append(booked(worker))
        most.append(max(seen))
    assert 0 < most[0] <= 4e6 < most[1]


def apart(site: Site) -> Site:
    """The site with paths of other names for the second link."""
    first, second = site.links
    paths = tuple(path.model_copy(update={"name": f"{path.name}-2"}) for path in second.paths)
    return site.model_copy(update={"links": (first, second.model_copy(update={"paths": paths}))})


def only(blocks: Sequence[PacketBlock], link: int) -> list[PacketBlock]:
    return [some_rows(block, np.flatnonzero(block.interface == link)) for block in blocks]


def test_a_link_that_is_idle_delays_no_command_of_another(
    blocks: list[PacketBlock], artifact: Artifact, predictor: Predictor
) -> None:
    """Its clock comes beside the other's packets; after each message as much is decided as if it were alone."""
    records = [each for each in messages_of(only(blocks, 0), apart(SITE)) if b"uplink" in each.key]
    alone, beside, offset = Worker(apart(SITE), artifact, predictor), Worker(SITE, artifact, predictor), 0
    for number, record in enumerate(records):
        headers = dict(record.headers)
        newest = int(headers["last_time_ns"])
        if newest:
            clock = FeatureHeaders("lab", "tap", 1, number, 0, clock_ns=newest, live=True, link="second")
            beside.work(
                [SimpleNamespace(partition=0, offset=offset, key=b"lab/uplink", value=b"", headers=clock.pairs())]
            )
        record.offset = number
        alone.work([record])
        beside.work([SimpleNamespace(**{**vars(record), "offset": offset + 1})])
        offset += 2
        assert beside.out == alone.out
    assert len(alone.out) > 3


def test_a_link_that_is_away_is_waited_for_until_a_mark_says_so(
    whole: list[str], blocks: list[PacketBlock], artifact: Artifact, predictor: Predictor
) -> None:
    records = [each for each in messages_of(only(blocks, 0), SITE) if dict(each.headers)["link"] == b"uplink"]
    worker = Worker(SITE, artifact, predictor)
    for offset, record in enumerate(records):
        record.offset = offset
    worker.work(records[:40])
    assert worker.out == []
    held = worker.links.bundles["uplink"].held_by
    assert held is not None
    assert held.link == "second"
    worker.work([mark(40, "away", link="second")])
    begun = len(worker.out)
    assert begun
    assert worker.links.bundles["uplink"].held_by is None
    for record in records[40:]:
        record.offset += 1
    worker.work(records[40:])
    assert len(worker.out) > begun


def test_a_path_that_is_down_is_not_chosen_and_a_mark_is_restored(
    blocks: list[PacketBlock], artifact: Artifact, predictor: Predictor
) -> None:
    records = messages_of(blocks, SITE)
    for record in records:
        record.offset += 1
    first = Worker(SITE, artifact, predictor)
    first.work([mark(0, "probe", path="wireless", up=False), *records[:30]])
    second = first.handed_over(artifact, predictor)
    second.work(records[30:])
    told = [*first.out, *second.out]
    assert told
    assert not any("reroute" in text for text in told), "what cannot be moved is marked"


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("away", {"link": "third"}), ("capacity", {"link": "wireless", "up_bps": 1e6, "down_bps": 1e6}),
        ("probe", {"path": "uplink", "up": False}), ("node", {"node": "wireless", "full": True}),
    ],
)  # fmt: skip
def test_a_mark_of_what_the_bundle_has_not_is_a_dead_letter(
    kind: str, members: dict[str, Any], artifact: Artifact, predictor: Predictor
) -> None:
    """A checkpoint would have to remember a name for each."""
    worker = Worker(SITE, artifact, predictor)
    batch = MessageBatch([mark(0, kind, **members)], worker.links, "lab", horizon_ms=500)
    assert batch.to_steps() == []
    assert [outcome.refused for outcome in batch.outcomes] == ["mark"]


def test_a_capacity_holds_from_its_mark_on_and_after_a_checkpoint(
    blocks: list[PacketBlock], artifact: Artifact, predictor: Predictor
) -> None:
    """With ten times the capacity nothing is congested; with what the site says, it is again."""
    records = messages_of(blocks, SITE)
    wide = [mark(at, "capacity", link=link, up_bps=80e6, down_bps=80e6) for at, link in enumerate(SITE.bundle_names)]
    for record in records:
        record.offset += 2
    first = Worker(SITE, artifact, predictor)
    first.work([*wide, *records[:30]])
    second = first.handed_over(artifact, predictor)
    second.work(records[30:])
    assert (second.links.restored, second.links.states_refused) == (1, 0)
    assert (first.out, second.out) == ([], [])
    seat = second.links.bundles["uplink"].meeting.seats["second"]
    assert seat.link.capacity_bps == 80e6


def test_what_waits_in_a_checkpoint_may_be_anything(
    blocks: list[PacketBlock], artifact: Artifact, predictor: Predictor
) -> None:
    """Whoever may write to the topic of states may write anything: it is refused, or what comes after is worked on."""
    records = [each for each in messages_of(only(blocks, 0), SITE) if dict(each.headers)["link"] == b"uplink"]
    for offset, record in enumerate(records):
        record.offset = offset
    worker = Worker(SITE, artifact, predictor)
    worker.work(records[:40])
    bundle = worker.links.bundles["uplink"]
    assert bundle.meeting.waiting > 100
    state, mutator, told = decode_checkpoint(encode_checkpoint(bundle.state())), Mutator(3), [0, 0]
    for _ in range(150):
        try:
            value = encode_checkpoint({**state, "meeting": mutated(mutator, state["meeting"])})
            forged = decode_checkpoint(value)
        except (ContractError, TypeError, ValueError, OverflowError):
            continue  # no bytes can say this
        other = Worker(SITE, artifact, predictor)
        other.links.states["uplink"] = forged
        other.work([mark(40, "away", link="second")])
        for record in records[40:43]:
            record.offset += 1
        other.work(records[40:43])
        for record in records[40:43]:
            record.offset -= 1
        told[0] += other.links.restored
        told[1] += other.links.states_refused
        encode_checkpoint(other.links.bundles["uplink"].state())
    assert min(told) > 20, told
