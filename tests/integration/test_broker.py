from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest
from kafka import KafkaConsumer, KafkaProducer

from deploy.kafka.artifacts import BrokerError, fetch_jars
from deploy.kafka.broker import Broker
from offramp.kafka import KafkaSettings, kafka_errors, kafka_settings
from tests.support.places import ROOT


def roundtrip(settings: KafkaSettings, topic: str) -> bytes:
    arguments = settings.client_arguments()
    producer = KafkaProducer(**arguments)
    producer.send(topic, b"hello").get(30)
    producer.close()
    consumer = KafkaConsumer(topic, **arguments, auto_offset_reset="earliest", consumer_timeout_ms=30_000)
    value: bytes = next(iter(consumer)).value
    consumer.close()
    return value


def test_a_restart_keeps_ports_and_data(broker: Broker, kafka: KafkaSettings) -> None:
    from kafka import KafkaAdminClient

    if os.environ.get("OFFRAMP_KAFKA"):
        pytest.skip("OFFRAMP_KAFKA names a cluster that tests may not restart")
    admin = KafkaAdminClient(**kafka.client_arguments())
    admin.create_topics({kafka.topic("features"): {"num_partitions": 1}}, wait_for_metadata=True)
    admin.close()
    assert roundtrip(kafka, kafka.topic("features")) == b"hello"
    address = broker.address
    broker.restart(crash=True)
    assert broker.address == address
    consumer = KafkaConsumer(
        kafka.topic("features"), **kafka.client_arguments(), auto_offset_reset="earliest", consumer_timeout_ms=30_000
    )
    assert next(iter(consumer)).value == b"hello"
    consumer.close()


def test_make_kafka_prints_its_address_and_ends_on_sigterm() -> None:
    try:
        fetch_jars()
    except BrokerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    command = [sys.executable, "-m", "deploy.kafka"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        settings = kafka_settings(address)
        with kafka_errors(settings, "looking"):
            KafkaProducer(**settings.client_arguments()).close()
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "stop it with Ctrl-C" in told
    assert f"OFFRAMP_KAFKA={address}" in told


def test_a_missing_java_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "java" else program)
    with pytest.raises(BrokerError, match="java is missing"):
        fetch_jars()
