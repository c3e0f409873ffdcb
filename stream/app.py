"""The Faust worker: delivers the feature topic's messages to one processor per partition, and hands partitions over.

Faust does the group: assignment, rebalancing, fetching. Its acknowledgements, tables and exactly-once mode are not used
(docs/kafka.md says why): a partition commits by itself, after its checkpoint.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import faust
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    CommitFailedError,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
)
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.types import TP
from faust.types.auth import CredentialsT

from offramp.decision.command import Headers
from offramp.decision.site import Site
from offramp.hops import HEADER, encode_hops
from offramp.inference.artifact import Artifact
from offramp.inference.serving.predictor import Predictor
from offramp.kafka import MAX_MESSAGE, KafkaSettings, TopicState, is_final
from offramp.reach import Reach
from offramp.records import read_past_unreadable_records
from offramp.stream.bins.state import SERIES
from offramp.stream.links.bundle_consumer import BundleConsumer
from offramp.stream.pipeline.carried_state import StatePool
from offramp.stream.pipeline.meeting import Meeting
from offramp.stream.pipeline.pipeline import Pipeline
from offramp.stream.pipeline.timeline import LinkTimeline
from offramp.stream.topics.records import OutgoingMessage
from offramp.stream.worker.checkpoint_reader import LoadedStates, load_states, naming
from offramp.stream.worker.ending import PROCESSORS_AWAY_S, PROCESSORS_S
from offramp.stream.worker.load_shedding import MAX_AGE_S
from offramp.stream.worker.log import tell_retry
from offramp.stream.worker.micro_batch import MicroBatches
from offramp.stream.worker.outbox import RETRY_S
from offramp.stream.worker.partition_meter import PartitionMeter
from offramp.stream.worker.partition_processor import CHECKPOINT_S, SESSION_S, PartitionProcessor, WorkerLedger
from offramp.stream.worker.unpaused_app import PresentPartitions, UnpausedApp
from offramp.stream.worker.watchdog import REBALANCE_S

log = logging.getLogger("offramp.worker")
BROKEN = (ProducerClosed, ProducerFenced, OutOfOrderSequenceNumber)
"""Errors of a producer that will send nothing any more; a plain KafkaError too, where its task has died."""
METADATA_S = 10.0
"""Greatest age of the consumer's metadata: a topic that was deleted and made again is then assigned anew."""
PRODUCER_S = 1.0
"""Seconds that stopping the producer may take, once all that partitions sent is acknowledged or given up."""


UNKNOWN = TopicState("", 1 << 31)
"""A feature topic of which only the name is known."""


