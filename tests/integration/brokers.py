"""Brokers for the tests: one that cannot be started skips them, with the reason; under CI it fails them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from deploy.kafka.artifacts import BrokerError
from deploy.kafka.broker import Broker


@contextmanager
def running(made: Broker, start: Callable[[Broker], object] = Broker.start) -> Iterator[Broker]:
    """Start a broker, in a way of one's own where asked for, and remove it at the end."""
    try:
        try:
            start(made)
        except BrokerError as error:
            if os.environ.get("CI"):
                pytest.fail(f"Kafka could not be started: {error}", pytrace=False)
            pytest.skip(f"no Kafka: {error}")
        yield made
    finally:
        made.close()
