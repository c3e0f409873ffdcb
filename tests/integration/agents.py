"""Agents as commands, for the tests of the service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from bench.namespace import Namespace
from offramp.kafka import KafkaSettings
from tests.support.places import ROOT
from tests.support.tap_process import Running


def command_of(settings: KafkaSettings, folder: Path, *arguments: str) -> list[str]:
    config = folder / "agent.toml"
    config.write_text(f'prefix = "{settings.prefix}"\n')
    kafka = ["--kafka", settings.shown, "--kafka-config", str(config)]
    return [sys.executable, "-m", "offramp", *arguments, *kafka]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OFFRAMP_")}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


def messages_of(account: str) -> int:
    """How many messages an agent says that it published."""
    found = re.search(r"rows published .* in ([\d,]+) messages", account)
    assert found, account
    return int(found[1].replace(",", ""))


SECRET = "a test's secret"


def config_of(path: Path, **values: object) -> Path:
    lines = [f"{key} = {'true' if value is True else chr(34) + str(value) + chr(34)}" for key, value in values.items()]
    path.write_text("\n".join(lines))
    return path


class Agent(Running):
    """An `offramp publish` of v1 that runs."""

    command = (sys.executable, "-m", "offramp", "publish", "--interface", "v1")

    def __init__(self, namespace: Namespace, settings: KafkaSettings, folder: Path, *arguments: object) -> None:
        config = folder / "kafka.toml"
        config.write_text(f'prefix = "{settings.prefix}"\n')
        super().__init__(namespace, "--kafka", settings.shown, "--kafka-config", config, *arguments)
