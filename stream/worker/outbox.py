"""The outbox of a partition: hands messages to the producer in order, and lets the partition go on meanwhile.

A command is sent without waiting for the one before it, nor for forecasts. What the broker did not take is sent again,
with all that followed it, so that a scope's commands stay in order; consumers drop the repeats by their ids. What can
never be taken is given up, so that it does not block all that follows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from offramp.kafka import is_final
from offramp.stream.topics.records import OutgoingMessage
from offramp.stream.worker.log import tell_retry

MAX_WAITING = 64
"""Messages that may be in flight; beyond that `put` waits for the oldest."""

RETRY_S = 0.5


Post = Callable[[OutgoingMessage], Awaitable[asyncio.Future[Any]]]
"""Hands a message to the producer, trying as long as it takes; the future is done when the broker has acknowledged."""

GiveUp = Callable[[OutgoingMessage, Exception], OutgoingMessage | None]
"""Called with a message that can never be sent, and why; returns what is to be sent in its place."""


class Outbox:
    """`put` hands a message over; `settle` waits until the broker has acknowledged all that was put before."""

    def __init__(self, post: Post, give_up: GiveUp, limit: int = MAX_WAITING) -> None:
        self._post, self._give_up, self._limit = post, give_up, limit
        self._under_way: deque[tuple[OutgoingMessage, asyncio.Future[Any]]] = deque()
        self._put = self._settled = 0
        self._lock = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._under_way)

    async def put(self, message: OutgoingMessage) -> None:
        """Hand a message to the producer; wait only where too many are in flight."""
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
        """Wait for the oldest message; where it failed, send it and what followed it again, or give it up."""
        message, future = self._under_way[0]
        instead = None
        try:
            await future
        except Exception as error:  # the client raises many kinds; none may end the partition
            if not is_final(error):
                tell_retry(f"sending to {message.topic}", error)
                await self._send_again()
                return
            instead = self._give_up(message, error)
        if instead is not None:
            self._under_way[0] = instead, await self._post(instead)
            return
        self._under_way.popleft()
        self._settled += 1

    async def _send_again(self) -> None:
        """Send all messages in flight again, in order, once none of them is in flight any more."""
        await asyncio.sleep(RETRY_S)
        again = list(self._under_way)
        await asyncio.gather(*(late for _, late in again), return_exceptions=True)  # not beside them
        self._under_way = deque([(each, await self._post(each)) for each, _ in again])
