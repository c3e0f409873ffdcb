"""The packets of a command as a display filter of Wireshark and tshark (man wireshark-filter), any version from 2.0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from offramp.decision.address import address_of
from offramp.decision.explaining.subject import Subject

TRANSPORTS = {6: "tcp", 17: "udp"}
ICMP = (1, 58)
NEXT_HEADERS = ("ipv6", "ipv6.hopopts", "ipv6.routing", "ipv6.dstopts", "ipv6.fraghdr")
"""What holds the number of an upper protocol in IPv6."""
ERRORS = {
    False: "!((icmp.type >= 3 && icmp.type <= 5) || icmp.type == 11 || icmp.type == 12)",
    True: "!(icmpv6.type < 128)",
}
"""By whether it is IPv6: what an ICMP error quotes of a flow is not of the flow, and has its addresses and ports."""
NONE = "::"
"""The address of a packet that was cut before it."""
SECOND_NS = 1_000_000_000


def display_filter(subject: Subject) -> str:
    """Return the filter: the time, and where it is known the flows or the device."""
    terms = [
        f"frame.time_epoch >= {_seconds(subject.start_ns)}",
        f"frame.time_epoch < {_seconds(subject.end_ns)}",
    ]
    if subject.device:
        six = address_of(subject.device).version == 6
        terms.append(f"{'ipv6' if six else 'ip'}.addr == {subject.device}")
    elif subject.matches:
        terms.append(_any([_flow(match) for match in subject.matches]))
        others = {match["eth_type"] == 0x86DD for match in subject.matches if match["ip_proto"] not in ICMP}
        icmp = any(match["ip_proto"] in ICMP for match in subject.matches)
        terms += [ERRORS[six] for six in sorted(others) if not icmp]
    return " && ".join(terms)


def _any(filters: Sequence[str]) -> str:
    """Return the filter of what one of several lets pass."""
    found = [f"({each})" for each in filters]
    return found[0] if len(found) == 1 else f"({' || '.join(found)})"


def _flow(match: Mapping[str, Any]) -> str:
    """Return the filter of one match."""
    six, proto = match["eth_type"] == 0x86DD, match["ip_proto"]
    transport = TRANSPORTS.get(proto)
    terms = [
        _address(side, match[f"{_oxm(six)}_{side}"], six=six)
        for side in ("src", "dst")
        if f"{_oxm(six)}_{side}" in match
    ]
    ports = {side: match[f"{transport}_{side}"] for side in ("src", "dst") if f"{transport}_{side}" in match}
    if transport is None:
        terms.append(_protocol(proto, six=six))
    elif ports and not any(ports.values()):  # a fragment behind the first has none, and counts as 0
        zero = " && ".join(f"{transport}.{side}port == 0" for side in ports)
        terms.append(f"(({zero}) || ({_protocol(proto, six=six)} && !{transport}))")
    else:
        terms += [f"{transport}.{side}port == {port}" for side, port in ports.items()] or [transport]
    return " && ".join(terms)


def _address(side: str, address: str, *, six: bool) -> str:
    """Return the filter of an address; in tunnels the other one may be of the other version."""
    field = f"{'ipv6' if six else 'ip'}.{side}"
    if address != NONE:
        return f"{'ipv6' if ':' in address else 'ip'}.{side} == {address}"
    return f"({field} == {address} || !{field})" if six else f"!{field}"


def _oxm(six: bool) -> str:
    return "ipv6" if six else "ipv4"


def _protocol(proto: int, *, six: bool) -> str:
    """Return the filter of an upper protocol."""
    if not six:
        return f"ip.proto == {proto}"
    return "(" + " || ".join(f"{header}.nxt == {proto}" for header in NEXT_HEADERS) + ")"


def _seconds(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, SECOND_NS)
    return f"{seconds}.{rest:09d}"
