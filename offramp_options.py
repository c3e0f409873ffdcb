"""Options that commands of several modules share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DAY_S, YEAR_S = 86_400, 31_536_000
MOST_PACKETS = 10**15
"""More than a port of 1 Tbit/s carries in a week: what is more is a slip."""

Kafka = Annotated[
    str | None,
    typer.Option("--kafka", metavar="HOST:PORT", envvar="OFFRAMP_KAFKA", help="brokers, comma between"),
]
KafkaConfig = Annotated[
    Path | None,
    typer.Option("--kafka-config", envvar="OFFRAMP_KAFKA_CONFIG", help="TOML: topic prefix, TLS, user (docs/kafka.md)"),
]
