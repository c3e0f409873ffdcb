"""Where the closed bins of a bundle's links meet, in event time: step T is taken when every link has closed T.

What is decided depends on the bins alone, not on which link's came first. A link that has ended, or is away, is not
waited for; bins that come when their time has been decided are told of, and nothing is decided at them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.capture.message.mark import Mark
from offramp.decision.command import Command
from offramp.decision.policies.table import policy_of
from offramp.decision.site import Bundle, Link, Site
from offramp.errors import ContractError
from offramp.stream.channels import BIN_NS
from offramp.stream.pipeline.ledger import StreamLedger
from offramp.stream.pipeline.marks import MarksAhead, links_of
from offramp.stream.pipeline.part import Part, Supposed, moved_at, part_of, state_of
from offramp.stream.pipeline.supposed import SupposedLink
from offramp.stream.pipeline.timeline import ActedMark, BinContext, LinkTimeline, Lost
from offramp.stream.windows.windows import ENDED

MAX_RATE = 1e18
MAX_PARTS = 4_096
"""Parts that wait of a link, in a checkpoint."""

Sink = Callable[[LinkTimeline], None]


@dataclass(slots=True)
class Seat:
    """A link's place: its parts that wait, and the first bin that it has not closed.

    moved: from which bins on how much of the link is moved, the bit/s too; found: commands that were not told of yet;
    marks: those that were acted on and not told of yet, and from which bin on each counts; reached: ENDED where the
    link's input has ended.
    """

    link: Link
    ledger: StreamLedger
    sink: Sink | None
    moved: list[tuple[int, int, float]]
    supposed: SupposedLink
    parts: list[Part] = field(default_factory=list)
    found: list[Command] = field(default_factory=list)
    marks: list[tuple[int, Mark]] = field(default_factory=list)
    reached: int = 0
    away: bool = False

    @property
    def waits_until(self) -> int:
        """The first bin that the others cannot be decided at for want of this link's."""
        return ENDED if self.away else self.reached

    def resize(self, up_bps: float, down_bps: float) -> None:
        """Take another capacity of the link."""
        self.link = self.supposed.link = self.link.model_copy(update={"capacity": up_bps, "capacity_down": down_bps})

    def next_bin(self, *, awake: bool) -> int:
        """Return the first bin to decide at: of all where the policy is awake, else of those that may trigger."""
        for part in self.parts:
            if part.at < len(part.bins):
                ahead = 0 if awake else int(np.argmax(part.busy[part.at :]))
                if awake or part.busy[part.at + ahead]:
                    return int(part.bins[part.at + ahead])
        return ENDED

    def take(self, number: int) -> tuple[Part, int] | None:
        """Return the part and the place of a bin, None where the link has none; pass all bins up to it."""
        for part in self.parts:
            if part.at == len(part.bins):
                continue
            if part.bins[-1] < number:
                part.at = len(part.bins)
                continue
            place = part.at if part.bins[part.at] == number else int(np.searchsorted(part.bins, number))
            if part.bins[place] == number:
                part.at = place + 1
                return part, place
            part.at = max(part.at, place)
            return None
        return None


