"""The worker's log: one line per record, with time and level; Kafka libraries' records only if nothing else has them.

aiokafka and Faust log each try of each coroutine, dozens a second, while a broker is away. offramp.reach reports that
once, and what a worker retries it logs itself.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path

from aiokafka import errors

from offramp.kafka import KafkaAwayError

FOREIGN = frozenset({"aiokafka", "faust", "mode", "asyncio", "kafka"})
RETRY = "trying again"
"""How records of retries end."""
AGAIN_S = 60.0
"""Seconds after which such a record is logged again."""
AWAY = (
    errors.KafkaConnectionError, errors.KafkaTimeoutError, errors.RequestTimedOutError, errors.NodeNotReadyError,
    errors.NotLeaderForPartitionError, errors.LeaderNotAvailableError, errors.StaleMetadata, OSError,
)  # fmt: skip
"""Errors that clients raise while brokers are away or leaders move; they and we try again."""
EXPECTED = (errors.KafkaError, OSError, TimeoutError, asyncio.CancelledError)

log = logging.getLogger("offramp.worker")


def set_up() -> Selection:
    """Log to standard error; return the filter that selects records."""
    handler, selection = logging.StreamHandler(sys.stderr), Selection()
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s offramp worker: %(message)s", "%Y-%m-%dT%H:%M:%SZ"))
    handler.addFilter(selection)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    return selection


def tell_retry(what: str, error: BaseException) -> None:
    """Log that something is tried again; at INFO while Kafka is away, which is reported once for all."""
    away = isinstance(error, (*AWAY, KafkaAwayError))
    log.log(logging.INFO if away else logging.WARNING, "%s: %s; %s", what, str(error) or repr(error), RETRY)


class OneLine(logging.Formatter):
    """A record as one line in UTC; an exception by its type, text and place."""

    def __init__(self, form: str, times: str | None = None) -> None:
        super().__init__(form, times)
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        record.exc_text = None  # as another handler may have put it
        text = " ".join(super().format(record).split("\n"))
        record.exc_text = None
        return text[:1_000]

    def formatException(self, ei: object) -> str:  # noqa: N802 - the name of the base class
        """Return an exception in words, with the file and line that raised it."""
        error = ei[1] if isinstance(ei, tuple) else None
        if error is None:
            return ""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})" if trace is not None else ""
        return f"{type(error).__name__}: {error}{where}"


class Selection(logging.Filter):
    """Passes our records, retries once in AGAIN_S, and of the libraries only errors that are not Kafka's.

    ending: pass nothing of the libraries any more, as they are stopped in the middle of what they do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ending = False
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record."""
        if record.name.partition(".")[0] in FOREIGN:
            error = record.exc_info[1] if record.exc_info else None
            if self.ending or record.levelno < logging.ERROR or error is None or isinstance(error, EXPECTED):
                return False
        now_s, text = time.monotonic(), record.getMessage()
        if not text.endswith(RETRY):
            return True
        if now_s - self._told.get(text, -AGAIN_S) < AGAIN_S:
            return False
        if len(self._told) > 1_000:
            self._told.clear()
        self._told[text] = now_s
        return True
