"""The open moves of a policy: the commands of each from its onset over its updates to its clear, or to its expiry.

On data below the site's quality floor nothing is enforced, and a move that was goes on to its expiry, as whoever
carries it out will have it: it is neither cleared nor renewed by what is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from offramp.decision.command import Command, decision_id, validate
from offramp.decision.moves import HeldMoves, Loop, Move
from offramp.decision.reason import reason
from offramp.decision.site import Site
from offramp.decision.traffic import Quality
from offramp.errors import ContractError
from offramp.inference.forecast import Forecast

SECOND_NS = 1_000_000_000
MAX_INTEGER = 1 << 63


class OpenMoves:
    """Keeps the open moves of one link; `rule` is why, in words, as the command will say it."""

    def __init__(self, site: Site, link: str, version: str, mode: Literal["dry_run", "enforce"]) -> None:
        self.site, self.version, self.mode = site, version, mode
        self.link, self.scope = link, f"link:{link}"
        self.loops: list[Loop] = []
        self.expired = 0
        self.elsewhere: Callable[[], Mapping[str, float]] = dict
        """Gives what other links put on each path and node, bit/s by name."""
        self._life_ns = int(site.policy.expiry_s * SECOND_NS)

    def held(self) -> HeldMoves:
        """Return what the open moves hold, beside what others put on the same paths and nodes."""
        return HeldMoves(used_bps=self.elsewhere()).plus(loop.move for loop in self.loops)

    @property
    def moved(self) -> tuple[int, float]:
        """How many flows and devices are moved now, and the bits per second that they had when they were chosen."""
        return sum(loop.move.size for loop in self.loops), sum(loop.move.rate_bps for loop in self.loops)

    def open(self, moves: Iterable[Move], forecast: Forecast, quality: Quality, rule: str) -> list[Command]:
        """Return the first command of each move."""
        commands = []
        for move in moves:
            now_ns = forecast.window_end_ns
            name = decision_id(self.version, forecast.model_sha, move.scope, now_ns, move.action)
            loop = Loop(name, move, now_ns, now_ns, now_ns, 0, False)
            self.loops.append(loop)
            commands.append(self._command(loop, "onset", forecast, quality, rule))
        return commands

    def renew(self, forecast: Forecast, quality: Quality, rule: str) -> list[Command]:
        """Update the moves of which half the time to expiry is over, or whose life bad data kept from being renewed."""
        half_ns, trusted = self._life_ns // 2, self.trusts(quality)
        due = [
            loop
            for loop in self.loops
            if forecast.window_end_ns - loop.renewed_ns >= half_ns
            or (trusted and loop.expires_ns < loop.renewed_ns + self._life_ns)
        ]
        return [self._command(loop, "update", forecast, quality, rule) for loop in due]

    def shrink(
        self, loop: Loop, flows: Sequence[Mapping[str, Any]], rate_bps: float, forecast: Forecast, quality: Quality,
        rule: str,
    ) -> Command:  # fmt: skip
        """Keep some flows of a move, the others given back: an update says which are left."""
        loop.move = Move(loop.move.scope, {**loop.move.action, "flows": list(flows)}, rate_bps)
        return self._command(loop, "update", forecast, quality, rule)

    def clear(self, done: Sequence[Loop], forecast: Forecast, quality: Quality, rule: str) -> list[Command]:
        """End these moves."""
        ended = {id(loop) for loop in done}
        self.loops = [loop for loop in self.loops if id(loop) not in ended]
        return [self._command(loop, "abated", forecast, quality, rule) for loop in done]

    def expire(self, now_ns: int) -> int:
        """Forget the moves whose last command expired, which the controller undid by itself; return how many."""
        over = sum(loop.expires_ns <= now_ns for loop in self.loops)
        self.loops = [loop for loop in self.loops if loop.expires_ns > now_ns]
        self.expired += over
        return over

    def trusts(self, quality: Quality) -> bool:
        """Return whether the data is good enough to act on."""
        return quality.share >= self.site.limits.quality

    def _command(self, loop: Loop, phase: str, forecast: Forecast, quality: Quality, rule: str) -> Command:
        """Return the loop's next command and count it in the loop."""
        now_ns = forecast.window_end_ns
        trusted = self.trusts(quality)
        enforce = self.mode == "enforce" and trusted and (phase != "abated" or loop.enforced)
        clear = {"type": "clear", "loop_id": loop.loop_id}
        action = clear if phase == "abated" else loop.move.action
        if enforce or not loop.enforced:
            loop.expires_ns = now_ns + self._life_ns
        loop.sequence, loop.renewed_ns, loop.enforced = loop.sequence + 1, now_ns, loop.enforced or enforce
        return Command(
            decision_id=decision_id(self.version, forecast.model_sha, loop.move.scope, now_ns, action),
            loop_id=loop.loop_id,
            sequence=loop.sequence,
            phase=phase,
            mode="enforce" if enforce else "dry_run",
            scope=loop.move.scope,
            action=action,
            not_before_ns=now_ns,
            expires_at_ns=now_ns + self._life_ns,
            rollback=clear,
            reason=reason(forecast, quality, rule + self._doubt(trusted), self.version),
        )

    def _doubt(self, trusted: bool) -> str:
        floor = self.site.limits.quality
        return "" if trusted else f"; data quality below the floor {floor:g}: not enforced"

    def state(self) -> list[dict[str, Any]]:
        """Return the moves as plain values, for JSON."""
        return [loop.state() for loop in self.loops]

    def restore(self, state: Sequence[Mapping[str, Any]], expired: int) -> None:
        """Go on from what `state` returned. Raises ContractError for moves that are none of this link's."""
        loops = [Loop.from_state(loop) for loop in state]
        if len(loops) > self.site.limits.moves:
            raise ContractError("policy: more moves than a policy keeps")
        for loop in loops:
            self._require_own(loop)
        self.loops, self.expired = loops, expired

    def _require_own(self, loop: Loop) -> None:
        """Refuse a loop that is not of this link, or whose next command would break the contract."""
        times = loop.opened_ns, loop.renewed_ns, loop.expires_ns, loop.sequence
        if not all(is_count(each) for each in times) or type(loop.enforced) is not bool:
            raise ContractError("policy: a move with counts or times that are none")
        if type(loop.move.rate_bps) not in (int, float) or not 0 <= loop.move.rate_bps < MAX_INTEGER:
            raise ContractError("policy: a move without a rate")
        if loop.move.scope != self.scope and not loop.move.scope.startswith(f"device:{self.link}/"):
            raise ContractError("policy: a move of another link")
        forecast = Forecast(
            self.scope, loop.opened_ns, loop.opened_ns, 1, (1.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0, "model", ""
        )
        copy = Loop(**{name: getattr(loop, name) for name in Loop.__dataclass_fields__})
        validate(self._command(copy, "update", forecast, Quality(), "").to_dict())


class KeepsMoves:
    """What a policy with open moves tells of them."""

    _moves: OpenMoves
    swayed: tuple[int, int] = (0, 0)
    acts_on_now = True

    @property
    def open_moves(self) -> int:
        """Moves open now (a rerouted flow or an offloaded device each)."""
        return self._moves.moved[0]

    @property
    def moved(self) -> tuple[int, float]:
        """How many flows and devices are moved now, and the bits per second that they had when they were chosen."""
        return self._moves.moved

    @property
    def loops(self) -> Sequence[Loop]:
        """The moves that are open."""
        return self._moves.loops

    @property
    def expired(self) -> int:
        """Moves that ended unrenewed, ever."""
        return self._moves.expired

    def share(self, elsewhere: Callable[[], Mapping[str, float]]) -> None:
        """Take what gives the bit/s that others put on each path and node, by name."""
        self._moves.elsewhere = elsewhere


class ActsEveryBin(KeepsMoves):
    """What a policy tells that wants every bin of its link: what it acts on is not among forecasts alone."""

    scope: str

    @property
    def open_scopes(self) -> frozenset[str]:
        """The link: every bin counts."""
        return frozenset((self.scope,))

    def may_trigger(self, probabilities: NDArray[np.float32], quantiles_ms: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return bool [n], all True: it is asked whatever is foreseen."""
        return np.ones(len(probabilities), np.bool_)


def is_count(value: object) -> bool:
    """Return whether a value of a state is a count or a time."""
    return type(value) is int and 0 <= value < MAX_INTEGER