class Meeting:
    """Asks the policy of a bundle about what its links have closed; `seats` stand in the site's order.

    done: the bins before it have been decided; marks: those that wait for their bin, which no checkpoint has.
    """

    def __init__(self, site: Site, bundle: Bundle) -> None:
        self.bundle, self.policy = bundle, policy_of(site, bundle)
        self._dry = site.mode == "dry_run"
        self.done = 0
        self.marks = MarksAhead()
        self.seats = {link.name: self._seat(link, StreamLedger(), None) for link in bundle.links}

    def sit(self, link: str, ledger: StreamLedger, sink: Sink | None) -> tuple[Seat, list[Command]]:
        """Return the seat of a link's pipeline, and the commands of what waited of the one before, if there was one."""
        before = self.seats[link]
        commands = self.begin_anew(before) if before.reached else []
        self.seats[link] = seat = self._seat(before.link, ledger, sink)
        seat.marks = before.marks
        return seat, commands

    def _seat(self, link: Link, ledger: StreamLedger, sink: Sink | None) -> Seat:
        return Seat(link, ledger, sink, [(0, *self.policy.moved_of(link.name))], self._supposed_of(link))

    def _supposed_of(self, link: Link) -> SupposedLink:
        return SupposedLink(link, seen=self._dry or link.tap == "before")

    def add(self, seat: Seat, part: Part) -> None:
        """Take the next bins of a link."""
        late = int(np.searchsorted(part.bins, self.done))
        part.at = max(part.at, late)
        seat.ledger.behind += late
        seat.parts.append(part)
        seat.reached = int(part.bins[-1]) + 1
        seat.away = False

    def begin_anew(self, seat: Seat) -> list[Command]:
        """Decide what waits, as the time of a link goes back; its moves are forgotten. Return the commands."""
        commands = self.decide(ENDED)
        self.policy.forget(seat.link.name)
        seat.moved = [(0, *self.policy.moved_of(seat.link.name))]
        seat.supposed = self._supposed_of(seat.link)
        seat.reached = self.done = 0
        return commands

    def expect(self, number: int, mark: Mark) -> None:
        """Act on a mark before a bin is decided, or the first one behind it; it has a place in the timeline."""
        self.marks.add(number, mark)

    def act(self, mark: Mark) -> None:
        """Act on a mark: it counts for all that is decided from now on."""
        if mark.kind == "away":
            self.seats[mark.about].away = True
        elif mark.kind == "capacity":
            self.seats[mark.about].resize(mark.members["up_bps"], mark.members["down_bps"])
        else:
            closed = mark.members["full"] if mark.kind == "node" else not mark.members["up"]
            self.policy.close_place(mark.about, closed=closed)

    def _act_until(self, number: int) -> None:
        """Act on the marks that count from a bin up to this one on."""
        for since, mark in self.marks.until(number):
            self.act(mark)
            for link in links_of(mark, self.bundle.links):
                self.seats[link.name].marks.append((since, mark))

    def leave(self, *watched: str) -> None:
        """Wait for these links alone: the others are away until they have bins."""
        for link in self.bundle.links:
            seat = self.seats[link.name]
            seat.away = link.name not in watched

    def release(self, bins: int) -> list[Command]:
        """Wait no longer for links that are so many bins behind the newest; return the commands. For live links."""
        newest = max((seat.reached for seat in self.seats.values() if seat.reached < ENDED), default=0)
        behind = [seat for seat in self.seats.values() if not seat.away and seat.reached < newest - bins]
        for seat in behind:
            seat.away = True
        return self.decide() if behind else []

    @property
    def waiting(self) -> int:
        """Rows of bins that wait for another link's."""
        parts = [part for seat in self.seats.values() for part in seat.parts]
        return sum(len(part.asked) - part.row_of(part.told) for part in parts)

    def decide(self, until: int | None = None) -> list[Command]:
        """Return the commands of all bins that every link has closed, or of those before `until`."""
        seats = list(self.seats.values())
        limit = min(seat.waits_until for seat in seats) if until is None else until
        commands: list[Command] = []
        while (number := self._next_bin(seats)) < limit:
            self._act_until(number)
            commands += self._step(number, seats)
        newest = max((int(part.bins[-1]) for seat in seats for part in seat.parts), default=-1)
        self.done = max(self.done, min(limit, newest + 1))
        self._act_until(self.done - 1)
        for seat in seats:
            self._settle(seat, limit)
        return commands

    def _next_bin(self, seats: Sequence[Seat]) -> int:
        awake = self.policy.awake
        return min(seat.next_bin(awake=awake or seat.supposed.apart) for seat in seats)

    def _supposed(self, seat: Seat, part: Part, place: int) -> Supposed:
        """Return a link at a bin as it would be with the moves that were told before."""
        loops = [loop for loop in self.policy.loops_of(seat.link.name) if self._dry or loop.enforced]
        supposed = seat.supposed.step(part, place, loops)
        if seat.supposed.apart:
            part.note(place, supposed)
        return supposed

    def _step(self, number: int, seats: Sequence[Seat]) -> list[Command]:
        taken = [(seat, found) for seat in seats if (found := seat.take(number)) is not None]
        commands = self.policy.decide(
            [part.view(place, seat.link, self._supposed(seat, part, place)) for seat, (part, place) in taken]
        )
        for seat, _ in taken:
            seat.ledger.decided += 1
            moved = self.policy.moved_of(seat.link.name)
            if seat.moved[-1][1:] != moved:
                seat.moved.append((number, *moved))
        for command in commands:
            seat = self.seats[link_of(command.scope)]
            seat.ledger.commands[str(command.action["type"])] += 1
            seat.found.append(command)
        return commands

    def _settle(self, seat: Seat, limit: int) -> None:
        """Tell of the bins of a link before `limit`, part by part, and let them go."""
        while seat.parts:
            part = seat.parts[0]
            end = len(part.bins) if part.bins[-1] < limit else int(np.searchsorted(part.bins, limit))
            if end > part.told:
                self._tell(seat, part, end)
                seat.supposed.pass_by(part, end - 1)
                part.told, part.at, part.lost, part.behind_hole = end, max(part.at, end), Lost(), False
            if end < len(part.bins):
                return
            seat.parts.pop(0)

    def _tell(self, seat: Seat, part: Part, end: int) -> None:
        numbers = part.bins[part.told : end]
        until_ns = (int(numbers[-1]) + 1) * BIN_NS
        found = [command for command in seat.found if command.not_before_ns <= until_ns]
        seat.found = seat.found[len(found) :]
        marks = _told_by(seat, numbers)
        if seat.sink is not None:
            rows, link = part.rows, part.starts[part.told : end]
            as_is = np.stack([rows.load[link, 0], rows.load[link, 1], rows.queue_ms[link, 0], 0 * link], axis=1)
            supposed = part.supposed[part.told : end] if part.supposed is not None else as_is
            supposed = np.where(np.isnan(supposed), as_is, supposed).astype(np.float32)
            moved = moved_at(numbers, seat.moved)
            context = BinContext(rows.queue_ms[link, 1], part.shares(numbers), *moved, *supposed.T)
            seat.sink(
                LinkTimeline(
                    seat.link.name,
                    (numbers + 1) * BIN_NS,
                    rows.load[link, 0],
                    rows.load[link, 1],
                    rows.queue_ms[link, 0],
                    part.prediction.probabilities[link],
                    part.prediction.quantiles_ms[link],
                    tuple(found),
                    part.lost,
                    part.behind_hole,
                    part.step,
                    context,
                    marks,
                )
            )
        past = sum(since <= numbers[-1] for since, _, _ in seat.moved)
        seat.moved = seat.moved[max(past - 1, 0) :]  # what was decided beyond these bins is of those to come

    def state(self) -> dict[str, Any]:
        """Return the state: the policy's, and of each link what waits, where it is and what is not told of yet."""
        links = {
            name: {
                "reached": seat.reached,
                "away": seat.away,
                "moved": [list(each) for each in seat.moved],
                "supposed": seat.supposed.state(),
                "parts": [state_of(part) for part in seat.parts],
            }
            for name, seat in self.seats.items()
        }
        return {"done": self.done, "policy": self.policy.state(), "links": links}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, the seats taken. Raises ContractError for what is none."""
        if state["links"].keys() != self.seats.keys() or not _is_bin(state["done"]):
            raise ContractError("meeting: of other links, or of no time")
        self.policy.restore(state["policy"])
        self.done = state["done"]
        for name, seat in self.seats.items():
            found = state["links"][name]
            if not _is_bin(found["reached"]) or len(found["parts"]) > MAX_PARTS or not found["moved"]:
                raise ContractError(f"meeting: {name}: a time, or parts, that no run comes to")
            seat.reached, seat.away = found["reached"], bool(found["away"])
            seat.moved = [(since, count, rate) for since, count, rate in found["moved"]]
            if not all(_is_bin(since) and _is_count(count) and 0 <= bps < MAX_RATE for since, count, bps in seat.moved):
                raise ContractError(f"meeting: {name}: moves that no run comes to")
            seat.supposed.restore(found["supposed"])
            seat.parts = [part_of(each) for each in found["parts"]]


class Meetings:
    """The meetings of a site's bundles, each made with the first of its links."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._bundles = {link.name: bundle for bundle in site.bundles for link in bundle.links}
        self.meetings: dict[str, Meeting] = {}

    def of(self, link: str) -> Meeting:
        """Return the meeting of a link's bundle."""
        bundle = self._bundles[link]
        if bundle.name not in self.meetings:  # a tap's threads may both have found it missing
            self.meetings.setdefault(bundle.name, Meeting(self._site, bundle))
        return self.meetings[bundle.name]

    def about(self, mark: Mark) -> Meeting:
        """Return the meeting that a mark is about; the site has what it names."""
        return self.of(links_of(mark, self._site.links)[0].name)

    @property
    def marks(self) -> tuple[int, int]:
        """How many marks were acted on, and how many wait for their bin."""
        found = [meeting.marks for meeting in tuple(self.meetings.values())]
        return sum(each.acted for each in found), sum(map(len, found))

    def close(self) -> list[Command]:
        """Decide what waits at the end of the input; return the commands."""
        return [command for meeting in self.meetings.values() for command in meeting.decide(ENDED)]


def _told_by(seat: Seat, numbers: NDArray[np.int64]) -> tuple[ActedMark, ...]:
    """Take the marks of a seat that count from one of these bins on; return them with the end of that bin."""
    if not seat.marks:
        return ()
    last = int(numbers[-1])
    told = sorted((each for each in seat.marks if each[0] <= last), key=lambda each: each[0])
    seat.marks = [each for each in seat.marks if each[0] > last]
    at = np.searchsorted(numbers, [since for since, _ in told])
    ends_ns = ((numbers[at] + 1) * BIN_NS).tolist()
    return tuple(ActedMark(end_ns, mark.body) for end_ns, (_, mark) in zip(ends_ns, told, strict=True))


def link_of(scope: str) -> str:
    """Return the link of a command's scope, `link:NAME` or `device:NAME/ADDRESS`."""
    kind, _, rest = scope.partition(":")
    return rest if kind == "link" else rest.rpartition("/")[0]


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def _is_bin(value: object) -> bool:
    return type(value) is int and 0 <= value <= ENDED
