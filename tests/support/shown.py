"""What a follower showed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shown:
    """A record of another topic."""

    topic: str
    key: Any
    value: Any
    headers: Any
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
