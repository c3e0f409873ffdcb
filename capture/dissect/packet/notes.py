"""Note numbers: why headers were not followed, messages given up or flows forgotten. `Table.notes` counts them.

The ledger shows them under their names in NOTE_NAMES.
"""

from __future__ import annotations

# the header layers
NOTE_CUT = 0
NOTE_ETHER_TYPE = 1
NOTE_PROTOCOL = 2
NOTE_LLC = 3
NOTE_BAD_IP = 4
NOTE_BAD_TCP = 5
NOTE_BAD_UDP = 6
NOTE_FRAGMENT = 7
NOTE_DEPTH = 8
NOTE_PPP = 9
NOTE_EVICTED = 10
NOTE_REASSEMBLED = 11
NOTE_FRAGMENT_LOST = 12
NOTE_WIRELESS = 13
NOTE_IDLE = 14

# messages and their content
NOTE_GIVEN_UP = 32
NOTE_GAP = 33
NOTE_BODY_CUT = 34
NOTE_NAMES_CUT = 35

NOTE_STEPS = 61  # no reason: the steps of work that the packets took, see cursor.STEPS

# the table
NOTE_OCCURRENCES_CUT = 62
NOTE_TEXT_CUT = 63
NOTE_COUNT = 64

NOTE_NAMES = {
    NOTE_CUT: "header_cut",
    NOTE_ETHER_TYPE: "ether_type_not_dissected",
    NOTE_PROTOCOL: "ip_protocol_not_dissected",
    NOTE_LLC: "llc_not_dissected",
    NOTE_BAD_IP: "ip_header_malformed",
    NOTE_BAD_TCP: "tcp_header_malformed",
    NOTE_BAD_UDP: "udp_header_malformed",
    NOTE_FRAGMENT: "ip_fragment",
    NOTE_DEPTH: "nested_too_deep",
    NOTE_PPP: "ppp_protocol_not_dissected",
    NOTE_EVICTED: "flow_evicted",
    NOTE_REASSEMBLED: "ip_reassembled",
    NOTE_FRAGMENT_LOST: "ip_fragment_lost",
    NOTE_IDLE: "flow_idle_forgotten",
    NOTE_WIRELESS: "wireless_frame_encrypted_or_fragment",
    NOTE_GIVEN_UP: "message_given_up",
    NOTE_GAP: "message_with_gap",
    NOTE_BODY_CUT: "decoded_body_cut",
    NOTE_NAMES_CUT: "dns_names_cut",
    NOTE_OCCURRENCES_CUT: "occurrences_cut",
    NOTE_TEXT_CUT: "text_cut",
}
