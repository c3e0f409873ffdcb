"""The differences from tshark that are known and meant, each with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

RPC = "tshark has one conversation for all clients of a UDP port that a portmapper's answer named"
RTP = "tshark has conversations of their own for RTP and RTCP that SDP, RTSP or H.245 announced"
SOCKS = "tshark's SOCKS dissects the payload as TCP's once more, and opens a conversation for each connection"
FINGER = "tshark puts finger's answer together at its FIN, and shows the last segment's bytes as tcp.segment_data alone"
CIRCUIT = "tshark tells conversations over frame relay apart by circuit (DLCI), not by addresses and ports"
FRACTION = "the file's fraction of a second is a whole one or more; tshark prints its digits, the fast path the time"
HTTP2_DNS = "DNS inside HTTP/2: that protocol is not dissected, nor what it carries"
FORWARD = "a pointer forwards in a DNS name, which RFC 1035 does not allow, is not followed: it would have no bound"
CARRIED = "carried by SCTP, which the fast path does not follow"
DAMAGED = "the file is damaged; tshark takes it for another dialect of pcap, whose record header is longer"

NOT_FOLLOWED = "<Name contains a pointer that loops>"
APPLICATION_PREFIXES = ("http.", "dns.", "mqtt.", "mbtcp.")


@dataclass
class Explainer:
    """Explains the differences of one capture, row by row; some reasons hold from their first packet on.

    damaged_rows: how many rows a damaged file gave, 0 for a whole one; seen: protocols that announce conversations;
    socks: rows of SOCKS; rows: those seen so far.
    """

    damaged_rows: int = 0
    seen: set[str] = field(default_factory=set)
    socks: int = 0
    rows: int = 0

    def row(self, protocols: str) -> None:
        """Take note of a row before its cells are compared."""
        self.rows += 1
        self.seen.update(name for name in ("portmap", "sdp", "rtsp", "h245") if f":{name}" in protocols)
        self.socks += ":socks" in protocols

    def explain(self, column: str, theirs: str, ours: str, protocols: str) -> str:
        """Return why a value of the fast path differs from tshark's, or nothing where that is not known."""
        if self.damaged_rows == self.rows and protocols == "eth:ethertype:data" and not theirs:
            return DAMAGED
        if column.startswith(APPLICATION_PREFIXES):
            return self.explain_application(column, theirs, ours, protocols)
        if column in ("udp.stream", "udp.time_delta"):
            if "portmap" in self.seen:
                return RPC
            if self.seen:
                return RTP
        if column in ("udp.stream", "udp.time_delta", "tcp.stream") and protocols.startswith("fr:"):
            return CIRCUIT
        if column == "tcp.payload" and ":socks" in protocols and theirs == f"{ours},{ours}":
            return SOCKS
        if column == "tcp.stream" and self.socks and 0 < _number(theirs) - _number(ours) <= self.socks:
            return SOCKS
        if column == "tcp.payload" and protocols.endswith(":tcp:finger") and not theirs:
            return FINGER
        if column == "frame.time" and _same_time(theirs, ours):
            return FRACTION
        return ""

    def explain_application(self, column: str, theirs: str, ours: str, protocols: str) -> str:
        """Return why a value of an application column differs, or nothing where that is not known."""
        if column == "dns.qry.name" and NOT_FOLLOWED in ours.split(",") and NOT_FOLLOWED not in theirs:
            return FORWARD
        if column == "dns.qry.name.len" and str(len(NOT_FOLLOWED)) in ours.split(","):
            return FORWARD
        if ours:
            return ""
        if column.startswith("dns.") and ":http2:" in protocols:
            return HTTP2_DNS
        return CARRIED if ":sctp:" in protocols else ""


def _number(cell: str) -> int:
    """Return a stream number, 0 where there is none or several."""
    return int(cell) if cell.isdigit() else 0


def _same_time(theirs: str, ours: str) -> bool:
    """Return whether tshark's time has ten or more digits of nanoseconds and, carried over, is the fast path's."""
    parts = [re.fullmatch(r"(.*:\d\d)\.(\d+) UTC", text) for text in (theirs, ours)]
    if not (parts[0] and parts[1]) or len(parts[0][2]) < 10:
        return False
    first, second = (datetime.strptime(" ".join(part[1].split()), "%b %d, %Y %H:%M:%S") for part in parts if part)
    return (second - first).total_seconds() * 10**9 + int(parts[1][2]) == int(parts[0][2])
