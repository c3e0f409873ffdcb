"""`offramp publish --interface`: a veth pair in a network namespace, and a broker in there with it."""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from bench.namespace import Namespace
from deploy.kafka.broker import Broker
from offramp.capture.block import tick
from offramp.capture.intake.intake import Intake
from offramp.capture.intake.shedding import Shedding, SheddingRule
from offramp.capture.message.decode import FeatureMessage
from offramp.capture.publish.publisher import Publisher
from offramp.capture.publish.spool import Spool
from offramp.capture.sources.live.interface import LiveOptions, open_interface
from offramp.capture.sources.source import ListSource, PacketSource
from offramp.cli.publish import PublishOptions, require_fitting
from offramp.decision.site import load_site
from offramp.errors import ConfigError
from offramp.kafka import KafkaSettings
from offramp.stream.agent.live import LiveAgent
from offramp.stream.links.link_consumer import LinkConsumer
from offramp.stream.local.link_batches import ByLink
from offramp.stream.local.link_choice import LinkChoice
from offramp.stream.local.live_batches import LiveBatches
from offramp.stream.local.tap import Tap
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.pipeline.timeline import LinkTimeline
from tests.integration.agents import Agent
from tests.integration.topic_messages import messages
from tests.support.fake_predictor import FakePredictor
from tests.support.live import frame, send, until
from tests.support.live_blocks import BASE, FLOWS, INTERFACE, blocks
from tests.support.places import ROOT, SITE
from tests.support.scrape import scrape, url_in
from tests.support.tap_process import no_rights, number_of

LINK = "uplink"


def total(found: list[FeatureMessage], name: str) -> int:
    """A count of the messages' ledgers, over all of them."""
    return sum(message.headers.ledger[name] for message in found)


def by_reason(found: list[FeatureMessage], name: str) -> Counter[str]:
    return sum((Counter(message.headers.ledger[name]) for message in found), Counter())


def rows_of(found: list[FeatureMessage], agent: str) -> int:
    """The rows of an agent, a message that came twice counted once."""
    own = {(each.headers.agent_epoch, each.headers.sequence): each for each in found if each.headers.agent == agent}
    return sum(each.headers.rows for each in own.values())


def test_what_is_sent_is_in_the_topic_and_in_the_ledger(
    namespace: Namespace, topics: KafkaSettings, tmp_path: Path, own: Path
) -> None:
    write = ("--write", own / "all.pcapng")
    agent = Agent(namespace, topics, tmp_path, *write, "--agent", "edge-1", "--metrics", "0")
    agent.told("watching v1 as link uplink")
    no_rights(agent.process)
    send(namespace, [frame(each) for each in range(321)])
    until(lambda: any(message.headers.clock_ns for message in namespace.call(messages, topics)))
    send(namespace, [frame(each) for each in range(100)])
    url = url_in(lambda: "".join(agent.err))
    until(lambda: namespace.call(scrape, url)["offramp_publish_acknowledged_rows_total",] == 421)
    scraped = namespace.call(scrape, url)
    assert scraped["offramp_capture_packets_total", LINK] == scraped["offramp_publish_message_rows_sum",] == 421
    assert 0 < scraped["offramp_publish_packet_to_topic_seconds_sum",] < 421 * 60  # by the clock of this machine
    text = agent.end(signal.SIGTERM)
    assert (agent.process.returncode, agent.out) == (0, []), text
    found = namespace.call(messages, topics)
    for name in ("packets captured", "decoded", "rows published", "acknowledged", "written"):
        assert number_of(text, name) == 421, name
    for name in ("undecodable", "shed", "dropped by kernel", "not acknowledged"):
        assert number_of(text, name) == 0, name
    assert sum(message.headers.rows for message in found) == total(found, "captured") == 421
    assert [message.headers.sequence for message in found] == list(range(len(found)))
    assert [message.headers.end for message in found] == [False] * (len(found) - 1) + [True]
    assert {(message.link, message.headers.agent) for message in found} == {(LINK, "edge-1")}


