"""One link in a worker: its pipeline, fed with the link's messages in order, and the account of these messages.

The result depends on the messages and their order alone: repeats are dropped by agent, epoch and sequence, gaps are
counted, and a recording that begins before the newest time seen begins the link anew. Where messages were shed or are
missing, or an agent was away, bins and windows begin anew behind the hole: it is not taken for silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from offramp.capture.ledger import CaptureLedger
from offramp.capture.message.decode import SCHEMA, FeatureMessage
from offramp.counts import Counts
from offramp.decision.command import Command
from offramp.errors import ContractError
from offramp.stream.channels import BIN_NS
from offramp.stream.links.state_check import require_bins, require_like
from offramp.stream.pipeline.ledger import StreamLedger
from offramp.stream.pipeline.pipeline import Pipeline, Step, predictions_of
from offramp.stream.windows.loss import loss_in
from offramp.stream.windows.windows import Windowed

if TYPE_CHECKING:
    from offramp.inference.forecast import Prediction

REASON = "worker_backlog"
"""Reason under which the packets of a shed message are counted."""
OVERLAP_NS = 20_000_000
"""An agent that takes over from another may begin this far before what that one sent last; see `_apart_ns`."""
MAX_MISSING = 1 << 40
"""Packets that a gap counts for at most, whatever an agent's sequence says: all traffic of a link in any window."""

MAX_EPOCHS = 64
"""Epochs remembered of a link, so that their repeats are known."""


@dataclass(slots=True)
class IntakeLedger(Counts):
    """rows published = rows consumed + rows shed + rows of duplicates + rows in the gaps (counted in messages)."""

    messages: int = 0
    rows: int = 0
    duplicates: int = 0
    duplicate_rows: int = 0
    gaps: int = 0
    restarts: int = 0
    shed: int = 0
    shed_rows: int = 0
    ends: int = 0


