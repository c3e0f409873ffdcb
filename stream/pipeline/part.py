"""Forecast bins of a link on their way to the policy: what each tells the policy, looked up when asked."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.capture.block import END_OF_TIME_NS
from offramp.decision.policies.policy import LinkView
from offramp.decision.reroute import MIN_SHARE
from offramp.decision.site import Link
from offramp.decision.traffic import Direction, Quality, Traffic
from offramp.errors import ContractError
from offramp.inference.forecast import Forecast
from offramp.stream.bins.state import ClosedBins, new_bin_out
from offramp.stream.channels import BIN_NS, WINDOW_BINS
from offramp.stream.pipeline.data_quality import SLOT_BINS
from offramp.stream.pipeline.timeline import Lost
from offramp.stream.pipeline.traffic import address_text, traffic_of

if TYPE_CHECKING:
    from offramp.inference.forecast import Prediction

MAX_BIN = END_OF_TIME_NS // BIN_NS
MAX_NUMBER = 1e30
"""More than any number of a closed bin comes to."""


SUPPOSED = 4


class Supposed(NamedTuple):
    """A link at the end of a bin as it would be if the moves told so far were carried out, up and down.

    load: what came in the bin over what the capacity carries in it, less what is moved; queue_ms; moved_bps: running
    rate of what is moved; path_ms: the longest queue of the paths and nodes that it goes to, 0 where nothing is;
    places: these, each up and down; seen: whether moved flows are seen.
    """

    load: tuple[float, float]
    queue_ms: tuple[float, float]
    moved_bps: tuple[float, float] = (0.0, 0.0)
    path_ms: float = 0.0
    places: Mapping[str, tuple[Direction, Direction]] = MappingProxyType({})
    seen: bool = True


class ModelName(NamedTuple):
    """Which model forecast, and how far ahead."""

    name: str
    sha: str
    horizon_ms: int


@dataclass(slots=True)
class Part:
    """Closed bins of a link in order, with their forecasts, that wait for the other links of the bundle.

    asked: bool [n], rows that may change something; quality: by slot of SLOT_BINS bins; bins: int64 [b] their numbers;
    at: the first bin that is to be decided; told: the first that is to be told of; supposed: float32 [b, SUPPOSED] how
    bins would be (load up, down, queue, path's queue), NaN where that is how they are.
    """

    rows: ClosedBins
    prediction: Prediction
    model: ModelName
    asked: NDArray[np.bool_]
    quality: Mapping[int, Quality]
    lost: Lost = field(default_factory=Lost)
    behind_hole: bool = False
    step: int = 0
    at: int = 0
    told: int = 0
    supposed: NDArray[np.float32] | None = None
    bins: NDArray[np.int64] = field(init=False)
    starts: NDArray[np.int64] = field(init=False)
    busy: NDArray[np.bool_] = field(init=False)
    _numbers: _Numbers | None = None

    def __post_init__(self) -> None:
        self.starts = np.flatnonzero(self.rows.series == 0)
        self.bins = self.rows.bin_number[self.starts]
        self.busy = np.logical_or.reduceat(self.asked, self.starts) if len(self.starts) else np.empty(0, np.bool_)

    def shares(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the share of packets that can be vouched for at each of some bins: float32 [n]."""
        slots = (numbers // SLOT_BINS).tolist()
        if slots[0] == slots[-1]:  # a live link's
            return np.full(len(slots), self.quality[slots[0]].share, np.float32)
        return np.array([self.quality[slot].share for slot in slots], np.float32)

    def row_of(self, place: int) -> int:
        """Return the row at which the bin of a place begins, the number of rows behind the last."""
        return int(self.starts[place]) if place < len(self.starts) else len(self.asked)

    def view(self, place: int, link: Link, supposed: Supposed) -> LinkView:
        """Return what the bin at a place tells, the link's directions as supposed."""
        row, end = self.row_of(place), self.row_of(place + 1)
        number = int(self.bins[place])
        return LinkView(
            link.name, bool(self.asked[row]), self._forecast(row, f"link:{link.name}"), max(supposed.queue_ms),
            partial(self._devices, row + 1, end, link.name), partial(self._traffic, row, link, supposed),
            self.quality[number // SLOT_BINS],
        )  # fmt: skip

    def _traffic(self, row: int, link: Link, supposed: Supposed) -> Traffic:
        traffic = traffic_of(self.rows, row, link)
        up, down = (
            Direction(
                each.capacity_bps, max(0.0, each.load_bps - supposed.moved_bps[at]), supposed.queue_ms[at],
                supposed.queue_ms[at],
            )
            for at, each in enumerate(traffic.directions)
        )  # fmt: skip
        return replace(traffic, directions=(up, down), places=supposed.places, sees_moved=supposed.seen)

    def note(self, place: int, supposed: Supposed) -> None:
        """Keep the bin at a place as it would be, for the timeline."""
        if self.supposed is None:
            self.supposed = np.full((len(self.bins), SUPPOSED), np.nan, np.float32)
        self.supposed[place] = *supposed.load, max(supposed.queue_ms), supposed.path_ms

    def _devices(self, row: int, end: int, link: str, wanted: Container[str]) -> Iterator[Forecast]:
        """Yield the forecasts of devices that may trigger, or whose scope is wanted."""
        for at in range(row, end):
            if not (self.asked[at] or wanted):
                continue
            key = self._lists().key
            scope = f"device:{link}/{address_text(key[2 * at], key[2 * at + 1])}"
            if self.asked[at] or scope in wanted:
                yield self._forecast(at, scope)

    def _lists(self) -> _Numbers:
        if self._numbers is None:
            self._numbers = _Numbers.of(self.rows, self.prediction)
        return self._numbers

    def _forecast(self, row: int, scope: str) -> Forecast:
        numbers = self._lists()
        end_ns = (numbers.bin_number[row] + 1) * BIN_NS
        normal, medium, high = numbers.probabilities[3 * row : 3 * row + 3]
        middle, most, nearly_all = numbers.quantiles_ms[3 * row : 3 * row + 3]
        return Forecast(
            scope=scope,
            window_start_ns=end_ns - WINDOW_BINS * BIN_NS,
            window_end_ns=end_ns,
            horizon_ms=self.model.horizon_ms,
            probabilities=(normal, medium, high),
            quantiles_ms=(middle, most, nearly_all),
            bin_end_ms=numbers.bin_end_ms[row],
            model=self.model.name,
            model_sha=self.model.sha,
        )


class _Numbers(NamedTuple):
    """Forecasts of closed bins as plain numbers: reading them from an array takes ten times as long.

    A row has two numbers of `key`, three of `probabilities` and of `quantiles_ms`, one of the others.
    """

    bin_number: list[int]
    key: list[int]
    probabilities: list[float]
    quantiles_ms: list[float]
    bin_end_ms: list[float]

    @classmethod
    def of(cls, rows: ClosedBins, prediction: Prediction) -> _Numbers:
        """Return the numbers of rows and of the predictions for them."""
        return cls(
            rows.bin_number.tolist(), rows.key.ravel().tolist(), prediction.probabilities.ravel().tolist(),
            prediction.quantiles_ms.ravel().tolist(), rows.queue_ms[:, 0].tolist(),
        )  # fmt: skip


def worth_asking(rows: ClosedBins, link: Link) -> NDArray[np.bool_]:
    """Return bool [n]: the link's rows, and those of devices that carry enough to be moved."""
    found: NDArray[np.bool_] = (rows.series == 0) | (rows.rate_bps >= MIN_SHARE * link.capacity_bps)
    return found


def moved_at(
    numbers: NDArray[np.int64], moved: Sequence[tuple[int, int, float]]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return at some bins what is moved once each is decided: int32 [n] how much, float32 [n] its rate.

    moved: from which bin on, how much, the bit/s that it had when it was chosen.
    """
    since, counts, rates = zip(*moved, strict=True)
    if len(moved) == 1:
        return np.full(len(numbers), counts[0], np.int32), np.full(len(numbers), rates[0], np.float32)
    at = np.searchsorted(np.array(since), numbers, "right") - 1
    return np.array(counts, np.int32)[at], np.array(rates, np.float32)[at]


def state_of(part: Part) -> dict[str, Any]:
    """Return what of a part is not told of yet, for a checkpoint."""
    row = part.row_of(part.told)
    return {
        "rows": {name: array[row:] for name, array in part.rows._asdict().items()},
        "probabilities": part.prediction.probabilities[row:],
        "quantiles_ms": part.prediction.quantiles_ms[row:],
        "asked": part.asked[row:].astype(np.uint8),
        "model": list(part.model),
        "quality": [[slot, quality.decoded, quality.shed, quality.dropped] for slot, quality in part.quality.items()],
        "lost": list(part.lost),
        "behind_hole": part.behind_hole,
        "step": part.step,
        "at": part.at - part.told,
    }


def part_of(state: Mapping[str, Any]) -> Part:
    """Return the part of what `state_of` returned. Raises ContractError where it is none."""
    from offramp.inference.forecast import Prediction

    like = new_bin_out().bins._asdict()
    rows = {name: np.array(state["rows"][name]) for name in like}
    count = len(rows["bin_number"])
    asked = np.array(state["asked"])
    prediction = Prediction(np.array(state["probabilities"]), np.array(state["quantiles_ms"]))
    for name, array in like.items():
        _require(rows[name], array.dtype, (count, *array.shape[1:]))
    _require(asked, np.dtype(np.uint8), (count,))
    for array in (prediction.probabilities, prediction.quantiles_ms):
        _require(array, np.dtype(np.float32), (count, 3))
    numbers = rows["bin_number"]
    bins = numbers[rows["series"] == 0]
    slots = {int(slot): Quality(*(float(each) for each in shares)) for slot, *shares in state["quality"]}
    name, sha, horizon_ms = state["model"]
    if (
        not count or rows["series"][0] != 0 or numbers.min() < 0 or numbers.max() > MAX_BIN
        or (np.diff(numbers) < 0).any() or (np.diff(bins) < 1).any() or not 0 <= int(state["at"]) <= len(bins)
        or not {int(each) // SLOT_BINS for each in bins} <= slots.keys()
        or not set(np.unique(numbers).tolist()) <= set(bins.tolist())
    ):  # fmt: skip
        raise ContractError("meeting: bins that no run closes")
    part = Part(
        ClosedBins(**rows), prediction, ModelName(str(name), str(sha), int(horizon_ms)), asked.astype(np.bool_), slots,
        Lost(*(int(each) for each in state["lost"])), bool(state["behind_hole"]), int(state["step"]),
    )  # fmt: skip
    part.at = int(state["at"])
    return part


def _require(found: NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if found.dtype != dtype or found.shape != shape:
        raise ContractError(f"meeting: no array of {dtype} {list(shape)}")
    if found.dtype.kind == "f" and not (np.isnan(found) | (np.abs(found) < MAX_NUMBER)).all():
        raise ContractError("meeting: numbers that no run comes to")
