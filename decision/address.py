"""Parse addresses as people spell them, and compare them with packets' as numbers, never as text."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

from offramp.toml import shown

Network = IPv4Network | IPv6Network
MAPPED = IPv6Network("::ffff:0:0/96")
"""IPv4 addresses as IPv6: packets are compared as IPv4."""
MAC = re.compile(r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}|[0-9A-Fa-f]{12}")
EXPECTED = "expected an IPv4 or IPv6 address or network, such as 10.0.0.9, 10.0.0.0/24 or 2001:db8::/64"


def network_of(value: Any) -> Network:
    """Return the network of an address or network in any valid spelling; IPv4-mapped ones as IPv4.

    Blanks around it and brackets around IPv6 are taken off. Raises ValueError with what was expected and found, also
    for what packets cannot be compared with: names, MAC addresses, zones.
    """
    if isinstance(value, IPv4Network | IPv6Network):
        return plain(value)
    if not isinstance(value, str):
        raise ValueError(f"{EXPECTED}, in quotes; found {shown(value)}")
    text = without_brackets(value.strip())
    try:
        if "%" not in text:
            return plain(ip_network(text))
    except ValueError:
        pass
    raise ValueError(_complaint(text, value))


def plain(network: Network) -> Network:
    """Return an IPv4-mapped network as the IPv4 network that packets have."""
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        low = int(network.network_address) & 0xFFFFFFFF
        return IPv4Network((low, network.prefixlen - MAPPED.prefixlen))
    return network


def spelled(network: Network) -> str:
    """Return a network as text; one of a single address as that address."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


@lru_cache(maxsize=4096)
def address_of(text: str) -> IPv4Address | IPv6Address:
    """Return the address that the pipeline wrote as text."""
    return ip_address(text)


def without_brackets(text: str) -> str:
    """Return `[2001:db8::c]` and `[2001:db8::]/64` without the brackets."""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](/\d{1,3})?", text)
    return f"{match[1]}{match[2] or ''}" if match else text


def _complaint(text: str, value: str) -> str:
    """Return why a text is no address that packets can be compared with, and what to write."""
    if MAC.fullmatch(text):
        return f"{shown(value)} is a MAC address, and packets are held by IP address; give the address or its network"
    if "%" in text:
        return f"{shown(value)} has a zone, which packets do not carry; write {shown(text.partition('%')[0])}"
    try:
        loose = plain(ip_network(text, strict=False))
    except ValueError:
        pass
    else:
        alone = text.partition("/")[0]
        return f"{shown(value)} has host bits set; did you mean {loose}, or {alone} alone?"
    parts = text.partition("/")[0].split(".")
    if len(parts) == 4 and all(part.isdecimal() and part.isascii() for part in parts):
        if any(len(part) > 1 and part[0] == "0" for part in parts) and all(int(part[-9:]) < 256 for part in parts):
            return f"{shown(value)} has leading zeros, which some read as octal; write each number without them"
        return f"{EXPECTED}; found {shown(value)}"
    if re.fullmatch(r"[A-Za-z0-9_-]*[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*\.?", text):
        return f"{shown(value)} is a name, and packets carry addresses; give the address that it has on this link"
    return f"{EXPECTED}; found {shown(value)}"
