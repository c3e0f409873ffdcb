"""The publisher beside a client that fails in ways that a broker cannot be made to: nothing waits for ever or is lost.

What a real broker does is in tests/integration/test_publish.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from offramp.capture.ledger import CaptureLedger
from offramp.capture.publish.outgoing import Outgoing
from offramp.capture.publish.publisher import Publisher
from offramp.capture.publish.spool import Spool
from offramp.errors import OfframpError
from offramp.kafka import KafkaAwayError, KafkaSettings
from tests.support.disks import SmallFiles
from tests.support.random_batches import random_batch

ROWS = 200
SETTINGS = KafkaSettings(("127.0.0.1:9",))


class Client:
    """Stands in for KafkaProducer: gives each message to `send`, and acknowledges it at once unless that says no."""

    def __init__(self, send: Callable[[int], bool | BaseException] = lambda _: True) -> None:
        self.keys: list[tuple[str, int, int]] = []
        self._send = send
        self._count = 0

    def send(self, topic: str, value: bytes, key: bytes, headers: list[tuple[str, bytes]]) -> Client:
        told = dict(headers)
        self._count += 1
        self._verdict = self._send(self._count)
        if self._verdict is True:
            self.keys.append((key.decode().removeprefix("lab/"), int(told["agent_epoch"]), int(told["sequence"])))
        return self

    def add_callback(self, call: Callable[..., None], message: Outgoing) -> None:
        if self._verdict is True:
            call(message, None)

    def add_errback(self, call: Callable[..., None], *given: Any) -> None:
        if isinstance(self._verdict, BaseException):
            call(*given, self._verdict)

    def close(self, timeout: float = 0) -> None:
        """Nothing is open."""


class Agent(Publisher):
    """A publisher whose client is given; None: its broker is away."""

    client: Client | None = None

    def _connect(self) -> None:
        if self.client is None:
            raise KafkaAwayError("publish: nobody answers")
        self._producer = self.client


def agent(client: Client | None, **more: Any) -> Agent:
    made = Agent(SETTINGS, site="lab", agent="tap", epoch=more.pop("epoch", 5), **more)
    made.client = client
    made.start()
    return made


def publish(out: Publisher, count: int, link: str = "a") -> None:
    batch = random_batch(ROWS)
    told = str(CaptureLedger(ROWS, ROWS).as_dict()).replace("'", '"')
    for _ in range(count):
        out.publish(link, batch.replace_schema_metadata({"ledger": told}))


def publish_and_close(out: Publisher, count: int) -> None:
    publish(out, count)
    out.close(patience_s=60)


def size_of_one() -> int:
    seen: list[Outgoing] = []
    out = agent(Client(), acknowledged=seen.append)
    publish(out, 1)
    assert out.close()
    return seen[0].size


@pytest.mark.parametrize(
    "error", [RuntimeError("NetworkSelector closed!"), AssertionError(), ValueError("?"), KeyError(3)]
)
def test_whatever_the_client_raises_ends_the_publisher_with_a_word(error: Exception) -> None:
    def fail(_: int) -> bool:
        raise error

    def later(number: int) -> bool | BaseException:
        return error if number == 2 else True

    for client in (Client(fail), Client(later)):
        out = agent(client)
        with pytest.raises(OfframpError, match=f"sending ended: {type(error).__name__}"):
            publish_and_close(out, 2)


def test_a_client_that_is_closed_under_the_sender_ends_it_in_order(tmp_path: Path) -> None:
    """What is under way then is in the spool, and the thread ends without a traceback of its own."""
    waiting, closed = threading.Event(), threading.Event()

    class Closing(Client):
        def close(self, timeout: float = 0) -> None:
            closed.set()

    def send(_: int) -> bool:
        waiting.set()
        assert closed.wait(60)
        raise RuntimeError("NetworkSelector closed!")

    out = agent(Closing(send), live=True, spool=Spool(tmp_path, 1 << 20))
    publish(out, 3)
    assert waiting.wait(60)
    assert not out.close(patience_s=0.0)
    out._thread.join(60)
    assert out.ledger.spooled == 3
    second = agent(Client(), epoch=6, live=True, spool=Spool(tmp_path, 1 << 20))
    assert second.close()
    assert second.client is not None
    assert second.client.keys == [("a", 5, 0), ("a", 5, 1), ("a", 5, 2)]
    assert not list(tmp_path.glob("*.spool"))


def test_an_observer_that_fails_is_told() -> None:
    def observe(_: Outgoing) -> None:
        raise ZeroDivisionError

    out = agent(Client(), acknowledged=observe)
    with pytest.raises(OfframpError, match="ZeroDivisionError"):
        publish_and_close(out, 1)


def test_a_full_disk_ends_no_live_agent(tmp_path: Path, small_files: SmallFiles) -> None:
    """What was spooled goes out first, then what memory held; the rest was shed, and is told of."""
    one, told = size_of_one(), list[str]()
    out = agent(None, live=True, spool=Spool(tmp_path, 1 << 30, report=told.append), queue_bytes=4 * one)
    small_files.allow(6 * one)
    publish(out, 40)
    small_files.allow(None)
    assert len(told) == 1
    assert "--spool" in told[0]
    assert 0 < out.ledger.spooled < 10
    assert 0 < out.ledger.rows_shed < 40 * ROWS
    assert out.backlog.queued <= 4 * one
    out.client = Client()
    with out._changed:
        out._changed.notify_all()
    out.end("a")
    assert out.close(patience_s=60)
    assert [number for _, _, number in out.client.keys] == list(range(len(out.client.keys)))
    assert out.ledger.rows == out.ledger.rows_acknowledged + out.ledger.rows_shed
    assert not list(tmp_path.iterdir()) or [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_full_disk_keeps_a_file_waiting_and_loses_nothing(tmp_path: Path, small_files: SmallFiles) -> None:
    one = size_of_one()
    out = agent(None, spool=Spool(tmp_path, 1 << 30), queue_bytes=4 * one)
    small_files.allow(6 * one)
    worker = threading.Thread(target=publish, args=(out, 40))
    worker.start()
    worker.join(1.0)
    assert worker.is_alive()
    out.client = Client()
    worker.join(60)
    small_files.allow(None)
    assert out.close(patience_s=60)
    assert [number for _, _, number in out.client.keys] == list(range(40))


def test_what_the_disk_does_not_take_at_the_end_is_told(tmp_path: Path, small_files: SmallFiles) -> None:
    one = size_of_one()
    out = agent(None, live=True, spool=Spool(tmp_path, 1 << 30))
    publish(out, 20)
    small_files.allow(5 * one)
    with pytest.raises(OfframpError, match=r"did not take 1\d messages"):
        out.close(patience_s=0.0)
    small_files.allow(None)
    assert 1 <= out.ledger.spooled < 10
    second = agent(Client(), epoch=6, live=True, spool=Spool(tmp_path, 1 << 30))
    assert second.close()
    assert second.client is not None
    assert second.client.keys == [("a", 5, number) for number in range(out.ledger.spooled)]


def test_what_goes_to_the_spool_at_the_end_is_counted(tmp_path: Path) -> None:
    out = agent(None, live=True, spool=Spool(tmp_path, 1 << 30))
    publish(out, 7)
    assert not out.close(patience_s=0.0)
    assert out.ledger.spooled == 7


def test_the_order_outlives_a_broker_that_comes_and_goes(tmp_path: Path) -> None:
    """Spooled, taken up again, sent beside newer ones, none acknowledged: the next run sends all in order."""
    one = size_of_one()
    out = agent(None, live=True, spool=Spool(tmp_path, 1 << 30), queue_bytes=2 * one, window_bytes=1 << 30)
    publish(out, 6)
    silent = Client(lambda _: False)
    out.client = silent
    with out._changed:
        out._changed.notify_all()
        assert out._changed.wait_for(lambda: not out._queue and not out.spool.pending, 60)  # type: ignore[union-attr]
    publish(out, 2)  # under way, not of the spool
    with out._changed:
        assert out._changed.wait_for(lambda: len(out._unacknowledged) == 8, 60)
    assert not out.close(patience_s=0.0)
    second = agent(Client(), epoch=6, live=True, spool=Spool(tmp_path, 1 << 30))
    assert second.close()
    assert second.client is not None
    assert second.client.keys == [("a", 5, number) for number in range(8)]


def test_damage_ends_no_agent(tmp_path: Path) -> None:
    out = agent(None, live=True, spool=Spool(tmp_path, 1 << 30))
    publish(out, 5)
    assert not out.close(patience_s=0.0)
    path = max(tmp_path.glob("*.spool"), key=lambda each: each.stat().st_size)
    text = bytearray(path.read_bytes())
    text[len(text) // 2] ^= 1
    path.write_bytes(text)
    told: list[str] = []
    second = agent(Client(), epoch=6, live=True, spool=Spool(tmp_path, 1 << 30, report=told.append))
    assert second.close(patience_s=60)
    assert second.client is not None
    assert len(second.client.keys) == 4
    assert second.client.keys == sorted(second.client.keys)
    assert second.spool is not None
    assert (second.spool.damaged, len(told)) == (1, 1)
