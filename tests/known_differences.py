"""The differences from tshark that are known and meant, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field

SNMP = "tshark's SNMP opens conversations of its own, so UDP stream numbers and deltas after it are others"
FRAGMENTS = "IP fragments put together by tshark in the datagram's last frame, not by the fast path"
AFTER_FRAGMENTS = "conversation numbers and times after a datagram of fragments that tshark alone puts together"
HTTP2_DNS = "DNS inside HTTP/2: that protocol is not dissected, nor what it carries"
CARRIED = "carried by SCTP, AYIYA or sFlow, which the fast path does not follow"
MALFORMED = "tshark stops at a header it calls malformed; the fast path reads on where lengths allow it"

APPLICATION_PREFIXES = ("http.", "dns.", "mqtt.", "mbtcp.")
NOT_FOLLOWED = (":sctp:", ":ayiya:", ":sflow:")
NUMBERED = ("udp.stream", "udp.time_delta", "tcp.stream", "tcp.seq", "tcp.ack")


@dataclass
class Explainer:
    """Explains the differences of one capture, row by row; some reasons hold from their first packet on."""

    seen: set[str] = field(default_factory=set)

    def row(self, protocols: str, reassembled: bool) -> None:
        """Take note of a row before its cells are compared."""
        if ":snmp" in protocols:
            self.seen.add("snmp")
        if reassembled:
            self.seen.add("fragments")

    def explain(self, column: str, theirs: str, ours: str, protocols: str, reassembled: bool) -> str:
        """Return why a value of the fast path differs from tshark's, or nothing where that is not known."""
        if column.startswith(APPLICATION_PREFIXES):
            return self.explain_application(column, ours, protocols)
        if reassembled and theirs.startswith(ours):
            return FRAGMENTS
        if "fragments" in self.seen and column in NUMBERED:
            return AFTER_FRAGMENTS
        if "snmp" in self.seen and column in ("udp.stream", "udp.time_delta"):
            return SNMP
        if ":malformed" in protocols and not theirs:
            return MALFORMED
        return ""

    def explain_application(self, column: str, ours: str, protocols: str) -> str:
        """Return why a value of an application column differs, or nothing where that is not known."""
        if ours:
            return ""
        if column.startswith("dns.") and ":http2:" in protocols:
            return HTTP2_DNS
        return CARRIED if any(layer in protocols for layer in NOT_FOLLOWED) else ""
