"""How follow shows a command in a line."""

from __future__ import annotations

import pytest

from offramp.cli.follow import pretty

FLOW = {"eth_type": 2048, "ip_proto": 17, "ipv4_src": "10.0.0.1", "ipv4_dst": "10.0.0.2", "udp_src": 7, "udp_dst": 53}
SIX = {"eth_type": 0x86DD, "ip_proto": 58, "ipv6_src": "::1", "ipv6_dst": "::2"}


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ({"type": "reroute", "path": "5g", "flows": [FLOW]}, "reroute 10.0.0.1:7 > 10.0.0.2:53 to 5g"),
        ({"type": "reroute", "path": "5g", "flows": [SIX, FLOW, FLOW]}, "reroute ::1 > ::2 and 2 more to 5g"),
        ({"type": "mark", "dscp": 1, "flows": [FLOW]}, "mark 10.0.0.1:7 > 10.0.0.2:53 DSCP 1"),
        ({"type": "offload", "device": "10.0.0.9", "from": "uplink", "to": "edge"}, "offload 10.0.0.9 to edge"),
        ({"type": "clear", "loop_id": "a-loop"}, "clear a-loop"),
    ],
)
def test_a_command_is_shown_with_what_it_moves(action: dict[str, object], words: str) -> None:
    told = {"phase": "onset", "mode": "enforce", "action": action, "reason": {"rule": "why"}}
    assert pretty(told) == f"onset enforce {words} (why)"