class Worker:
    """A Faust app over the feature topic of a site; `app` is what Faust runs, `ledger` counts what was done.

    assigned: the partitions that are ours; None before the first assignment, and during a rebalance.
    topic: the feature topic that the offsets are of; its partitions are worked on, not those added later.
    reach: whether Kafka answers; ending: whether no more is taken.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        site: Site,
        artifact: Artifact,
        predictor: Predictor,
        *,
        group: str = "",
        forecasts: bool = True,
        checkpoint_s: float = CHECKPOINT_S,
        session_s: float = SESSION_S,
        max_age_s: float = MAX_AGE_S,
        meter: PartitionMeter | None = None,
        topic: TopicState = UNKNOWN,
    ) -> None:
        read_past_unreadable_records()
        self.settings, self.site, self.artifact, self.predictor = settings, site, artifact, predictor
        self.ledger = WorkerLedger()
        self.processors: dict[int, PartitionProcessor] = {}
        self.assigned: frozenset[int] | None = None
        self._given = frozenset[int]()
        self.topic, self.reach = topic, Reach("worker")
        self.ending = self._moving = False
        self.meter = meter or PartitionMeter()
        self._options: dict[str, Any] = {
            "forecasts": forecasts, "checkpoint_s": checkpoint_s, "max_age_s": max_age_s, "session_s": session_s,
            "meter": self.meter,
        }  # fmt: skip
        threads = len(os.sched_getaffinity(0))
        self._executor = ThreadPoolExecutor(threads + 1, thread_name_prefix="offramp-model")
        self.batches = MicroBatches(self._executor, threads)
        self._states = StatePool(len(site.links), SERIES, predictor.state_size)
        self._producer: AIOKafkaProducer | None = None
        self._spent: set[AIOKafkaProducer | None] = set()
        self._connecting = asyncio.Lock()
        self.app = self._make_app(group or f"{settings.prefix}-{site.name}", session_s)
        features = self.app.topic(
            settings.topic("features"), key_serializer="raw", value_serializer="raw", acks=False, internal=False
        )
        self.app.agent(features, name="offramp.worker")(self._consume)
        self.app.on_partitions_revoked.connect(self._revoked)
        self.app.on_partitions_assigned.connect(self._assigned)

    def _make_app(self, group: str, session_s: float) -> faust.App:
        return UnpausedApp(
            group,
            broker=[f"aiokafka://{server}" for server in self.settings.servers],
            broker_credentials=credentials(self.settings),
            broker_session_timeout=session_s,
            broker_heartbeat_interval=session_s / 5,
            broker_request_timeout=30.0,
            consumer_auto_offset_reset="earliest",
            consumer_metadata_max_age_ms=int(METADATA_S * 1e3),
            consumer_max_fetch_size=8 << 20,
            stream_buffer_maxsize=16,
            PartitionAssignor=PresentPartitions,
            topic_allow_declare=False,
            topic_disable_leader=True,
            store="memory://",
            datadir=tempfile.mkdtemp(prefix="offramp-worker-"),
            web_enabled=False,
            autodiscover=False,
        )

    async def _consume(self, stream: Any) -> None:
        """Deliver each message to its partition's processor."""
        async for event in stream.events():
            message = event.message
            if self.ending or self._moving or message.partition >= self.topic.partitions:
                continue
            try:
                await self._processor(message.partition).put(message)
            except Exception as error:
                log.exception("partition %d", message.partition)
                await self.app.crash(error)  # started again, the worker goes on from the checkpoint
                return

    def _processor(self, partition: int) -> PartitionProcessor:
        if partition not in self.processors:
            self.processors[partition] = PartitionProcessor(
                partition, self.site.name, self.site.bundle_names, self._make_consumer,
                self._load, self, self.batches, self._executor, self.ledger, horizon_ms=self.predictor.horizon_ms,
                topic_id=self.topic.id, **self._options,
            )  # fmt: skip
        return self.processors[partition]

    def _make_consumer(self, bundle: str, sink: Callable[[LinkTimeline], None]) -> BundleConsumer:
        carried = {link: self._states.take() for link, of in self.site.bundle_names.items() if of == bundle}

        def make(link: str, meeting: Meeting) -> Pipeline:
            scale = self.artifact.normaliser
            return Pipeline(self.site, link, self.predictor, scale, meeting, sink=sink, carried=carried[link])

        return BundleConsumer.of(self.site, bundle, make)

    async def _load(self, partition: int) -> LoadedStates:
        """Load what a partition starts from, retrying until the broker gives it."""
        loop = asyncio.get_running_loop()
        bundles = frozenset(bundle.name for bundle in self.site.bundles)
        arguments = self.settings, partition, self.site.name, bundles, self.app.conf.id, self.topic.id
        while True:
            try:
                return await loop.run_in_executor(self._executor, load_states, *arguments)
            except Exception as error:  # kafka-python raises more than its own errors where a connection ends
                tell_retry(f"partition {partition}", error)
                await asyncio.sleep(RETRY_S)

    async def _revoked(self, *_: Any, **__: Any) -> None:
        """Hand the partitions over: write checkpoints, then drop all of them from memory.

        Where that takes longer than the group waits for us, the next owner repeats what was not checkpointed.
        """
        self.assigned, self._given = None, frozenset()
        await self.close_processors(REBALANCE_S)

    async def _assigned(self, _: Any, assigned: Any, **__: Any) -> None:
        self._given = frozenset(tp.partition for tp in assigned if tp.topic == self.settings.topic("features"))
        self.assigned = self._served()
        self.ledger.rebalances += 1

    def _served(self) -> frozenset[int]:
        """Return the assigned partitions that are worked on."""
        return frozenset(partition for partition in self._given if partition < self.topic.partitions)

    async def close_processors(self, patience_s: float) -> None:
        """Close all partitions, each with a checkpoint; abandon those that take longer than `patience_s`."""
        lanes, self.processors = self.processors, {}
        if not lanes:
            return
        await asyncio.wait([asyncio.create_task(processor.close()) for processor in lanes.values()], timeout=patience_s)
        for processor in lanes.values():
            processor.abandon()

    async def take_up(self, topic: TopicState) -> None:
        """Go on with a feature topic that was made again, or lost its end: offsets of the former one do not apply.

        What comes meanwhile is read again: each partition is read from its beginning, or from the group's offset.
        """
        self._moving = True
        try:
            await self.close_processors(PROCESSORS_S)
            self.topic = topic
            if self.assigned is not None:
                self.assigned = self._served()
            for partition in sorted(self._served()):
                with suppress(KafkaError, AssertionError, OSError):  # not ours, or not there: it is assigned anew soon
                    await self.rewind(partition, 0)
        finally:
            self._moving = False

    # what partitions write to

    async def post(self, message: OutgoingMessage) -> asyncio.Future[Any]:
        """Hand a message to the producer, retrying as long as it takes; the future is done when it is acknowledged.

        For a message that can never be sent the future holds the error.
        """
        topic, place = self.settings.topic(message.topic), None if message.partition < 0 else message.partition
        while True:
            try:
                producer = await self._connected()
                if place is not None:
                    await require_partition(producer, topic, place)
                future: asyncio.Future[Any] = await producer.send(
                    topic, message.value, key=message.key, headers=_told(message), partition=place
                )
            except Exception as error:
                if is_final(error):
                    failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                    failed.set_exception(error)
                    return failed
                if not isinstance(error, (KafkaError, OSError)):
                    raise
                if type(error) is KafkaError or isinstance(error, BROKEN):
                    self._spent.add(self._producer)
                tell_retry(f"sending to {message.topic}", error)
                await asyncio.sleep(RETRY_S)
            else:
                future.add_done_callback(partial(self.meter.acknowledged, message))
                future.add_done_callback(partial(self._note_refusal, producer))
                return future

    def _note_refusal(self, producer: AIOKafkaProducer, future: asyncio.Future[Any]) -> None:
        """Retire the producer where the broker refused a message that it had numbered.

        An idempotent producer numbers its messages, and the broker takes none behind a number that it never got: after
        one refusal all others would be refused (aiokafka does not number them again).
        """
        error = None if future.cancelled() else future.exception()
        if isinstance(error, KafkaError) and not error.retriable:
            self._spent.add(producer)

    async def _connected(self) -> AIOKafkaProducer:
        """Return the one producer of all partitions, started by the first that asks."""
        async with self._connecting:
            if self._producer is not None and self._producer in self._spent:
                await self._producer.stop()  # whatever else it has in flight is settled first, so order stays
                self._spent.clear()
                self._producer = None
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self.settings.connection_arguments(), acks="all", enable_idempotence=True,
                    max_request_size=MAX_MESSAGE, request_timeout_ms=30_000,
                )  # fmt: skip
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def commit(self, partition: int, offset: int) -> bool:
        """Commit an offset; return whether the group took it from a member: else it is rebalancing, or not ours."""
        thread: Any = self.app.consumer._thread  # Faust's own commit ends the worker on a broker's restart
        place = TopicPartition(self.settings.topic("features"), partition)
        try:
            consumer = thread._ensure_consumer()
            await thread.call_thread(commit_as_member, consumer, {place: OffsetAndMetadata(offset, naming(self.topic))})
        except (KafkaError, OSError) as error:
            log.info("committing offset %d of partition %d: %r", offset, partition, error)
            return False
        return True

    async def rewind(self, partition: int, offset: int) -> None:
        """Seek a partition back to an offset."""
        await self.app.consumer.seek(TP(self.settings.topic("features"), partition), offset)

    def waiting(self, partition: int, offset: int) -> bool:
        """Return whether newer messages than the one at an offset had come when the broker was last asked."""
        thread: Any = self.app.consumer._thread
        place = TopicPartition(self.settings.topic("features"), partition)
        consumer = thread._consumer
        try:
            return int(consumer.highwater(place) or 0) > offset + 1
        except (AssertionError, AttributeError):
            return False  # handed over just now: aiokafka says so by an assertion

    async def stop(self) -> None:
        """Take no more, end partitions and producer; the app is stopped by its own worker."""
        self.ending = True
        await self.close_processors(PROCESSORS_S if self.reach.connected else PROCESSORS_AWAY_S)
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(producer.stop(), PRODUCER_S)
        self._executor.shutdown(wait=False)


