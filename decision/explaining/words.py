"""Rates, times and flows as people write them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from offramp.decision.acceptance import time_ns

PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}
UNITS = ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"))
RANKS = {1: "st", 2: "nd", 3: "rd"}


def rate(bps: float) -> str:
    """Return a rate with three digits."""
    for size, unit in UNITS:
        if abs(bps) >= 0.9995 * size:
            return f"{_three(bps / size)} {unit}"
    return f"{bps:.0f} bit/s"


def milliseconds(value: float) -> str:
    """Return a time with a decimal, a short one with two."""
    return f"{value:.2f} ms" if abs(value) < 1.0 and value else f"{value:.1f} ms"


def percent(share: float) -> str:
    """Return a share; what is not all or nothing does not read as it."""
    text = f"{share * 100:.1f}".removesuffix(".0")
    if share not in (0, 1) and text in ("0", "100"):
        return "below 0.1 %" if share < 0.5 else "above 99.9 %"
    return f"{text} %"


def moment(text: str, *, day: bool = False) -> str:
    """Return the time of a command to a millisecond, or as exactly as it is told."""
    at_ns = time_ns(text)
    seconds, rest = divmod(at_ns, 1_000_000_000)
    fine = f"{rest // 1_000_000:03d}" if rest % 1_000_000 == 0 else f"{rest:09d}"
    form = "%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S"
    return f"{datetime.fromtimestamp(seconds, UTC):{form}}.{fine}"


def after(start: str, end: str) -> str:
    """Return how long after a time another is."""
    return f"{(time_ns(end) - time_ns(start)) / 1e9:.3f}".rstrip("0").rstrip(".") + " s"


def flow(match: Mapping[str, Any]) -> str:
    """Return a match as a line: protocol, source and target; what it leaves open as `any`."""
    proto = match["ip_proto"]
    return f"{PROTOCOLS.get(proto, f'protocol {proto}')} {_end(match, 'src')} > {_end(match, 'dst')}"


def unit(told: Mapping[str, Any]) -> str:
    """Return what a reason tells of: a flow, or a device."""
    return f"device {told['device']}" if "device" in told else flow(told["match"])


def count(number: int, name: str) -> str:
    """Return how many of something."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def _end(match: Mapping[str, Any], side: str) -> str:
    """Return the address and port of a side."""
    address = match.get(f"ipv4_{side}") or match.get(f"ipv6_{side}") or "any"
    port = next((match[name] for name in (f"tcp_{side}", f"udp_{side}") if name in match), None)
    if port is None:
        return str(address)
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _three(value: float) -> str:
    """Return a number with three digits, without an exponent."""
    size = abs(value)
    text = f"{value:.2f}" if size < 9.995 else f"{value:.1f}" if size < 99.95 else f"{value:.0f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
