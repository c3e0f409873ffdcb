"""A network namespace with a veth pair, and a broker in there with it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from numpy.typing import NDArray

from bench.namespace import Namespace
from deploy.kafka.broker import Broker
from offramp.kafka import KafkaSettings
from offramp.stream.topics.table import create_topics
from tests.integration.brokers import running
from tests.support.live import new_namespace
from tests.support.pipelines import learned


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    made = new_namespace()
    yield made
    made.close()


@pytest.fixture(scope="module")
def broker(namespace: Namespace) -> Iterator[Broker]:
    """A broker in the namespace, whose programs cannot reach the host's."""
    with running(Broker(), lambda made: namespace.call(made.start)) as made:
        yield made


@pytest.fixture
def topics(namespace: Namespace, broker: Broker) -> KafkaSettings:
    settings = KafkaSettings((broker.address,), prefix=f"t{uuid.uuid4().hex[:12]}")
    namespace.call(create_topics, settings, 1, 1)
    return settings


@pytest.fixture(scope="module")
def normaliser_state() -> dict[str, NDArray[Any]]:
    return learned()
