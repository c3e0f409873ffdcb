"""`python -m bench.tap`: a bounded blast on a veth pair, and where each of its packets went.

Everything happens in a network namespace; the sender shares the processors with the tap. Speeds depend on the machine
and on who else uses it; the account must hold anywhere: sent = captured + dropped by the kernel, and captured =
dissected + shed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.measure import cpu_seconds
from bench.namespace import Namespace, NotAllowedError
from offramp.capture.dissect.dissector import Dissector
from offramp.capture.intake.intake import Intake
from offramp.capture.ledger import CaptureLedger
from offramp.capture.sources.live.interface import LiveOptions, open_interface
from offramp.decision.site import default_site
from offramp.inference.artifact import DEFAULT_ARTIFACT
from offramp.stream.local.link_batches import ByLink
from offramp.stream.local.link_choice import LinkChoice
from offramp.stream.local.live_batches import LiveBatches, one_packet
from offramp.stream.local.tap import LoadedModel, assembled

ROOT = Path(__file__).resolve().parents[1]
HEAD = (
    f"{'what':<28} {'sent':>10} {'per second':>10} {'captured':>10} {'kernel drops':>12} {'shed':>9} "
    f"{'before tap':>10} {'lost':>7} {'CPU us/pkt':>10}"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a blast. before_tap: lost on the veth pair itself; cpu_s: the tap's, without the sender's."""

    what: str
    sent: int
    seconds: float
    before_tap: int
    cpu_s: float
    ledger: CaptureLedger

    @property
    def unaccounted(self) -> int:
        """Packets that no counter knows of: must be 0."""
        known = self.ledger.captured + self.ledger.kernel_drops + self.before_tap
        return abs(self.sent - known) + abs(self.ledger.captured - self.ledger.decoded - self.ledger.shed.total())

    def line(self) -> str:
        """Return the outcome as a line of the table."""
        shed = self.ledger.shed.total()
        lost = self.ledger.kernel_drops + shed + self.before_tap
        return (
            f"{self.what:<28} {self.sent:>10,} {self.sent / self.seconds:>10,.0f} {self.ledger.captured:>10,} "
            f"{self.ledger.kernel_drops:>12,} {shed:>9,} {self.before_tap:>10,} {lost / self.sent:>7.2%} "
            f"{1e6 * self.cpu_s / self.sent:>10.2f}"
        )


def blast(what: str, rate: float, seconds: float, size: int, buffer_mb: int, whole: bool) -> Outcome:
    """Send `rate` frames of `size` bytes a second to a tap: the whole pipeline, or capture and dissection alone."""
    namespace = Namespace()
    try:
        options = LiveOptions(backend="ring", buffer_mb=buffer_mb, left=None)
        listening = threading.Event()
        intake = Intake(namespace.call(open_interface, "v1", options), begun=listening.set)
        work, account = _pipeline(intake) if whole else _dissection(intake)
        results: list[dict[str, float]] = []

        def send() -> None:
            listening.wait()
            command = [sys.executable, "-m", "bench.blast", "v0", f"--rate={rate}", f"--seconds={seconds}"]
            # in a session of its own, so that a scheduler that shares by session treats it as another user's
            out, _ = namespace.start([*command, f"--size={size}"], cwd=ROOT, start_new_session=True).communicate()
            results.append(json.loads(out))
            intake.close()

        thread = threading.Thread(target=send)
        thread.start()
        before = _own_cpu_s()
        work()
        used = _own_cpu_s() - before
        thread.join()
        lost = namespace.dropped_before_tap("v1")
        return Outcome(what, int(results[0]["sent"]), results[0]["seconds"], lost, used, account())
    finally:
        namespace.close()


def _pipeline(intake: Intake) -> tuple[Callable[[], object], Callable[[], CaptureLedger]]:
    site = default_site()
    batches = LiveBatches(intake, ByLink(LinkChoice(site), site, "tap"))
    loaded = LoadedModel.of(DEFAULT_ARTIFACT)
    loaded.warm(site)
    tap = assembled([batches], site, loaded, None)
    return lambda: deque(tap.run(), maxlen=0), batches.ledger


def _dissection(intake: Intake) -> tuple[Callable[[], object], Callable[[], CaptureLedger]]:
    Dissector("stream").dissect(one_packet())
    site = default_site()
    batches = LiveBatches(intake, ByLink(LinkChoice(site), site, "tap"))
    dissector = batches.links.dissector(site.links[0].name)
    read = (dissector.dissect(block) for block in intake.read())
    return lambda: deque(read, maxlen=0), batches.ledger


def _own_cpu_s() -> float:
    """Return the processor seconds of this process without its children's."""
    children = os.times()
    return cpu_seconds() - children.children_user - children.children_system


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.tap", description="Blast a tap, and account for it.")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each blast")
    parser.add_argument("--whole-rate", type=float, default=150_000, help="frames a second at the whole pipeline")
    parser.add_argument("--rate", type=float, default=300_000, help="frames a second at capture and dissection alone")
    parser.add_argument("--size", type=int, default=100, help="bytes of a frame")
    parser.add_argument("--buffer", type=int, default=64, metavar="MB", help="the kernel's ring")
    return parser.parse_args()


def main() -> int:
    """Run both blasts and print the table; 1 where a packet is unaccounted for."""
    asked = arguments()
    print(f"load average before: {' '.join(f'{load:.2f}' for load in os.getloadavg())}\n{HEAD}", flush=True)
    wrong = 0
    cases = (("whole pipeline", asked.whole_rate, True), ("capture and dissection", asked.rate, False))
    for what, rate, whole in cases:
        try:
            outcome = blast(what, rate, asked.seconds, asked.size, asked.buffer, whole)
        except NotAllowedError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 2
        print(outcome.line(), flush=True)
        wrong += outcome.unaccounted
    print(f"load average after: {' '.join(f'{load:.2f}' for load in os.getloadavg())}")
    print("every packet is accounted for" if not wrong else f"UNACCOUNTED: {wrong:,}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
