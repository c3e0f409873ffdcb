"""A real Kafka for the tests: OFFRAMP_KAFKA where it is set, else one started here. Under CI none is a failure."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from deploy.kafka.broker import Broker
from offramp.kafka import KafkaSettings
from offramp.stream.topics.table import create_topics
from tests.integration.brokers import running


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A broker of our own, with TLS and SCRAM listeners, that tests may restart."""
    with running(Broker(secure=True)) as made:
        yield made


@pytest.fixture
def kafka(request: pytest.FixtureRequest) -> KafkaSettings:
    """Settings with a topic prefix that no other test has."""
    address = os.environ.get("OFFRAMP_KAFKA") or request.getfixturevalue("broker").address
    return KafkaSettings(tuple(address.split(",")), prefix=f"t{uuid.uuid4().hex[:12]}")


@pytest.fixture
def topics(request: pytest.FixtureRequest, kafka: KafkaSettings) -> KafkaSettings:
    """Those settings with all topics made, of as many partitions as the module's PARTITIONS says; one otherwise."""
    create_topics(kafka, getattr(request.module, "PARTITIONS", 1), 1)
    return kafka


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let pass what kafka-python leaves to the garbage collector: sockets of connections that failed."""
    for item in items:
        if "integration" in str(item.path):
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))