async def require_partition(producer: AIOKafkaProducer, topic: str, partition: int) -> None:
    """Raise ValueError, which is final, where a topic exists without a partition; metadata is fetched again first.

    A topic that was made again may have more than the producer knows of, which sends to none of those; and a hand-over
    must not wait for a checkpoint to a partition that no longer exists.
    """
    if partition not in await producer.partitions_for(topic):
        await producer.client.force_metadata_update()
        if partition not in await producer.partitions_for(topic):
            raise ValueError(f"{topic} has no partition {partition}")


async def commit_as_member(consumer: Any, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
    """Commit offsets as the member of the group that the consumer is now. Raises KafkaError where it is none.

    Kafka takes offsets from anybody while a group has no members, even from a consumer that was evicted and has not
    joined again; that would not show whether a partition is still ours.
    """
    coordinator = consumer._coordinator
    generation = coordinator.generation
    if generation < 0:
        raise CommitFailedError("the group has put this worker out")
    await consumer.commit(offsets)
    if coordinator.generation != generation:
        raise CommitFailedError("the group has rebalanced meanwhile")


def _told(message: OutgoingMessage) -> Headers:
    """Return the headers of a message that is about to be sent, with its hops where it has some."""
    if not message.hops:
        return message.headers
    return [*message.headers, (HEADER, encode_hops({**message.hops, "sent": time.time_ns()}))]


def credentials(settings: KafkaSettings) -> CredentialsT | None:
    """Return TLS and SASL settings as Faust's credentials."""
    context = settings.ssl_context() if settings.tls else None
    if settings.username:
        return faust.SASLCredentials(
            username=settings.username, password=settings.password, ssl_context=context, mechanism=settings.mechanism
        )
    return faust.SSLCredentials(context) if context is not None else None