def test_two_interfaces_are_two_links_of_one_agent(namespace: Namespace, topics: KafkaSettings, tmp_path: Path) -> None:
    namespace.run("ip link add w0 type veth peer name w1 && ip link set w0 up && ip link set w1 up")
    site = tmp_path / "two.toml"
    links = (
        f'[[links]]\nname = "{name}"\ninterface = "{of}"\ncapacity = 1e7\n' for name, of in (("a", "v1"), ("b", "w1"))
    )
    site.write_text("".join(links))
    agent = Agent(
        namespace, topics, tmp_path, "--interface", "w1", "--site", site, "--agent", "edge", "--filter", "udp"
    )
    agent.told("watching v1 as link a")
    agent.told("watching w1 as link b")
    send(namespace, [frame(each) for each in range(300)])
    send(namespace, [frame(each) for each in range(200)], "w0")
    until(lambda: sum(message.headers.rows for message in namespace.call(messages, topics)) == 500)
    text = agent.end(signal.SIGTERM)
    assert (agent.process.returncode, agent.out) == (0, []), text
    found = namespace.call(messages, topics)
    for link, count, title in (("a", 300, "ledger of v1, link a"), ("b", 200, "ledger of w1, link b")):
        own = [message for message in found if message.link == link]
        assert sum(message.headers.rows for message in own) == total(own, "captured") == count
        assert [message.headers.sequence for message in own] == list(range(len(own)))
        assert [message.headers.end for message in own] == [False] * (len(own) - 1) + [True]
        assert number_of(text.partition(title)[2], "packets captured") == count
    assert number_of(text, "rows published") == number_of(text, "acknowledged") == 500


def test_kernel_drops_and_shedding_are_told(namespace: Namespace, topics: KafkaSettings, tmp_path: Path) -> None:
    """An agent that stands still for a while loses packets in the kernel, and then has much to catch up with."""
    agent = Agent(namespace, topics, tmp_path)
    agent.told("watching")
    agent.process.send_signal(signal.SIGSTOP)
    sent = [frame(each, 1400, port=each) for each in range(100)] * 600
    send(namespace, sent)
    agent.process.send_signal(signal.SIGCONT)
    text = agent.end()
    assert agent.process.returncode == 0, text
    found = namespace.call(messages, topics)
    drops, shed = number_of(text, "dropped by kernel"), by_reason(found, "shed")
    assert drops > 0
    assert number_of(text, "packets captured") + drops == len(sent)
    assert number_of(text, "packets captured") == number_of(text, "decoded") + shed.total()
    assert total(found, "kernel_drops") == drops
    assert total(found, "captured") == number_of(text, "packets captured")
    assert sum(each.headers.rows for each in found) == number_of(text, "rows published") == number_of(text, "decoded")
    assert all(number_of(text, reason) == count for reason, count in shed.items())


def by_link() -> ByLink:
    site = load_site(SITE)
    return ByLink(LinkChoice(site), site, "tap")


def batches_of(source: PacketSource, level: int = 0) -> LiveBatches:
    """The batches of a source whose shedding stays at a level."""
    shedding = Shedding(SheddingRule(raise_fill=2.0, lower_s=1e12), level=level, _changed_s=0.0)
    return LiveBatches(Intake(source, shedding=shedding), by_link())


@pytest.mark.parametrize("level", [0, 1, 4])
def test_a_worker_sees_what_the_tap_sees(
    level: int,
    namespace: Namespace,
    topics: KafkaSettings,
    normaliser_state: dict[str, np.ndarray],
) -> None:
    """The same bins, scaled alike, and the same quality, whether the batches went over Kafka or not."""
    site = load_site(SITE)

    def source() -> ListSource:
        clocks = [tick(INTERFACE, BASE + at * 1_000_000, 0, 0) for at in (500, 600, 9_000)]
        return ListSource([*blocks(10, drops=7), *clocks])

    def pipeline(seen: list[LinkTimeline]) -> Pipeline:
        return Pipeline(site, LINK, FakePredictor(), normaliser_state, sink=seen.append)

    expected: list[LinkTimeline] = []
    tap = Tap([batches_of(source(), level)], lambda _: pipeline(expected))
    assert list(tap.run()) == []
    publisher = Publisher(topics, site=site.name, agent="a", epoch=1, live=True)
    namespace.call(publisher.start)
    assert LiveAgent([batches_of(source(), level)], publisher).run()
    found = namespace.call(messages, topics)
    assert {message.headers.sampling for message in found if message.batch} == {1 << max(0, level - 1)}
    assert total(found, "captured") == 10 * FLOWS
    assert total(found, "kernel_drops") == 70
    seen: list[LinkTimeline] = []
    pipelines: list[Pipeline] = []

    def made(_: str) -> Pipeline:
        pipelines.append(pipeline(seen))
        return pipelines[-1]

    consumer = LinkConsumer(LINK, made)
    for offset, message in enumerate(found):
        assert consumer.feed(message, offset) == []
    for name in ("time_ns", "load_up", "load_down", "bin_end_ms", "probabilities"):
        wanted, got = (np.concatenate([getattr(each, name) for each in lines]) for lines in (expected, seen))
        np.testing.assert_array_equal(got, wanted)
    assert pipelines[0].quality == tap.pipelines[LINK].quality
    assert pipelines[0].ledger == tap.pipelines[LINK].ledger


