"""The specification of a data set: which arrivals, through which capacities, in which part; no unknown keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from offramp.decision.bounds import number
from offramp.decision.site import Rate
from offramp.decision.tables import NetworkField, Strict, Switch, load_toml, name
from offramp.stream.channels import BIN_MS

Part = Literal["train", "validation", "test"]
HORIZONS_MS = (50, 100, 200, 500, 1000, 2000, 5000)
PAGE = "docs/data.md"


def _free_of_marks(text: str) -> str:
    if set(name(text)) & set("@#:"):
        raise ValueError("expected a name without @, # and :, which separate the parts of a series' name")
    return text


def _below(budgets: tuple[float, float] | None) -> tuple[float, float] | None:
    if budgets is not None and not budgets[0] < budgets[1]:
        raise ValueError("expected the delay where Medium begins below that where High begins")
    return budgets


def _rising(horizons: tuple[int, ...]) -> tuple[int, ...]:
    if any(h <= 0 or h % BIN_MS for h in horizons) or list(horizons) != sorted(set(horizons)):
        raise ValueError(f"expected rising multiples of {BIN_MS} ms")
    return horizons


Name = Annotated[str, AfterValidator(_free_of_marks)]
Delay = Annotated[float, number("budget_ms")]
Share = Annotated[float, number("share")]


class Split(Strict):
    """Shares of the parts. By time: one after the other with a gap; by origin: whole files or links, dealt by seed."""

    by: Literal["time", "origin"] = Field(description="time or origin")
    train: Share = Field(0.6, description="share of training")
    validation: Share = Field(0.2, description="share of validation")
    test: Share = Field(0.2, description="share of test")

    @model_validator(mode="after")
    def _whole(self) -> Split:
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError("the shares of train, validation and test must sum to 1")
        return self

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares in the order of the parts."""
        return self.train, self.validation, self.test


class Capacity(Strict):
    """What the arrivals pass: a fixed rate, rates that fill to given loads, or a cellular trace as it is or scaled."""

    rate: Rate | None = Field(None, description="fixed bits per second, such as '8 Mbit/s'")
    rate_down: Rate | None = Field(None, description="bits per second towards the devices; none: as rate")
    trace: str | None = Field(None, description="delivery opportunities of 1,500 bytes, one time in ms a line")
    trace_down: str | None = Field(None, description="the same towards the devices; none: as trace")
    loads: tuple[Annotated[float, number("load")], ...] = Field(
        (), description="capacity is the offered rate over each of these; scales a trace"
    )
    of: Literal["busy", "mean"] = Field("busy", description="offered rate: 95th percentile of 100 ms slots, or mean")
    buffer_ms: Annotated[float, number("buffer_ms")] | None = Field(
        200.0, description="buffer as time at the (mean) capacity"
    )
    buffer_bytes: Annotated[int, number("buffer_bytes")] | None = Field(
        None, description="buffer in bytes, instead of buffer_ms"
    )
    parts: tuple[Part, ...] = Field(("train", "validation", "test"), description="parts that see this capacity")

    @model_validator(mode="after")
    def _one_kind(self) -> Capacity:
        if self.rate is not None and (self.trace or self.loads):
            raise ValueError("give rate alone, or loads, or trace with or without loads")
        if self.rate is None and not self.trace and not self.loads:
            raise ValueError("expected one of rate, loads, trace")
        if self.trace_down and not self.trace:
            raise ValueError("trace_down needs trace")
        return self


class Source(Strict):
    """Arrivals of one sort, and where they belong."""

    name: Name = Field(description="first part of the origins' names")
    type: Literal["captures", "packet_times", "synthetic"] = Field(description="how arrivals come about")
    kind: str = Field("", description="heading in tables; the name otherwise")
    files: tuple[str, ...] = Field((), description="files, patterns, folders; $ROOT/ stands for --root")
    exclude: tuple[str, ...] = Field((), description="patterns of files to leave out")
    optional: Switch = Field(False, description="may be missing")
    networks: tuple[NetworkField, ...] = Field((), description="networks behind the link; none: every packet goes up")
    devices: Annotated[int, number("devices")] = Field(0, description="busiest devices that get series of their own")
    part: Part | None = Field(None, description="part of the whole source")
    split: Split | None = Field(None, description="or shares of parts")
    capacity: tuple[Capacity, ...] = Field((), description="tables [[sources.capacity]]; a synthetic link has its own")
    count: Annotated[int, number("count")] = Field(0, description="synthetic: links")
    seconds: Annotated[float, number("seconds")] = Field(60.0, description="synthetic: length of each")

    @model_validator(mode="after")
    def _complete(self) -> Source:
        if (self.part is None) == (self.split is None):
            raise ValueError("expected either part or split")
        if self.type == "synthetic" and (not self.count or self.files or self.capacity):
            raise ValueError("a synthetic source has count and seconds, no files and no capacity")
        if self.type != "synthetic" and (not self.files or not self.capacity):
            raise ValueError("expected files and at least one table [[sources.capacity]]")
        return self


class DatasetSpec(Strict):
    """What `offramp dataset build` reads."""

    name: str = Field("dataset", description="name in reports")
    seed: Annotated[int, number("seed")] = Field(1, description="of synthetic links and of dealing origins into parts")
    horizons_ms: Annotated[
        tuple[Annotated[int, number("horizon_ms")], ...], Field(min_length=1), AfterValidator(_rising)
    ] = Field(HORIZONS_MS, description="horizons of the targets")
    budget_ms: Annotated[tuple[Delay, Delay] | None, AfterValidator(_below)] = Field(
        None, description="delays where Medium and High begin"
    )
    copies: Annotated[float, number("some_share")] = Field(
        0.3, description="share of equal packets from which two captures are one"
    )
    sources: tuple[Source, ...] = Field(min_length=1, description="tables [[sources]]")

    @model_validator(mode="after")
    def _names_differ(self) -> DatasetSpec:
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError("two sources have the same name")
        return self


def load_spec(path: Path) -> DatasetSpec:
    """Read a specification. Raise ConfigError naming file, key, what was expected and what was found."""
    return load_toml(DatasetSpec, path, PAGE)
