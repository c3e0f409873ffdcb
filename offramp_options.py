"""Options that commands of several modules share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Kafka = Annotated[
    str | None,
    typer.Option("--kafka", metavar="HOST:PORT", envvar="OFFRAMP_KAFKA", help="brokers, comma between"),
]
KafkaConfig = Annotated[
    Path | None,
    typer.Option("--kafka-config", envvar="OFFRAMP_KAFKA_CONFIG", help="TOML: topic prefix, TLS, user (docs/kafka.md)"),
]
