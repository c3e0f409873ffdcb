"""The exact optimum of a small instance, beside the greedy bound: a mixed integer linear program (scipy, HiGHS).

Time is cut into slots; which place each flow takes in each slot is chosen at once, for all of them, by who knows all
that comes. Queues are fluid: by Little's law the waiting of all bytes is the integral of what waits, which is linear.
What comes in a slot at whose end the buffer is full may be lost, and only then.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.stream.arena.network.flows import NEVER, Flows
from offramp.stream.arena.network.queues import DIRECTIONS, Queues
from offramp.stream.arena.traffic import Arrivals

SLOT_NS = 100_000_000
"""Of a choice: twice the time between two looks of the greedy bound, for 80 slots of 8 s to be solved in seconds."""


class Instance(NamedTuple):
    """What is to be decided: flows F, slots T, places P, directions 2.

    arrived: float64 [F, T] bytes; down: bool [F]; home: int64 [F] the place in the first slot; service: float64
    [P, 2, T] bytes that can be sent; limit: float64 [P, 2] bytes of buffer; base_ms: float64 [P, 2]; lost_ms: what a
    lost byte counts as; price: of a move, ms times bytes.
    """

    arrived: NDArray[np.float64]
    down: NDArray[np.bool_]
    home: NDArray[np.int64]
    service: NDArray[np.float64]
    limit: NDArray[np.float64]
    base_ms: NDArray[np.float64]
    lost_ms: float
    price: float


class Optimum(NamedTuple):
    """A plan, int64 [F, T] the place of each flow in each slot; its mean delay of a byte and what none is below, ms.

    The delays are fluid, moves have their price in them.
    """

    place: NDArray[np.int64]
    mean_ms: float
    least_ms: float


def heaviest(arrivals: Arrivals, count: int) -> Arrivals:
    """Return the traffic of the flows with the most bytes alone."""
    size, flow = arrivals.packets.size, arrivals.flow
    flows = np.sort(np.argsort(-np.bincount(flow, size, len(arrivals.down)), kind="stable")[:count])
    kept = np.isin(flow, flows)
    return arrivals._replace(
        packets=type(arrivals.packets)._make(column[kept] for column in arrivals.packets),
        flow=np.searchsorted(flows, flow[kept]), down=arrivals.down[flows], key=arrivals.key[flows],
        link=arrivals.link[flows], kind=arrivals.kind[flows],
    )  # fmt: skip


def instance_of(arrivals: Arrivals, queues: Queues, seconds: float, lost_ms: float, price: float) -> Instance:
    """Return the instance of some traffic; price: of a move, ms summed over packets."""
    slots, packets = int(np.ceil(seconds * 1e9 / SLOT_NS)), arrivals.packets
    arrived = np.zeros((len(arrivals.down), slots))
    np.add.at(arrived, (arrivals.flow, packets.time_ns // SLOT_NS), packets.size)
    edges = np.arange(slots + 1) * SLOT_NS
    service = [[np.diff(sent_by(queues, place, side, edges)) for side in range(DIRECTIONS)]
               for place in range(len(queues.rate))]  # fmt: skip
    return Instance(
        arrived, arrivals.down, arrivals.link, np.array(service), queues.limit, queues.base_ms, lost_ms,
        price * float(packets.size.mean()),
    )  # fmt: skip


def sent_by(queues: Queues, place: int, side: int, time_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the bytes that could have been sent by some times, float64 [n]."""
    first, grant = queues.first[place, side], queues.grant[place, side]
    schedule = queues.schedule_ns[first : first + queues.entries[place, side] * (1 if grant else 2)]
    if grant:
        return np.searchsorted(schedule, time_ns, "right").astype(np.float64) * float(grant)
    worked, ended = schedule.reshape(-1, 2).T
    begin = worked + np.concatenate([[0], ended[:-1]])[: len(worked)]
    out = np.clip(time_ns[:, None] - begin, 0, worked + ended - begin).sum(1)
    sent: NDArray[np.float64] = float(queues.rate[place, side]) * (time_ns - out)
    return sent


