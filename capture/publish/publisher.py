"""Publish feature batches to Kafka: in order, acknowledged by all replicas, in bounded memory while brokers are away.

Messages wait in a queue of our own, as the client has no bound; a thread hands them to the client while few bytes are
in flight. When the queue is full a file's reader waits, a live link's oldest messages are shed and counted, and with a
spool both go to disk. While the disk takes nothing, the queue holds what follows the spool, bounded as without one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pyarrow as pa

from offramp.capture.ledger import CaptureLedger
from offramp.capture.message.encode import FeatureHeaders, batch_hops, encode_parts, ledger_of, sampling_of, times_of
from offramp.capture.publish.ledger import PublisherBacklog, PublishLedger
from offramp.capture.publish.outgoing import Outgoing, numbered
from offramp.capture.publish.spool import NotSpooledError, Spool
from offramp.errors import OfframpError
from offramp.kafka import (
    MAX_BODY,
    MAX_MESSAGE,
    KafkaAwayError,
    KafkaRefusedError,
    KafkaSettings,
    close_client,
    kafka_errors,
    require_name,
    require_topics,
)
from offramp.streams import tell

MAX_RECORD = MAX_BODY
FOREVER_MS = 2**31 - 1
DISK_RETRY_S = 1.0
"""How long the spool's disk is left alone after it has refused a message: each try moves the whole queue."""
BACKLOG, REFUSED = "publish_backlog", "publish_refused"
"""Why packets are shed here: the broker did not take them fast enough, or will never take them."""


