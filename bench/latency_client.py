"""A controller's client for the latency bench: `python -m bench.latency_client HOST:PORT PREFIX IDLE_S`.

It runs in a process of its own, as a controller's would. Commands that have expired by this machine's clock are left
out, and counted. It prints `ready` when it has connected, and at its end one JSON object: `commands`, a list of
[decision id, window end in ns, phase, hops] each, and `counts` of the client.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

from offramp.decision.acceptance import time_ns
from offramp.decision.client import DecisionClient
from offramp.kafka import KafkaSettings

PATIENCE_S = 60.0


def taken(client: DecisionClient) -> Iterator[tuple[str, int, str, dict[str, int]]]:
    """Yield what is kept of each command; `given` is when the loop over the client had it."""
    for command in client:
        hops = {**client.hops, "given": time.time_ns()}
        yield command["decision_id"], time_ns(command["reason"]["window_end"]), command["phase"], hops


def main() -> int:
    """Connect, take, print."""
    settings, idle_s = KafkaSettings((sys.argv[1],), prefix=sys.argv[2]), float(sys.argv[3])
    with DecisionClient(settings, controller="bench", start="beginning", idle_s=idle_s) as client:
        print("ready", flush=True)
        begun, found = time.monotonic(), list(taken(client))
        while not found and time.monotonic() - begun < PATIENCE_S:  # the first ones may come late
            found = list(taken(client))
    print(json.dumps({"commands": found, "counts": client.counts}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