class LinkConsumer:
    """A link's pipeline with its place in the topic; `make` builds an empty pipeline of the link.

    next_offset: the state holds every earlier message of the link; live: its last message was of a live link;
    packet_ns: time of the last packet of the last message taken, or its clock.
    """

    def __init__(self, link: str, make: Callable[[str], Pipeline]) -> None:
        self.link, self._make = link, make
        self.pipeline = make(link)
        self.next_offset = 0
        self.ledger = IntakeLedger()
        self.packet_ns = 0
        self.live = False
        self._past = StreamLedger()
        self._ended: list[StreamLedger] = []
        self._taken = IntakeLedger(), StreamLedger()
        self._epochs: dict[str, int] = {}
        self._newest_ns = 0
        self._behind_hole = False
        self._capacity: tuple[float, float] | None = None

    def set_capacity(self, up_bps: float, down_bps: float) -> None:
        """Let the link have another capacity from the next message on, in bit/s."""
        self._capacity = up_bps, down_bps
        self.pipeline.windows.bins.set_capacity(up_bps, down_bps)

    def feed(self, message: FeatureMessage, offset: int) -> list[Command]:
        """Take the message at an offset of the topic; return the commands it causes."""
        steps = self.accept(message, offset)
        return conclude(steps, predictions_of(steps)) if steps else []

    def accept(self, message: FeatureMessage, offset: int) -> list[Step]:
        """Take the message at an offset of the topic; return its steps for `conclude`, in order."""
        if offset < self.next_offset:
            return []  # the checkpoint has it
        self.next_offset, self.live = offset + 1, message.headers.live
        begins, gap = self._sequence_of(message)
        if gap < 0:
            return []
        apart_ns = self._apart_ns(message) if begins else 0
        steps = [self._begin_anew()] if apart_ns < 0 else []
        if gap or apart_ns > 0 or message.shed:
            steps += self._skip()
        if gap:
            steps.append(Step(self.pipeline, Windowed([], missing=self._packets(gap, message))))
        if message.shed:
            return [*steps, self._shed(message)]
        self._behind_hole = False
        self.ledger.messages += 1
        self.ledger.rows += message.headers.rows
        self.ledger.ends += message.headers.end
        self.packet_ns = message.headers.last_time_ns or message.headers.clock_ns or self.packet_ns
        batch, clock_ns = message.batch, message.headers.clock_ns
        if batch is None:
            batch = pa.RecordBatch.from_pylist([], schema=SCHEMA).replace_schema_metadata(message.metadata())
        steps.append(Step(self.pipeline, self.pipeline.windows.update(batch)))
        if clock_ns:
            steps.append(Step(self.pipeline, self.pipeline.windows.advance(clock_ns)))
        self._newest_ns = self.pipeline.reached_ns
        if message.headers.end:
            steps.append(self._begin_anew())
        return steps

    def _skip(self) -> list[Step]:
        """Close the open bins before a hole, once; its loss is counted after them, and ages from behind the hole on."""
        if self._behind_hole:
            return []
        self._behind_hole = True
        return [Step(self.pipeline, self.pipeline.windows.skip())]

    def _shed(self, message: FeatureMessage) -> Step:
        """Count a message that is shed, so that the data quality of the commands to come includes it."""
        headers = message.headers
        self.ledger.shed += 1
        self.ledger.shed_rows += headers.rows
        self._newest_ns = max(self._newest_ns, headers.last_time_ns, headers.clock_ns)
        loss = loss_in(CaptureLedger.from_dict(headers.ledger).all_shed(REASON))
        return Step(self.pipeline, Windowed([], loss, closed_until=self._newest_ns // BIN_NS))

    def _sequence_of(self, message: FeatureMessage) -> tuple[bool, int]:
        """Return whether an epoch begins, and how many messages are missing before this one, -1 for a repeat."""
        headers = message.headers
        life = f"{headers.agent}/{headers.agent_epoch}"
        last = self._epochs.get(life, -1)
        if headers.sequence <= last:
            self.ledger.duplicates += 1
            self.ledger.duplicate_rows += headers.rows
            return False, -1
        gap = headers.sequence - last - 1
        self.ledger.gaps += gap
        self._epochs.pop(life, None)
        self._epochs[life] = headers.sequence  # in order of the newest message
        while len(self._epochs) > MAX_EPOCHS:
            del self._epochs[next(iter(self._epochs))]
        return last < 0, gap

    def _packets(self, gap: int, message: FeatureMessage) -> int:
        """Estimate the packets of missing messages: each held as many as usual, and at least as many as this one."""
        usual = self.ledger.rows // self.ledger.messages if self.ledger.messages else 1
        return min(gap * max(usual, message.headers.rows * message.headers.sampling, 1), MAX_MISSING)

    def _apart_ns(self, message: FeatureMessage) -> int:
        """Return how far from the newest time seen an epoch begins: before it, another recording; after it, a hole.

        0 within the lateness that the site allows: such packets still have a place in the bins. Also 0 within
        OVERLAP_NS, even if the site allows less: a few late packets cost less than windows begun anew.
        """
        headers = message.headers
        begins_ns = headers.first_time_ns if headers.rows else headers.clock_ns
        apart_ns = begins_ns - self._newest_ns if self._newest_ns and (headers.rows or headers.clock_ns) else 0
        return apart_ns if abs(apart_ns) > max(OVERLAP_NS, self.pipeline.windows.bins.lateness_ns) else 0

    def _begin_anew(self) -> Step:
        """Close the open bins, and go on with an empty pipeline."""
        step = Step(self.pipeline, self.pipeline.windows.close())
        self._ended.append(self.pipeline.ledger)  # which counts on until the step is concluded
        self.pipeline = self._make(self.link)
        if self._capacity is not None:
            self.pipeline.windows.bins.set_capacity(*self._capacity)
        self._newest_ns = 0
        self._behind_hole = False
        self.ledger.restarts += 1
        return step

    def take_delta(self) -> tuple[IntakeLedger, StreamLedger]:
        """Return what was counted since the last call, or since the state was restored: our own work alone.

        Call it between messages, when all that `accept` returned has been concluded.
        """
        while self._ended:
            self._past.add(self._ended.pop())
        before, stream = self._taken, StreamLedger()
        stream.add(self._past)
        stream.add(self.pipeline.ledger)
        self._taken = replace(self.ledger), stream
        return self.ledger.since(before[0]), stream.since(before[1])

    def state(self) -> dict[str, Any]:
        """Return everything that the next message depends on, for a checkpoint."""
        return {
            "next_offset": self.next_offset,
            "epochs": dict(self._epochs),
            "newest_ns": self._newest_ns,
            "intake": self.ledger.as_dict(),
            "closed": self._behind_hole,
            "model": self.pipeline.predictor.sha,
            "policy": self.pipeline.policy.version,
            "pipeline": self.pipeline.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> bool:
        """Restore a state; return whether its pipeline is of the same model and policy and so was restored, too.

        Raises an error for a state that no run gives; the consumer is then of no use.
        """
        own = self.state()
        mine, found = own.pop("pipeline"), state["pipeline"]
        require_like(own, {name: each for name, each in state.items() if name != "pipeline"})
        self.next_offset = int(state["next_offset"])
        self._epochs = {str(life): int(last) for life, last in state["epochs"].items()}
        if len(self._epochs) > MAX_EPOCHS:
            raise ContractError(f"state.epochs: {len(self._epochs)}, a run remembers {MAX_EPOCHS}")
        self.ledger = IntakeLedger(**state["intake"])
        self._behind_hole = bool(state["closed"])
        same = (state["model"], state["policy"]) == (self.pipeline.predictor.sha, self.pipeline.policy.version)
        if same:
            require_like(mine, found)
            require_bins(found["bins"], found["hitters"], found["held"], mine["bins"]["shape"])
            self._newest_ns = int(state["newest_ns"])
            self.pipeline.restore(found)
        self.take_delta()
        return same


def conclude(steps: Iterable[Step], predictions: Iterable[Sequence[Prediction]]) -> list[Command]:
    """Return the commands of steps, in order, with the predictions for each."""
    pairs = zip(steps, predictions, strict=True)
    return [command for step, found in pairs for command in step.pipeline.conclude(step.windowed, found)]
