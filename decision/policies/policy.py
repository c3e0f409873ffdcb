"""What a policy is: forecasts and traffic of the links of a bundle in, commands out, in event time alone."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.decision.command import Command
from offramp.decision.moves import Loop
from offramp.decision.traffic import Quality, Traffic
from offramp.inference.forecast import Forecast


class LinkPolicy(Protocol):
    """Decides for one link by itself; the same input gives the same commands, whatever the clock and the cut.

    `decide` must be called, in order of time, for every bin that is `may_trigger` or whose scope is in `open_scopes`.
    """

    @property
    def version(self) -> str:
        """Rules and settings as a short text: commands carry it, and another version takes up no state of this one."""

    @property
    def scope(self) -> str:
        """`link:NAME`."""

    @property
    def needs_forecast(self) -> bool:
        """Whether it looks at what is foreseen; one that does not is judged without a model."""

    @property
    def acts_on_now(self) -> bool:
        """Whether it acts on the queue of now: it is told the longer one, as supposed, in the place of what is seen."""

    @property
    def split(self) -> float:
        """Share of the flows that the network itself sends over another path from their first packet on, by a hash."""

    @property
    def open_scopes(self) -> frozenset[str]:
        """The scopes that want every forecast."""

    @property
    def open_moves(self) -> int:
        """Moves open now (a rerouted flow or an offloaded device each)."""

    @property
    def moved(self) -> tuple[int, float]:
        """How many flows and devices are moved now, and the bits per second that they had when they were chosen."""

    @property
    def loops(self) -> Sequence[Loop]:
        """The moves that are open."""

    @property
    def expired(self) -> int:
        """Moves that ended unrenewed, ever."""

    @property
    def swayed(self) -> tuple[int, int]:
        """Looks at which something was to change, and those at which the forecast changed what."""

    def share(self, elsewhere: Callable[[], Mapping[str, float]]) -> None:
        """Take what gives the bit/s that others put on each path and node, by name."""

    def may_trigger(self, probabilities: NDArray[np.float32], quantiles_ms: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return bool [n]: the rows (float32 [n, 3] each) that may change something although the scope is idle."""

    def decide(self, forecast: Forecast, traffic: Traffic | Callable[[], Traffic], quality: Quality) -> list[Command]:
        """Return the commands that one bin's forecast gives rise to; traffic: at its end, or what gives it if asked."""

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned, with the same later commands. Raises ContractError for what is none."""


class LinkView(NamedTuple):
    """A link of a bundle at the end of a bin.

    asked: whether its forecast, or that of a device, `may_trigger`; queue_ms: the longer of its queues, as supposed;
    devices: yields the forecasts of its devices that
    may trigger, or whose scope is in what it is given; traffic: gives its traffic, directions as supposed, which takes
    time.
    """

    link: str
    asked: bool
    forecast: Forecast
    queue_ms: float
    devices: Callable[[Container[str]], Iterator[Forecast]]
    traffic: Callable[[], Traffic]
    quality: Quality


class Policy(Protocol):
    """Decides for all links of a bundle; the same steps give the same commands, however they were cut into batches.

    `decide` must be called, in order of time, for every bin at which a row `may_trigger`, and for every bin while it is
    `awake`: once, with all links that have closed the bin, in the site's order.
    """

    @property
    def version(self) -> str:
        """Rules and settings as a short text: another version takes up no state of this one."""

    @property
    def needs_forecast(self) -> bool:
        """Whether it looks at what is foreseen; one that does not is judged without a model."""

    @property
    def awake(self) -> bool:
        """Whether it wants every bin."""

    @property
    def open_moves(self) -> int:
        """Moves open now (a rerouted flow or an offloaded device each)."""

    @property
    def expired(self) -> int:
        """Moves that ended unrenewed, ever."""

    @property
    def swayed(self) -> tuple[int, int]:
        """Looks at which something was to change, and those at which a forecast changed what, of all links."""

    def split_of(self, link: str) -> float:
        """Return the share of a link's flows that the network itself sends over another path, by a hash."""

    def moved_of(self, link: str) -> tuple[int, float]:
        """Return how many flows and devices of a link are moved now, and the bit/s that they had when chosen."""

    def loops_of(self, link: str) -> Sequence[Loop]:
        """Return the open moves of a link."""

    def may_trigger(
        self, link: str, probabilities: NDArray[np.float32], quantiles_ms: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Return bool [n]: the rows (float32 [n, 3] each) of a link that may change something although it sleeps."""

    def decide(self, step: Sequence[LinkView]) -> list[Command]:
        """Return the commands that one bin of the bundle gives rise to, mostly none."""

    def close_place(self, name: str, *, closed: bool) -> None:
        """Take note that a path or node takes nothing more, as it is down or full, or that it does again."""

    def forget(self, link: str) -> None:
        """Forget what is known of a link, whose time begins anew: its open moves end by themselves."""

    def state(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned, with the same later commands. Raises ContractError for what is none."""
