"""The site: links, paths, nodes, devices and limits, read from site.toml. Unknown keys are refused."""

from __future__ import annotations

import re
import tomllib
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from offramp_errors import ConfigError

RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kMG]?)(?:bit/s|bps|bit)?\s*")
PAGE = "docs/site.md"
Table = TypeVar("Table", bound=BaseModel)
FACTOR = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def parse_rate(value: Any) -> Any:
    """Return bits per second of a number or of text such as `20 Mbit/s`."""
    if isinstance(value, str):
        match = RATE.fullmatch(value)
        if match is None:
            raise ValueError("expected bits per second, such as 20000000 or '20 Mbit/s'")
        return float(match[1]) * FACTOR[match[2]]
    return value


Rate = Annotated[float, BeforeValidator(parse_rate), Field(gt=0)]
Network = IPv4Network | IPv6Network


class Strict(BaseModel):
    """A table of site.toml: no unknown keys, no later change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Path(Strict):
    """A way that flows of a link may take instead."""

    name: str = Field(description="name that commands carry, as the controller knows it")
    capacity: Rate = Field(description="bits per second, or text such as '20 Mbit/s'")
    delay_ms: float = Field(1.0, ge=0, description="one-way delay without load")
    energy_nj_per_bit: float = Field(1.0, ge=0, description="energy to carry a bit")


class Node(Strict):
    """A place that can serve a device's traffic: edge or cloud."""

    name: str = Field(description="name that commands carry")
    tier: Literal["device", "edge", "cloud"] = Field("edge", description="device, edge or cloud")
    delay_ms: float = Field(1.0, ge=0, description="one-way delay from the devices")
    capacity: Rate = Field(1e9, description="bits per second that it can take")
    energy_nj_per_bit: float = Field(1.0, ge=0, description="energy to serve a bit")


class Device(Strict):
    """What is known of one device behind a link."""

    address: str = Field(description="IPv4 or IPv6 address")
    name: str = Field("", description="name for people")
    priority: int = Field(0, description="the higher, the later it is moved; below 0: never")
    energy_nj_per_bit: float = Field(1.0, ge=0, description="energy that the device spends to send a bit")


class Policy(Strict):
    """When to act, and for how long."""

    enter_bins: int = Field(5, ge=1, description="bins in a row that must foresee congestion before an onset")
    exit_bins: int = Field(50, ge=1, description="bins without a run of enter_bins bad ones before it has abated")
    enter_probability: float = Field(0.5, gt=0, lt=1, description="P(High) from which a bin foresees congestion")
    quantile: Literal["q50", "q90", "q99"] = Field("q50", description="delay quantile that is held against the budget")
    exit_probability: float = Field(0.35, gt=0, lt=1, description="P(High) below which a bin foresees none")
    exit_share: float = Field(0.8, gt=0, le=1, description="share of the budget below which a delay foresees none")
    hold_s: float = Field(1.0, ge=0, description="shortest time a move stays")
    cooldown_s: float = Field(1.0, ge=0, description="time after an abatement without a new onset")
    expiry_s: float = Field(10.0, gt=0, description="a command is void after this, unless updated")
    target_load: float = Field(0.7, gt=0, le=1, description="share of the capacity that may stay on the link")


class Limits(Strict):
    """What the policy may never exceed."""

    moves: int = Field(8, ge=1, description="moves open at once on a link")
    actions: tuple[Literal["reroute", "offload", "mark"], ...] = Field(
        ("reroute", "offload", "mark"), description="allowed actions; mark is tried only where the others find no room"
    )
    only: tuple[Network, ...] = Field((), description="networks whose traffic may be moved; none: all")
    quality: float = Field(0.99, ge=0, le=1, description="share of packets that must be accounted for to enforce")


class Link(Strict):
    """What is watched: a capacity, the networks behind it, the paths and nodes that can take its load."""

    name: str = Field(description="name in forecasts and commands")
    interface: str | None = Field(None, description="pattern of the capture interface's name; none: any")
    capacity: Rate = Field(description="bits per second from the devices, or text such as '20 Mbit/s'")
    capacity_down: Rate | None = Field(None, description="bits per second towards the devices; none: as capacity")
    buffer_bytes: int | None = Field(None, gt=0, description="bytes that the link queues before it drops; none: all")
    budget_ms: float = Field(25.0, gt=0, description="queueing delay that users accept")
    lateness_ms: float = Field(
        1.0, ge=0, le=140, description="how long a bin waits for packets out of order, in the packets' own time"
    )
    devices: tuple[Network, ...] = Field((), description="networks behind the link; none: every packet counts as up")
    paths: tuple[Path, ...] = Field((), description="other paths, tables [[links.paths]]")
    nodes: tuple[Node, ...] = Field((), description="nodes to offload to, tables [[links.nodes]]")
    known: tuple[Device, ...] = Field((), description="devices with a priority, tables [[links.known]]")

    @property
    def capacity_bps(self) -> float:
        """Bits per second from the devices."""
        return self.capacity

    @property
    def capacity_down_bps(self) -> float:
        """Bits per second towards the devices."""
        return self.capacity_down or self.capacity


class Site(Strict):
    """One site: its links, and how commands are decided."""

    name: str = Field("site", description="name in messages")
    mode: Literal["dry_run", "enforce"] = Field(
        "dry_run", description="dry_run decides and tells; enforce is asked for"
    )
    links: tuple[Link, ...] = Field(min_length=1, description="tables [[links]], at least one")
    policy: Policy = Field(Policy(), description="table [policy]")
    limits: Limits = Field(Limits(), description="table [limits]")

    @model_validator(mode="after")
    def _names_differ(self) -> Site:
        names = [link.name for link in self.links]
        if len(set(names)) < len(names):
            raise ValueError("two links have the same name")
        return self

    def link(self, name: str) -> Link:
        """Return the link of this name."""
        return next(link for link in self.links if link.name == name)


def load_site(path: FilePath) -> Site:
    """Read a site from a TOML file. Raise ConfigError naming file, key, what was expected and what was found."""
    return load_toml(Site, path, PAGE)


def load_toml(kind: type[Table], path: FilePath, page: str) -> Table:
    """Read a TOML file as `kind`; `page` lists its keys. Raise ConfigError as load_site does."""
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is no TOML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_complaint(error, page)}") from error


def first_complaint(error: ValidationError, page: str) -> str:
    """Return the first complaint in one line: key, what was expected, what was found; `page` lists the keys."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "(whole file)"
    if first["type"] == "extra_forbidden":
        return f"{key}: there is no such key; {page} lists the keys"
    if first["type"] == "missing":
        return f"{key}: is missing; {page} tells what it means"
    return f"{key}: {first['msg']}; found {str(first['input'])[:80]!r}"


def default_site() -> Site:
    """Return the site assumed without a file: one link of 100 Mbit/s with a delay budget of 25 ms."""
    return Site(links=(Link(name="capture", capacity=100e6),))
