"""`make kafka`: one Kafka node in the foreground, on loopback, until Ctrl-C; its data goes with it."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

from deploy.kafka.broker import Broker
from offramp.errors import OfframpError


def main() -> int:
    """Start a broker, print its address, wait for it or for an interrupt."""
    argparse.ArgumentParser(
        prog="python -m deploy.kafka",
        description="Run one Kafka node on loopback until Ctrl-C. Its address goes to standard output, for "
        "OFFRAMP_KAFKA; its data are temporary. The first start fetches Kafka's archives with Maven.",
    ).parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Broker() as broker:
            print(broker.address, flush=True)
            print(
                f"Kafka runs at {broker.address}; stop it with Ctrl-C (its data goes with it)\n"
                f"in another shell: export OFFRAMP_KAFKA={broker.address} && offramp topics create\n"
                f"log: {broker.log}",
                file=sys.stderr,
                flush=True,
            )
            return broker.wait()
    except OfframpError as error:
        print(f"kafka: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 0


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
