"""End a worker within END_S seconds, with or without Kafka: print its account first, then stop the clients.

Stopping the libraries may wait for a broker for a minute, and logs tracebacks of what it cancels. The next owner
repeats what was not checkpointed, so nothing is lost by leaving in the middle of that.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from offramp.streams import tell

END_S = 8.5
"""From the signal to the end at the latest; supervisors kill after 10 s (Docker) or later."""
PROCESSORS_S = 6.0
"""Of these: for the last checkpoints, while Kafka answers."""
PROCESSORS_AWAY_S = 1.0
"""While it does not."""


class Ending:
    """Prints the account once; after `begin` the process ends within END_S, in order or not.

    failed: whether it ends by an error that is reported elsewhere. account: its lines; failure: what ended the worker
    in words, empty where it was asked to; clean: removes its files.
    """

    def __init__(self, account: Callable[[], list[str]], failure: Callable[[], str], clean: Callable[[], None]) -> None:
        self.begun = self.failed = False
        self._account, self._failure, self._clean = account, failure, clean
        self._lock = threading.Lock()
        self._told = False

    def begin(self) -> bool:
        """Start the time limit; return whether this was the first call."""
        first, self.begun = not self.begun, True
        if first:
            threading.excepthook = lambda _: None  # the libraries' threads end in the middle of what they do
            timer = threading.Timer(END_S, self.leave)
            timer.daemon = True
            timer.start()
        return first

    def report(self) -> None:
        """Print the account, the first time."""
        with self._lock:
            if not self._told:
                self._told = True
                tell("\n".join(self._account()))

    def leave(self) -> None:
        """Exit at once, whatever is still waiting."""
        self.report()
        self._clean()
        failure = self._failure()
        if failure:
            tell(f"offramp: {failure}")
        os._exit(1 if failure or self.failed else 0)
