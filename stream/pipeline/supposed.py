"""The supposed network: the queues as they would be if the moves told so far were carried out.

Where moved flows still pass the tap (always in a dry run; else with `tap = "before"`), the link's virtual queue is of
all packets. Here what open moves take is taken out of it, bin by bin, and put on the path or node that it goes to: a
fluid recursion (Lindley) over the bins' exact loads and what the moved flows had in each, by the steps of their running
rates. While nothing is moved it is the virtual queue itself, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from offramp.decision.moves import Loop
from offramp.decision.site import Link
from offramp.decision.traffic import Direction
from offramp.errors import ContractError
from offramp.stream.bins.closing import DECAY
from offramp.stream.bins.heavy_hitters import RATE_SECONDS_IN_BINS
from offramp.stream.channels import BIN_MS
from offramp.stream.pipeline.part import Part, Supposed
from offramp.stream.pipeline.traffic import address_text, flow_rate, queues_of

NEAR_MS = 0.05
"""As near as this two queues are one: half a packet of 1,500 bytes at 100 Mbit/s."""
MAX_KEYS = 4_096
"""Flows' keys that are kept as text."""
MAX_MS, MAX_RATE = 1e9, 1e9
NOTHING = (0.0, 0.0)
WHOLE_MATCH = 6
"""Fields of a flow of TCP or UDP in a match: what names fewer may be of many flows."""


def rates_at(part: Part, row: int) -> dict[bytes, float]:
    """Return the running rates of the heaviest flows at the end of a link's bin, bit/s by their keys."""
    flows = zip(part.rows.flow_key[row], part.rows.flow_rate_bps[row].tolist(), strict=True)
    return {key.tobytes(): rate for key, rate in flows if rate > 0}


