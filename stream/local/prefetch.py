"""Run iterators in threads of their own, a bounded number of items ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


LEAVE_S = 1.0
"""How long the thread may take to end; one that waits for a pipe does not, and is left to itself."""


class _End:
    """What the thread hands over last: why it ended."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch(items: Iterator[T], depth: int = 4) -> Generator[T, None, None]:
    """Yield `items` in order while a thread reads up to `depth` ahead; its errors are raised here.

    Compiled kernels release the interpreter lock, so reading and dissecting run beside windows and model.
    """
    return merged((items,), depth)


def merged(streams: Sequence[Iterator[T]], depth: int = 4) -> Generator[T, None, None]:
    """Yield the items of several iterators, a thread each, as they come; those of each in its order.

    The first error ends them all, and is raised here.
    """
    ready: queue.Queue[T | _End] = queue.Queue(depth * max(1, len(streams)))
    stopped = threading.Event()

    def offer(item: T | _End) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work(items: Iterator[T]) -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not offer(item):
                    return
        except BaseException as caught:
            error = caught
        finally:
            if isinstance(items, Generator):
                items.close()  # ends the thread that it may read ahead with itself
        offer(_End(error))

    threads = [threading.Thread(target=work, args=(each,), name="offramp-prefetch", daemon=True) for each in streams]
    for thread in threads:
        thread.start()
    left = len(threads)
    try:
        while left:
            item = ready.get()
            if not isinstance(item, _End):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                left -= 1
    finally:
        stopped.set()
        for thread in threads:
            thread.join(LEAVE_S)
