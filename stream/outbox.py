"""The outbox of a lane: messages handed to the producer in order, acknowledged while the lane goes on.

A command leaves without waiting for the one before it, nor for forecasts. What the broker did not take is sent again,
with all that followed it, so that a scope's commands stay in order; consumers drop the repeats by their ids.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.errors import KafkaError

from stream.portion import Outgoing
from stream.worker_log import tell_retry

LIMIT = 64
"""Messages that may be under way; beyond that `put` waits for the oldest."""

RETRY_S = 0.5


Post = Callable[[Outgoing], Awaitable[asyncio.Future[Any]]]
"""Hands a message to the producer, trying as long as it takes; the future is done when the broker has acknowledged."""


class Outbox:
    """`put` hands over; `settle` waits until the broker has acknowledged all that was put before."""

    def __init__(self, post: Post, limit: int = LIMIT) -> None:
        self._post, self._limit = post, limit
        self._under_way: deque[tuple[Outgoing, asyncio.Future[Any]]] = deque()
        self._put = self._settled = 0
        self._lock = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._under_way)

    async def put(self, message: Outgoing) -> None:
        """Hand a message to the producer; wait only where too many are under way."""
        async with self._lock:
            while self._under_way and (self._under_way[0][1].done() or len(self._under_way) >= self._limit):
                await self._settle_oldest()
            self._under_way.append((message, await self._post(message)))
            self._put += 1

    async def settle(self) -> None:
        """Wait until all that was put so far is acknowledged, as long as it takes; more may be put meanwhile."""
        wanted = self._put
        while self._settled < wanted:
            await asyncio.wait([self._under_way[0][1]])
            async with self._lock:
                while self._settled < wanted and self._under_way[0][1].done():
                    await self._settle_oldest()

    async def _settle_oldest(self) -> None:
        """Wait for the oldest message; send it and what followed it again where that failed."""
        message, future = self._under_way[0]
        try:
            await future
        except (KafkaError, OSError) as error:
            tell_retry(f"sending to {message.topic}", error)
            await asyncio.sleep(RETRY_S)
            again = list(self._under_way)
            await asyncio.gather(*(late for _, late in again), return_exceptions=True)  # not beside them
            self._under_way = deque([(each, await self._post(each)) for each, _ in again])
        else:
            self._under_way.popleft()
            self._settled += 1
