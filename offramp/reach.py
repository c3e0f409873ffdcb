"""Report when Kafka no longer answers, and when it does again after how long: one line each.

The clients try again by themselves, and log every try; these two lines are what an operator needs of that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from offramp.kafka import KafkaAccessError, KafkaSettings, TopicState, described, kafka_errors
from offramp.streams import tell

AWAY_S = 5.0
"""Silence of this length is reported; a broker's restart, or a slow answer, needs no operator."""
ASK_S = 2.0
"""Seconds between two questions; each costs the broker one small request."""
ANSWER_S = 5.0
"""How long one answer is waited for."""


def say(text: str) -> None:
    """Print a line for the operator on standard error, with the time and the level; errors are ignored."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    tell(f"{now} WARNING offramp {text}")


class Reach:
    """Tracks answers and failures of a cluster; `tell` gets a line when it goes and one when it is back.

    doing: the command, for the lines. All methods may be called from any thread. The time before the first answer
    counts as silence, too.
    """

    def __init__(self, doing: str, tell: Callable[[str], None] = say, away_s: float = AWAY_S) -> None:
        self._doing, self._tell, self._away_s = doing, tell, away_s
        self._lock = threading.Lock()
        self._answered_s = time.monotonic()
        self._told_s: float | None = None

    @property
    def connected(self) -> bool:
        """Whether Kafka answers; False once it was reported away."""
        return self._told_s is None

    @property
    def silent_s(self) -> float:
        """Seconds since the last answer."""
        return time.monotonic() - self._answered_s

    def answered(self) -> None:
        """Note an answer; report that Kafka is back where it was reported away."""
        with self._lock:
            silent_s, self._answered_s = self.silent_s, time.monotonic()
            back, self._told_s = self._told_s is not None, None
        if back:
            self._tell(f"{self._doing}: Kafka answers again, after {silent_s:.0f} s")

    def missed(self, why: str) -> None:
        """Note that there was no answer, and why in words; report it where that has been so for a while."""
        with self._lock:
            gone = self._told_s is None and self.silent_s >= self._away_s
            if gone:
                self._told_s = time.monotonic()
        if gone:
            self._tell(f"{self._doing}: {why}; trying again until it does")


class ReachWatch:
    """Asks Kafka for topics every ASK_S seconds from a thread of its own; `reach` and `topics` have what was found.

    names: of the topics, without prefix; topics: the state of those that exist, by full name.
    """

    def __init__(self, settings: KafkaSettings, doing: str, *names: str, tell: Callable[[str], None] = say) -> None:
        self.reach = Reach(doing, tell)
        self.topics: dict[str, TopicState] = {}
        self._settings, self._doing, self._names = settings, doing, [settings.topic(name) for name in names]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="offramp-reach", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """Ask no more; the thread may be waiting for an answer, and is a daemon."""
        self._over.set()

    def _work(self) -> None:
        admin: Any = None
        while not self._over.wait(ASK_S):
            try:
                with kafka_errors(self._settings, self._doing):
                    admin = admin or patient_admin(self._settings)
                    self.topics = described(admin, self._names)
                self.reach.answered()
            except KafkaAccessError as error:
                self.reach.missed(str(error).removeprefix(f"{self._doing}: "))
            except Exception as error:  # the clients raise other errors, too, where a connection ends meanwhile
                self.reach.missed(f"Kafka at {self._settings.shown}: {error!r}")
        if admin is not None:
            with suppress(Exception):  # the watch is over
                admin.close()


@contextmanager
def reach_watched(settings: KafkaSettings, doing: str, *names: str) -> Iterator[ReachWatch]:
    """Watch within the body whether Kafka answers, and the state of some topics."""
    watch = ReachWatch(settings, doing, *names)
    watch.start()
    try:
        yield watch
    finally:
        watch.close()


def patient_admin(settings: KafkaSettings) -> Any:
    """Return an administrator's client that waits ANSWER_S seconds for an answer. Raises what kafka-python does."""
    from kafka import KafkaAdminClient

    return KafkaAdminClient(**settings.client_arguments(), request_timeout_ms=int(ANSWER_S * 1e3))