class Publisher:
    """Publishes the batches of one agent; call `start`, then `publish` and `end` from one thread, then `close`.

    epoch: this session of the agent, or this recording; bundles: by link, of those that are decided over with others;
    live: shed rather than wait; queue_bytes, window_bytes: bounds of what is queued and of what is in flight;
    acknowledged: called, from a thread, with each acknowledged message. A failure that no retry fixes is raised by the
    next call. Names of site and agent beyond MAX_NAME bytes are a ConfigError.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        site: str,
        agent: str,
        epoch: int,
        live: bool = False,
        bundles: Mapping[str, str] | None = None,
        spool: Spool | None = None,
        queue_bytes: int = 32 << 20,
        window_bytes: int = 8 << 20,
        message_limit: int = MAX_RECORD,
        acknowledged: Callable[[Outgoing], None] = lambda _: None,
    ) -> None:
        require_name("site", site)
        require_name("--agent", agent)
        self.settings, self.topic = settings, settings.topic("features")
        self.site, self.agent, self.epoch, self.live, self.spool = site, agent, epoch, live, spool
        self.ledger, self._bundles = PublishLedger(), dict(bundles or {})
        self._bounds = queue_bytes, window_bytes
        self._limit, self._told = message_limit, acknowledged
        self._queue: deque[Outgoing] = deque()
        self._queued = self._under_way = 0
        self._unacknowledged: dict[int, Outgoing] = {}
        self._sequences: dict[str, int] = {}
        self._lost: dict[str, CaptureLedger] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._disk_again = 0.0
        self._failure: OfframpError | None = None
        self._producer: Any = None
        self._spent: Any = None  # a client that has failed, as it does after a refusal
        self._again: deque[Outgoing] = deque()
        self._thread = threading.Thread(target=self._pump, name="offramp-publish", daemon=True)

    def start(self) -> None:
        """Connect and begin. Raise KafkaAccessError where there is no broker, unless there is a spool."""
        if self.spool is None or not _away(self._connect):
            self._connect()
        self._thread.start()

    def publish(self, link: str, batch: pa.RecordBatch) -> None:
        """Queue a batch of a link; wait, shed or spool where there is no room. Raises what ended the publishing."""
        ledger, sampling, hops = ledger_of(batch), sampling_of(batch), batch_hops(batch)
        for part, value in encode_parts(batch, self._limit):
            first, last = times_of(part)
            members = {"rows": part.num_rows, "first_time_ns": first, "last_time_ns": last, "sampling": sampling}
            self._put(Outgoing(link, self._headers(ledger, hops=hops, **members), value))
            ledger = CaptureLedger()  # counted once, with the first part

    def clock(self, link: str, now_ns: int) -> None:
        """Publish a link's clock: all its packets before `now_ns` have been published, so earlier bins may close."""
        self._put(Outgoing(link, self._headers(CaptureLedger(), rows=0, clock_ns=now_ns), b""))

    def end(self, link: str, ledger: CaptureLedger | None = None) -> None:
        """Publish the end of a link, which closes its open bins.

        ledger: counts of packets that no batch has reported.
        """
        self._put(Outgoing(link, self._headers(ledger or CaptureLedger(), rows=0, end=True), b""))
        self.ledger.links_ended += 1

    @property
    def caught_up(self) -> bool:
        """Whether nothing waits to be handed to the client."""
        with self._changed:
            return not self._queue and (self.spool is None or not self.spool.pending)

    @property
    def backlog(self) -> PublisherBacklog:
        """What is not acknowledged yet, by place."""
        with self._changed:
            spooled = self.spool.size if self.spool is not None else 0
            return PublisherBacklog(self._queued, self._queued / self._bounds[0], self._under_way, spooled)

    def close(self, patience_s: float = FOREVER_MS / 1000) -> bool:
        """Wait until all is acknowledged; return whether it is. With a spool, what is left after a while goes there."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            finished = self._changed.wait_for(lambda: self._failure is not None or self._idle(), patience_s)
            self._closing = True
            failure, self._failure = self._failure, self._failure or OfframpError("closed")
            self._changed.notify_all()
        self._thread.join(1.0)
        if self._producer is not None:
            close_client(self._producer, timeout=5 if finished and failure is None else 0)  # the rest is counted below
        lost = self._keep_rest()
        if lost:
            raise OfframpError(f"{failure}; {lost}" if failure is not None else lost)
        if failure is not None:
            raise failure
        return finished

    def _keep_rest(self) -> str:
        """Spool what is neither acknowledged nor on disk, in order; return in words what the disk did not take."""
        if self.spool is None:
            return ""
        with self._changed:
            groups: dict[int | None, list[Outgoing]] = {None: []}
            after = None
            for message in self._unacknowledged.values():
                after = message.segment if message.segment is not None else after
                groups.setdefault(after, [])
                if message.segment is None:
                    groups[after].append(message)
            kept = sum(self.spool.insert(group, place) for place, group in groups.items())
            wanted = sum(map(len, groups.values())) + len(self._queue)
            with suppress(NotSpooledError):
                while self._queue:
                    self._append(self._queue[0])
                    self._queue.popleft()
                    kept += 1
            self._queue.clear()
            self.ledger.spooled += kept
        self.spool.close()
        missing = wanted - kept
        return (
            f"--spool {self.spool.folder}: the disk did not take {missing:,} messages, which are lost"
            if missing
            else ""
        )

    def _key(self, link: str) -> bytes:
        """Return the key of a link's messages, which keeps those of a bundle in one partition."""
        return f"{self.site}/{self._bundles.get(link, link)}".encode()

    def _headers(self, ledger: CaptureLedger, **members: Any) -> FeatureHeaders:
        """Return the headers of a message, not yet numbered."""
        return FeatureHeaders(self.site, self.agent, self.epoch, 0, ledger=ledger.as_dict(), live=self.live, **members)

    def _put(self, message: Outgoing) -> None:
        with self._changed:
            self._check()
            self.ledger.messages += 1
            self.ledger.rows += message.headers.rows
            self.ledger.bytes += len(message.value)
            wanted = self.spool is not None and (self.spool.pending or self._full(message))
            if wanted and time.monotonic() >= self._disk_again:
                self._to_spool(message)
            else:
                self._to_queue(message)
            self._changed.notify_all()

    def _full(self, message: Outgoing) -> bool:
        """Return whether there is no room for a message; for a link's last one, which is small, there always is."""
        return bool(self._queue) and not message.headers.end and self._queued + message.size > self._bounds[0]

    def _to_queue(self, message: Outgoing) -> None:
        """Queue a message; shed the oldest (live) or wait (file) where there is no room."""
        while self.live and self._full(message):
            oldest = self._queue.popleft()
            self._queued -= oldest.size
            self._shed(oldest)
        self._changed.wait_for(lambda: self._failure is not None or not self._full(message))
        self._check()
        self._queue.append(message)
        self._queued += message.size

    def _to_spool(self, message: Outgoing) -> None:
        """Write to disk: what is queued first, so that the order stays; what the disk refuses is queued behind it."""
        waiting = deque([*self._queue, message])
        self._queue.clear()
        self._queued = 0
        try:
            while waiting:
                self._spool_or_shed(waiting[0])
                waiting.popleft()
        except NotSpooledError:
            self._disk_again = time.monotonic() + DISK_RETRY_S
            for each in waiting:
                self._to_queue(each)

    def _spool_or_shed(self, message: Outgoing) -> None:
        """Append a message to the spool; shed the oldest, or wait, for room within its limit."""
        spool = self.spool
        assert spool is not None  # noqa: S101 - asked before
        while self.live and not spool.fits(message):
            dropped = spool.drop_oldest()
            if not dropped:
                self._shed(message)
                return
            for oldest in dropped:
                self._note_earlier(oldest)
                self._shed(oldest)
        self._changed.wait_for(lambda: self._failure is not None or spool.empty or spool.fits(message))
        self._check()
        self._append(message)
        self.ledger.spooled += 1

    def _append(self, message: Outgoing) -> None:
        """Append a message to the spool, numbered if the spool takes it."""
        assert self.spool is not None  # noqa: S101 - asked before
        before = self._sequences.get(message.link, 0)
        try:
            self.spool.append(self._number(message))
        except NotSpooledError:
            self._sequences[message.link] = before
            raise

    def _shed(self, message: Outgoing, reason: str = BACKLOG) -> None:
        self.ledger.shed += 1
        self.ledger.rows_shed += message.headers.rows
        self._lost.setdefault(message.link, CaptureLedger()).add(message.shed(reason))

    def _is_own(self, message: Outgoing) -> bool:
        """Return whether a spooled message is of this session, or this recording."""
        return (message.headers.agent, message.headers.agent_epoch) == (self.agent, self.epoch)

    def _note_earlier(self, message: Outgoing) -> None:
        if not self._is_own(message):
            self.ledger.earlier_rows += message.headers.rows

    def _number(self, message: Outgoing) -> Outgoing:
        """Give a message its sequence number in the link, once no other can come before it.

        What was shed since the message before is reported with it, so that a reader knows where the hole is.
        """
        sequence = self._sequences.get(message.link, 0)
        self._sequences[message.link] = sequence + 1
        lost = self._lost.pop(message.link, None)
        if lost is None:
            return numbered(message, sequence)
        lost.add(CaptureLedger.from_dict(message.headers.ledger))
        return numbered(replace(message, headers=replace(message.headers, ledger=lost.as_dict())), sequence)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _idle(self) -> bool:
        return not self._queue and not self._under_way and (self.spool is None or self.spool.empty)

    # the thread that hands messages to the client

    def _pump(self) -> None:
        """Send until all is sent; on any error the publisher fails, rather than wait for ever."""
        try:
            while (message := self._next()) is not None:
                self._send(message)
        except OfframpError as error:
            self._fail(error)
        except Exception as error:  # the client raises anything where it is closed while it waits for a broker
            self._fail(_unforeseen(error))

    def _next(self) -> Outgoing | None:
        """Wait for a message and for room under way; None when all is done or has failed."""
        with self._changed:
            while True:
                self._changed.wait_for(self._may_send)
                if self._failure is not None:
                    return None
                if self._again:
                    return self._again.popleft()  # under way all the time
                message = self._take()
                if message is not None:
                    self._under_way += message.size
                    self._unacknowledged[id(message)] = message
                    return message
                if self._closing and self._idle():
                    return None

    def _may_send(self) -> bool:
        if self._failure is not None or self._again or (self._closing and self._idle()):
            return True
        waiting = bool(self._queue) or (self.spool is not None and self.spool.pending)
        return waiting and self._under_way < self._bounds[1]

    def _take(self) -> Outgoing | None:
        """Take the oldest message: of the spool (except what this recording publishes again), else of the queue."""
        while self.spool is not None and (spooled := self.spool.read()) is not None:
            self._note_earlier(spooled)
            if not self._is_own(spooled) or spooled.headers.sequence < self._sequences.get(spooled.link, 0):
                return spooled
            self.spool.done(spooled.segment or 0)
        self._changed.notify_all()
        if not self._queue:
            return None
        message = self._queue.popleft()
        self._queued -= message.size
        return self._number(message)

    def _send(self, message: Outgoing) -> None:
        """Hand a message to the client, retrying while no broker gives it the topic's partitions."""
        while self._failure is None:
            if self._producer is not None and self._producer is self._spent:
                message = self._replace_spent(message)
            if self._producer is None and _away(self._connect):
                with self._changed:
                    self._changed.wait_for(lambda: self._failure is not None, 1.0)
                continue
            from kafka.errors import KafkaError, KafkaTimeoutError

            producer = self._producer
            with kafka_errors(self.settings, "publish"):
                try:
                    future = producer.send(
                        self.topic, message.value, self._key(message.link), _leaving(message).pairs()
                    )
                except KafkaTimeoutError:
                    continue
                except KafkaError:
                    if producer is self._spent:
                        continue
                    raise
            future.add_callback(self._acknowledged, message)
            future.add_errback(self._refused, producer, message)
            return

    def _acknowledged(self, message: Outgoing, _where: Any) -> None:
        with self._changed:
            self._under_way -= message.size
            del self._unacknowledged[id(message)]
            self.ledger.acknowledged += 1
            self.ledger.rows_acknowledged += message.headers.rows
            if message.segment is not None and self.spool is not None:
                self.spool.done(message.segment)
            self._changed.notify_all()
            try:
                self._told(message)
            except Exception as error:  # the client would only log it
                self._fail(_unforeseen(error))

    def _refused(self, producer: Any, message: Outgoing, error: BaseException) -> None:
        try:
            with kafka_errors(self.settings, "publish"):
                raise error
        except OfframpError as failure:
            if not self._set_aside(producer, message, failure):
                self._fail(failure)
        except BaseException as foreign:  # the client would only log it, and all would wait for the message
            self._fail(_unforeseen(foreign))

    def _set_aside(self, producer: Any, message: Outgoing, failure: OfframpError) -> bool:
        """Give up a message no broker would ever take, keep what failed along with it to send again; return whether so.

        The client fails all that is in flight after a refused message. For a recording being published this is the end,
        as its operator can fix it; a live link goes on, and so does the spool of an earlier session.
        """
        with self._changed:
            if producer is self._spent:
                self._again.append(message)
            elif isinstance(failure, KafkaRefusedError) and (self.live or message.segment is not None):
                if self._spent is None:
                    size = f"{message.size:,} bytes of link {message.link}, others are only counted"
                    tell(f"given up: {size}: {failure}")
                self._spent = producer
                self._under_way -= message.size
                del self._unacknowledged[id(message)]
                self._shed(message, REFUSED)
                if message.segment is not None and self.spool is not None:
                    self.spool.done(message.segment)
            else:
                return False
            self._changed.notify_all()
            return True

    def _replace_spent(self, message: Outgoing) -> Outgoing:
        """Close a client that fails everything; queue its messages to send again, and return the first of them."""
        with suppress(Exception):  # it raises for what it has failed
            self._producer.close(timeout=5)
        with self._changed:
            self._producer = None
            again = {id(each) for each in (*self._again, message)}
            self._again = deque(each for name, each in self._unacknowledged.items() if name in again)  # in order
            return self._again.popleft()

    def _fail(self, error: OfframpError) -> None:
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def _connect(self) -> None:
        """Connect the client. Raise KafkaAccessError where no broker answers or the topic is missing."""
        from kafka import KafkaProducer

        require_topics(self.settings, "publish", "features")
        with kafka_errors(self.settings, "publish"):
            self._producer = KafkaProducer(
                **self.settings.client_arguments(), acks="all", enable_idempotence=True, linger_ms=0,
                delivery_timeout_ms=FOREVER_MS, max_block_ms=10_000, allow_auto_create_topics=False,
                max_request_size=MAX_MESSAGE, request_timeout_ms=10_000,
            )  # fmt: skip


def _leaving(message: Outgoing) -> FeatureHeaders:
    """Return a message's headers with its link and the time at which it is handed to the client."""
    hops = {**message.headers.hops, "published": time.time_ns()}
    return replace(message.headers, link=message.link, hops=hops)


def _unforeseen(error: BaseException) -> OfframpError:
    """Return an unexpected error as an OfframpError."""
    return OfframpError(f"publish: sending ended: {type(error).__name__}: {error}")


def _away(connect: Callable[[], None]) -> bool:
    """Try to connect; return whether no broker answers. Other failures are raised."""
    try:
        connect()
    except KafkaAwayError:
        return True
    return False