class SupposedLink:
    """Follows one link through its bins, in order."""

    def __init__(self, link: Link, *, seen: bool) -> None:
        """Build it; seen: moved flows still pass the tap. Else what is seen is how it is."""
        self.link, self._seen = link, seen
        self._queue_ms = [0.0, 0.0]
        self._paths_ms: dict[str, list[float]] = {}
        self._apart = False
        self._last = 0
        self._rates: dict[bytes, float] = {}
        self._keys: dict[bytes, tuple[tuple[Any, ...], bool, str, str]] = {}

    @property
    def apart(self) -> bool:
        """Whether it is another network than the one that is seen, so that every bin has to be followed."""
        return self._apart

    def step(self, part: Part, place: int, loops: Sequence[Loop]) -> Supposed:
        """Return the link at the end of a bin, with the moves that were open before it."""
        rows, row = part.rows, part.row_of(place)
        number, load = int(part.bins[place]), (float(rows.load[row, 0]), float(rows.load[row, 1]))
        is_ms = queues_of(rows, row)
        loops = loops if self._seen else ()
        if not loops and not self._apart:
            return Supposed(load, is_ms, seen=self._seen)
        if not self._apart:
            self._part(part, place, is_ms)
        gap, self._last = max(number - self._last, 1), number
        rates, self._rates = self._rates, {}
        taken, there_bps, to = self._moved(part, row, loops, rates, gap)
        capacities = self.link.capacity_bps, self.link.capacity_down_bps
        left = [load[side] - taken[side] / capacities[side] for side in (0, 1)]
        for side in (0, 1):
            waiting = max(0.0, self._queue_ms[side] - (gap - 1) * BIN_MS) + (left[side] - 1.0) * BIN_MS
            self._queue_ms[side] = min(max(0.0, waiting), is_ms[side])  # less than all of it never waits longer
        self._fill_paths(to, gap)
        if not loops and all(abs(mine - seen) < NEAR_MS for mine, seen in zip(self._queue_ms, is_ms, strict=True)):
            self._apart = False
            self._paths_ms.clear()
        shares = max(left[0], 0.0), max(left[1], 0.0)
        longest = max((max(each) for each in self._paths_ms.values()), default=0.0)
        moved_bps = [sum(each[side] for each in there_bps.values()) for side in (0, 1)]
        return Supposed(
            shares, (self._queue_ms[0], self._queue_ms[1]), (moved_bps[0], moved_bps[1]), longest,
            self._places(there_bps), self._seen,
        )  # fmt: skip

    def pass_by(self, part: Part, place: int) -> None:
        """Remember a bin that was only told of: from the last one on the two networks may part."""
        if self._seen and not self._apart:
            self._remember(part, place)

    def _part(self, part: Part, place: int, is_ms: tuple[float, float]) -> None:
        """Begin to follow the other network, from the end of the bin before."""
        self._apart = True
        if place:
            self._remember(part, place - 1)
        elif not self._last:
            self._last, self._queue_ms = int(part.bins[0]) - 1, list(is_ms)

    def _remember(self, part: Part, place: int) -> None:
        row = part.row_of(place)
        self._last, self._queue_ms = int(part.bins[place]), list(queues_of(part.rows, row))
        self._rates = rates_at(part, row)

    def _moved(
        self, part: Part, row: int, loops: Sequence[Loop], rates: Mapping[bytes, float], gap: int
    ) -> tuple[list[float], dict[str, list[float]], dict[str, list[float]]]:
        """Return what open moves take of each direction in the bin, bit/s, and where it goes: running rates, and now.

        Where it goes by name, up and down each.
        """
        places = {
            tuple(match.items()): loop.move.target for loop in loops for match in loop.move.action.get("flows", ())
        }
        of_many = [(set(match), target) for match, target in places.items() if len(match) < WHOLE_MATCH]
        devices = {loop.move.action["device"]: loop.move.target for loop in loops if "device" in loop.move.action}
        taken, decay = [0.0, 0.0], DECAY**gap
        there_bps, to = dict[str, list[float]](), dict[str, list[float]]()
        for key, rate in zip(part.rows.flow_key[row], part.rows.flow_rate_bps[row].tolist(), strict=True):
            if rate <= 0:
                break
            match, down, source, target = self._named(key)
            place = places.get(match) or devices.get(source) or devices.get(target)
            if not place and of_many:
                place = next((where for fields, where in of_many if fields.issubset(match)), None)
            before = rates.get(key.tobytes())
            self._rates[key.tobytes()] = rate
            if place:  # a mark leads nowhere: it stays on the link
                now = rate if before is None else max(0.0, rate - decay * before) * RATE_SECONDS_IN_BINS
                taken[down] += now
                there_bps.setdefault(place, [0.0, 0.0])[down] += rate
                to.setdefault(place, [0.0, 0.0])[down] += now
        return taken, there_bps, to

    def _named(self, key: np.ndarray) -> tuple[tuple[Any, ...], bool, str, str]:
        text = key.tobytes()
        if text not in self._keys:
            if len(self._keys) >= MAX_KEYS:
                self._keys.clear()
            flow = flow_rate(key, 0.0, self.link.devices)
            self._keys[text] = tuple(flow.match().items()), flow.down, address_text(*key[:2]), address_text(*key[2:4])
        return self._keys[text]

    def _fill_paths(self, to: Mapping[str, Sequence[float]], gap: int) -> None:
        for place in self.link.places:
            before, come = self._paths_ms.get(place.name), to.get(place.name, NOTHING)
            if before or place.name in to:
                self._paths_ms[place.name] = [
                    max(0.0, max(0.0, waits - (gap - 1) * BIN_MS) + (bps / place.capacity - 1.0) * BIN_MS)
                    for waits, bps in zip(before or NOTHING, come, strict=True)
                ]

    def _places(self, there_bps: Mapping[str, Sequence[float]]) -> dict[str, tuple[Direction, Direction]]:
        """Return the paths and nodes as they would be, as far as this link's flows load them."""
        found = {}
        for place in self.link.places:
            rates, queues = there_bps.get(place.name, NOTHING), self._paths_ms.get(place.name, NOTHING)
            up, down = (Direction(place.capacity, rates[side], queues[side], queues[side]) for side in (0, 1))
            found[place.name] = up, down
        return found

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, for a checkpoint."""
        return {
            "queue_ms": list(self._queue_ms),
            "paths_ms": {name: list(each) for name, each in self._paths_ms.items()},
            "apart": self._apart,
            "last": self._last,
            "rates": {key.hex(): rate for key, rate in self._rates.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Raises ContractError for what is none."""
        times = [
            *state["queue_ms"],
            *(ms for both in state["paths_ms"].values() for ms in both),
            *(each / MAX_RATE for each in state["rates"].values()),
        ]
        pairs = [state["queue_ms"], *state["paths_ms"].values()]
        if any(len(pair) != 2 for pair in pairs) or not all(
            type(each) is float and 0 <= each < MAX_MS for each in times
        ):
            raise ContractError("meeting: queues that no run comes to")
        if type(state["last"]) is not int or type(state["apart"]) is not bool:
            raise ContractError("meeting: a supposed link of no time")
        self._queue_ms = list(state["queue_ms"])
        self._paths_ms = {name: list(both) for name, both in state["paths_ms"].items()}
        self._apart, self._last = state["apart"], state["last"]
        self._rates = {bytes.fromhex(key): rate for key, rate in state["rates"].items()}