def test_a_broker_that_is_restarted_loses_nothing_with_a_spool(
    namespace: Namespace, broker: Broker, topics: KafkaSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = namespace.call(open_interface, "v1", LiveOptions(left=None))
    listens, finished = threading.Event(), []
    batches = LiveBatches(Intake(source, begun=listens.set), by_link())
    spool = Spool(tmp_path, 64 << 20, segment_bytes=1 << 16)
    bound = 1 << 16
    publisher = Publisher(
        topics, site="lab", agent="tap", epoch=5, live=True, spool=spool, queue_bytes=bound, window_bytes=bound
    )
    namespace.call(publisher.start)
    thread = threading.Thread(target=lambda: finished.append(LiveAgent([batches], publisher).run()))
    with ExitStack() as stack:
        stack.callback(thread.join)
        stack.callback(batches.intake.close)
        thread.start()
        assert listens.wait(60)
        sent = 0

        def send_more() -> None:
            nonlocal sent
            send(namespace, [frame(sent + each, port=sent + each) for each in range(200)])
            sent += 200

        def spooled() -> bool:
            send_more()
            return publisher.ledger.spooled > 20

        send_more()
        until(lambda: publisher.ledger.rows_acknowledged == 200)
        broker.stop()
        until(spooled)
        assert publisher._queued <= 1 << 16
        namespace.call(broker.start)
        send_more()
        until(lambda: publisher.caught_up)
        send_more()
    assert finished == [True]
    found = namespace.call(messages, topics)
    assert rows_of(found, "tap") == sent == batches.ledger().captured
    assert publisher.ledger.rows_acknowledged == sent
    assert not list(tmp_path.glob("*.spool"))
    told = capsys.readouterr().err
    assert "messages go to the spool" in told
    assert "the broker takes messages again" in told


def test_an_agent_that_ends_while_the_broker_is_away_ends_in_time(
    namespace: Namespace, broker: Broker, topics: KafkaSettings, tmp_path: Path, own: Path
) -> None:
    """With a spool what is left is sent by the next run; without one it is lost, and said so."""
    spool = ("--spool", own / "spool", "--agent", "keeps")
    agents = [Agent(namespace, topics, tmp_path, *more) for more in (spool, ("--agent", "loses"))]
    for agent in agents:
        agent.told("watching")
    broker.stop()
    send(namespace, [frame(each) for each in range(300)])
    for agent in agents:
        agent.process.send_signal(signal.SIGINT)
    texts = [agent.end(None) for agent in agents]
    namespace.call(broker.start)
    for agent, text, word in zip(agents, texts, ("is in the spool", "--spool FOLDER keeps"), strict=True):
        assert agent.process.returncode == 1
        assert word in text.splitlines()[-1]
        assert number_of(text, "packets captured") == number_of(text, "not acknowledged") == 300
        assert "Traceback" not in text
    assert {message.headers.rows for message in namespace.call(messages, topics)} <= {0}, "clocks, while it was there"
    again = Agent(namespace, topics, tmp_path, *spool, "--duration", "0.5")
    text = again.end(None)
    assert again.process.returncode == 0, text
    assert (number_of(text, "rows of earlier runs"), number_of(text, "not acknowledged")) == (300, 0)
    found = namespace.call(messages, topics)
    assert (rows_of(found, "keeps"), rows_of(found, "loses")) == (300, 0)


WRONG = [
    ({}, "--interface IFACE"),
    ({"files": ("a.pcap",), "interfaces": ("v1",)}, "not both"),
    ({"files": ("a.pcap",), "count": 5}, "go with --interface"),
    ({"interfaces": ("v1",), "pace": "2x"}, "--pace"),
    ({"interfaces": ("v1",), "strict": True}, "--strict"),
    ({"interfaces": ("v1",), "epoch": "7"}, "--epoch 7"),
    ({"interfaces": ("v1",), "message_ms": 15}, "multiple of a bin"),
    ({"files": ("a.pcap",), "message_ms": 100}, "--message-every goes with --interface"),
]


@pytest.mark.parametrize(("options", "word"), WRONG)
def test_options_that_do_not_go_together_are_refused(options: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        require_fitting(PublishOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("more", [("--interface", "nosuch0"), ("-i", "lo", "--ring-size", "5"), ("-i", "lo")])
def test_wrong_use_is_one_line(namespace: Namespace, more: tuple[str, ...]) -> None:
    """An unknown interface, a ring without files, and a broker that does not answer."""
    command = [sys.executable, "-m", "offramp", "publish", "--kafka", "127.0.0.1:9", "--site", str(SITE)]
    process = namespace.start([*command, *more], cwd=ROOT)
    _, text = process.communicate(timeout=120)
    assert process.returncode == (1 if more == ("-i", "lo") else 2), text
    assert text.count("\n") == 1
    assert text.startswith("offramp: ")