def solve(instance: Instance, limit_s: float = 60.0) -> Optimum:
    """Return the best plan that is found in a time, and the proof of how good it is. Needs scipy."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    program = _Program(instance)
    matrix, low, high = program.constraints()
    found = milp(
        program.cost, integrality=program.whole, bounds=Bounds(0, program.most),
        constraints=LinearConstraint(matrix, low, high), options={"time_limit": limit_s, "mip_rel_gap": 0.001},
    )  # fmt: skip
    if found.x is None:
        raise RuntimeError(f"no plan in {limit_s:g} s: {found.message}")
    place = np.argmax(found.x[program.chosen], axis=2)
    weight = float(instance.arrived.sum())
    return Optimum(place, float(found.fun) / weight, float(found.mip_dual_bound) / weight)


def fluid_ms(instance: Instance, place: NDArray[np.int64]) -> float:
    """Return the mean delay of a byte under a plan, int64 [F, T], by the same fluid queues, moves priced: ms."""
    places, slots = len(instance.limit), instance.arrived.shape[1]
    slot_ms = SLOT_NS / 1e6
    moves = int(np.count_nonzero(np.diff(place, axis=1, prepend=instance.home[:, None])))
    total, side = moves * instance.price, instance.down.astype(np.int64)
    waits = np.zeros((places, DIRECTIONS))
    for slot in range(slots):
        into = np.zeros((places, DIRECTIONS))
        np.add.at(into, (place[:, slot], side), instance.arrived[:, slot])
        left = np.maximum(waits + into - instance.service[:, :, slot], 0.0)
        lost = np.maximum(left - instance.limit, 0.0)
        left -= lost
        total += float(((waits + left) / 2 * slot_ms + into * instance.base_ms + lost * instance.lost_ms).sum())
        waits = left
    return total / float(instance.arrived.sum())


class _Program:
    """The numbers of the program: place chosen [F, T, P], moved [F, T]; waiting, lost, whether full [P, 2, T] each."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        flows, slots = instance.arrived.shape
        places = len(instance.limit)
        shapes = ((flows, slots, places), (flows, slots), *[(places, DIRECTIONS, slots)] * 3)
        at, parts = 0, []
        for shape in shapes:
            count = int(np.prod(shape))
            parts.append(np.arange(at, at + count).reshape(shape))
            at += count
        self.chosen, self.moved, self.waiting, self.lost, self.full = parts
        slot_ms, side = SLOT_NS / 1e6, instance.down.astype(np.int64)
        self.cost, self.most, self.whole = np.zeros(at), np.full(at, np.inf), np.zeros(at, np.int64)
        self.cost[self.chosen] = instance.arrived[:, :, None] * instance.base_ms[:, side].T[:, None, :]
        self.cost[self.moved] = instance.price
        self.cost[self.waiting] = slot_ms
        self.cost[self.waiting[:, :, -1]] = slot_ms / 2  # the trapezoid of its last slot; the first begins empty
        self.cost[self.lost] = instance.lost_ms
        self.whole[self.chosen], self.most[self.chosen], self.most[self.moved] = 1, 1, 1
        self.whole[self.full], self.most[self.full] = 1, 1
        self.most[self.waiting] = instance.limit[:, :, None]

    def constraints(self) -> tuple[Any, NDArray[np.float64], NDArray[np.float64]]:
        """Return the matrix (sparse) and between what its rows are."""
        from scipy.sparse import coo_array

        rows: list[tuple[list[tuple[int, float]], float, float]] = []
        instance, (flows, slots) = self.instance, self.instance.arrived.shape
        for flow in range(flows):
            for slot in range(slots):
                here = self.chosen[flow, slot]
                rows.append(([(int(each), 1.0) for each in here], 1.0, 1.0))
                for place, each in enumerate(here):  # a move: somewhere that it was not
                    terms = [(int(self.moved[flow, slot]), 1.0), (int(each), -1.0)]
                    if slot:
                        rows.append(([*terms, (int(self.chosen[flow, slot - 1, place]), 1.0)], 0.0, np.inf))
                    elif place != instance.home[flow]:
                        rows.append((terms[1:], 0.0, 0.0))  # no command has come yet
        for place in range(len(instance.limit)):
            for side in range(DIRECTIONS):
                own = np.flatnonzero(instance.down == bool(side))
                for slot in range(slots):
                    terms = [(int(self.waiting[place, side, slot]), 1.0), (int(self.lost[place, side, slot]), 1.0)]
                    terms += [(int(self.chosen[flow, slot, place]), -instance.arrived[flow, slot]) for flow in own]
                    if slot:
                        terms.append((int(self.waiting[place, side, slot - 1]), -1.0))
                    rows.append((terms, -instance.service[place, side, slot], np.inf))
                    full, most = int(self.full[place, side, slot]), float(instance.arrived[own, slot].sum())
                    rows.append(([(int(self.lost[place, side, slot]), 1.0), (full, -most)], -np.inf, 0.0))
                    room = float(instance.limit[place, side])
                    rows.append(([(int(self.waiting[place, side, slot]), 1.0), (full, -room)], 0.0, np.inf))
        entries = [(number, column, value) for number, (terms, _, _) in enumerate(rows) for column, value in terms]
        number, column, value = (np.array(each) for each in zip(*entries, strict=True))
        matrix = coo_array((value, (number, column)), shape=(len(rows), len(self.cost))).tocsr()
        return matrix, np.array([row[1] for row in rows]), np.array([row[2] for row in rows])


class Planned:
    """Steers flows by a plan, int64 [F, T], from the begin of each slot on."""

    def __init__(self, flows: Flows, place: NDArray[np.int64]) -> None:
        self._flows, self._place = flows, place

    def steer(self, begin: int, end_ns: int) -> None:
        """Send the flows where the next slot has them; begin: not used."""
        slot, rest = divmod(end_ns, SLOT_NS)
        if rest or slot >= self._place.shape[1]:
            return
        goes = self._place[:, slot] != self._flows.place
        self._flows.following[goes] = self._place[goes, slot]
        self._flows.due_ns[:] = np.where(goes, end_ns, NEVER)
