"""`offramp explain --topic`: a command of the decision topic with its loop, whatever else stands there."""

from __future__ import annotations

import json
from pathlib import Path

from kafka import KafkaProducer

from offramp.kafka import KafkaSettings
from tests.integration.agents import command_of, run
from tests.support.explained import commands_file, demo_commands


def test_a_command_is_told_from_the_topic_as_from_a_file(topics: KafkaSettings, tmp_path: Path) -> None:
    lines = demo_commands("shipped")
    producer = KafkaProducer(**topics.client_arguments())
    for value in (b"no command", lines[0].encode(), *(line.encode() for line in lines), None, b"{}"):
        producer.send(topics.topic("decisions"), value, b"lab/uplink")
    producer.flush(30)
    producer.close()
    wanted = json.loads(lines[0])["decision_id"]
    told = run(command_of(topics, tmp_path, "explain", wanted[:8], "--topic"))
    assert told.returncode == 0, told.stderr
    path = commands_file(tmp_path, "shipped")
    assert told.stdout == run(command_of(topics, tmp_path, "explain", wanted, str(path))).stdout
    left_out = "3 messages are no commands, and are left out (offramp follow shows them)"
    assert told.stderr == f"warning: {topics.topic('decisions')}: {left_out}\n"
    none = run(command_of(topics, tmp_path, "explain", wanted, "--topic", "--from", "end"))
    assert none.returncode == 2
    assert none.stderr == f"offramp: there is no command in {topics.topic('decisions')}\n"
