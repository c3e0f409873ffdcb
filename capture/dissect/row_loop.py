"""The row loop: one compiled function that takes packets to table rows, header by header."""

from __future__ import annotations

from typing import Any

from offramp.capture.dissect.application.payloads import (
    application_tcp,
    application_udp,
)
from offramp.capture.dissect.conversation.flow_table import FlowTable, flows_room
from offramp.capture.dissect.conversation.reassembly import UNTIL_FIN
from offramp.capture.dissect.conversation.state import MODE, Applications, application_reset
from offramp.capture.dissect.link.labels import mpls, nsh
from offramp.capture.dissect.link.link_types import ether_type, ethernet, ip_any, llc, start_link
from offramp.capture.dissect.link.serial import ppp
from offramp.capture.dissect.link.wireless import next_subframe, wireless
from offramp.capture.dissect.network.arp import arp
from offramp.capture.dissect.network.fragments import Fragments, scratch_room
from offramp.capture.dissect.network.icmp import icmp
from offramp.capture.dissect.network.ipv4 import ipv4
from offramp.capture.dissect.network.ipv6 import icmpv6, ipv6
from offramp.capture.dissect.packet.cursor import (
    AMSDU,
    CUT,
    DEPTH,
    DONE,
    END,
    ETHER_TYPE,
    ETHERNET,
    IN_ERROR,
    IP_ANY,
    IP_PROTOCOL,
    IPV4,
    IPV6,
    LLC,
    MAX_DEPTH,
    MPLS,
    NEXT,
    NOW_NS,
    NSH,
    POSITION,
    PPP,
    RESUME,
    STEPS,
    TYPE,
    UNFOLLOWED,
    WIRE_END,
    WLAN,
    fits,
    go,
    stop,
)
from offramp.capture.dissect.packet.found import (
    ACKNOWLEDGED,
    ADVERTISED,
    FLOW_IS_NEW,
    FLOW_SIDE,
    FLOW_SLOT,
    PAYLOAD_SIZE,
    RAW_SEQUENCE,
    SOURCE_PORT,
    TARGET_PORT,
    TCP_FLAG_BITS,
)
from offramp.capture.dissect.packet.notes import NOTE_CUT, NOTE_DEPTH, NOTE_PROTOCOL, NOTE_STEPS
from offramp.capture.dissect.packet.protocol_numbers import (
    ETH_P_ARP,
    ETH_P_IP,
    ETH_P_IPV6,
    ETH_P_RARP,
    IPPROTO_AH,
    IPPROTO_ETHERIP,
    IPPROTO_GRE,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_IPIP,
    IPPROTO_IPV6,
    IPPROTO_MPLS,
    IPPROTO_TCP,
    IPPROTO_UDP,
)
from offramp.capture.dissect.packet.table import Table, begin_row, put, put_span, row_full
from offramp.capture.dissect.packet.unfollowed import IP_PROTOCOL_KIND, UDP_PORT_KIND, count_kind, unfollowed
from offramp.capture.dissect.transport.tcp import FIN, TCP_PAYLOAD, tcp
from offramp.capture.dissect.transport.udp import UDP_LITE, udp
from offramp.capture.dissect.tunnel.sflow import next_sample
from offramp.capture.dissect.tunnel.tunnels import gre, udp_tunnel
from offramp.capture.schema import INDEX
from offramp.kernels import kernel_entry, kernel_inline

FRAME_TIME, FRAME_EPOCH, FRAME_LENGTH = INDEX["frame.time"], INDEX["frame.time_epoch"], INDEX["frame.len"]

# what ended the loop
FULL = 0  # the table has no more rows, or the block no more packets
NO_TABLE_ROOM = 1
NO_FLOW_ROOM = 2
NO_SCRATCH_ROOM = 3

# why a packet is undecodable
LINK_UNKNOWN = 0
LINK_CUT = 1
EMPTY = 2
UNDECODABLE_NAMES = ("unknown_link_type", "link_header_cut", "empty_packet")


@kernel_entry
def dissect_rows(
    out: Table,
    flows: FlowTable,
    apps: Applications,
    fragments: Fragments,
    data: Any,
    scratch: Any,
    offset: Any,
    caplen: Any,
    length: Any,
    time_ns: Any,
    interface: Any,
    linktypes: Any,
    first: int,
    number: int,
    row: int,
    cur: Any,
    found: Any,
    bad: Any,
    kinds: Any,
) -> Any:
    """Dissect packets from `first` on into rows from `row` on; return packets done and what ended the loop.

    data: uint8, the block's bytes; scratch: uint8, the same memory and room behind it, writable, or empty;
    number: frame number of packet 0 of the block; bad: int64 [3], counts of undecodable packets by reason; kinds: int64
    [KINDS + 1, 2], what was not followed (capture.dissect.packet.unfollowed).
    """
    count = min(offset.shape[0] - first, out.values.shape[1] - row)
    for done in range(count):
        if not flows_room(flows):
            return done, NO_FLOW_ROOM
        if not scratch_room(fragments, scratch):
            return done, NO_SCRATCH_ROOM
        if not begin_row(out):
            return done, NO_TABLE_ROOM
        packet = first + done
        put(out, row, FRAME_TIME, time_ns[packet])
        put(out, row, FRAME_EPOCH, time_ns[packet])
        put(out, row, FRAME_LENGTH, length[packet])
        cur[:] = 0
        cur[POSITION] = offset[packet]
        cur[END] = offset[packet] + caplen[packet]
        cur[WIRE_END] = offset[packet] + max(length[packet], caplen[packet])
        cur[NOW_NS] = time_ns[packet]
        if caplen[packet] <= 0:
            bad[EMPTY] += 1
        elif not start_link(data, cur, linktypes[interface[packet]]):
            bad[LINK_UNKNOWN] += 1
        else:
            turns = 0
            while cur[NEXT] != DONE or cur[RESUME] != DONE:
                turns += 1
                one_layer(out, flows, apps, fragments, row, data, scratch, cur, time_ns[packet], number + packet, found)
            out.notes[NOTE_STEPS] += turns + cur[STEPS]
            if cur[UNFOLLOWED]:
                count_kind(kinds, cur[UNFOLLOWED])
            if cur[CUT]:
                if turns <= 1 and cur[POSITION] == offset[packet]:
                    bad[LINK_CUT] += 1
                else:
                    out.notes[NOTE_CUT] += 1
        row += 1
    return count, FULL


@kernel_inline
def one_layer(
    out: Table,
    flows: FlowTable,
    apps: Applications,
    fragments: Fragments,
    row: int,
    data: Any,
    scratch: Any,
    cur: Any,
    time_ns: int,
    number: int,
    found: Any,
) -> None:
    """Dissect the header at the cursor and move on."""
    cur[DEPTH] += 1
    following = cur[NEXT]
    if cur[DEPTH] > MAX_DEPTH:
        stop(out, cur, NOTE_DEPTH)
        cur[RESUME] = DONE
    elif following == ETHERNET:
        ethernet(data, cur)
    elif following == ETHER_TYPE:
        kind = cur[TYPE]
        if kind == ETH_P_IP:
            cur[NEXT] = IPV4
        elif kind == ETH_P_IPV6:
            cur[NEXT] = IPV6
        elif kind in (ETH_P_ARP, ETH_P_RARP):
            arp(out, row, data, cur)
        else:
            ether_type(out, data, cur)
    elif following == IPV4:
        ipv4(out, fragments, row, data, scratch, cur)
    elif following == IPV6:
        ipv6(out, fragments, row, data, scratch, cur)
    elif following == IP_PROTOCOL:
        ip_protocol(out, flows, apps, row, data, cur, time_ns, number, found)
    elif following == LLC:
        llc(out, data, cur)
    elif following == PPP:
        ppp(out, data, cur)
    elif following == MPLS:
        mpls(out, data, cur)
    elif following == IP_ANY:
        ip_any(data, cur)
    elif following == NSH:
        nsh(out, data, cur)
    elif following == WLAN:
        wireless(out, data, cur)
    elif row_full(out):
        cur[RESUME] = DONE
    elif cur[RESUME] == AMSDU:
        next_subframe(data, cur)
    else:
        next_sample(data, cur)


@kernel_inline
def tcp_payload(out: Table, apps: Applications, row: int, cur: Any, found: Any) -> None:
    """Put a segment's payload, but not where the FIN that ends a message brings its last bytes (tshark's way)."""
    if cur[END] <= cur[POSITION]:
        return
    if (
        found[TCP_FLAG_BITS] & FIN
        and not cur[IN_ERROR]
        and apps.side[2 * found[FLOW_SLOT] + found[FLOW_SIDE], MODE] == UNTIL_FIN
    ):
        return
    put_span(out, row, TCP_PAYLOAD, cur[POSITION], cur[END] - cur[POSITION], 0)


@kernel_inline
def ip_protocol(
    out: Table,
    flows: FlowTable,
    apps: Applications,
    row: int,
    data: Any,
    cur: Any,
    time_ns: int,
    number: int,
    found: Any,
) -> None:
    """Dissect what an IP header carries: a transport, an error message, or another packet."""
    kind = cur[TYPE]
    if kind == IPPROTO_TCP:
        if tcp(out, flows, row, data, cur, time_ns, found):
            if found[FLOW_IS_NEW]:
                application_reset(apps, found[FLOW_SLOT])
            tcp_payload(out, apps, row, cur, found)
            application_tcp(
                out, apps, row, data, cur[POSITION], cur[END], found[PAYLOAD_SIZE], found[SOURCE_PORT],
                found[TARGET_PORT], found[FLOW_SLOT], found[FLOW_SIDE],
                found[RAW_SEQUENCE], found[ACKNOWLEDGED], found[TCP_FLAG_BITS], found[ADVERTISED], number, time_ns,
                cur[IN_ERROR] != 0,
            )  # fmt: skip
    elif kind in (IPPROTO_UDP, UDP_LITE):
        if udp(out, flows, row, data, cur, time_ns, found):
            if found[FLOW_IS_NEW]:
                application_reset(apps, found[FLOW_SLOT])
            if not udp_tunnel(out, data, cur, found[SOURCE_PORT], found[TARGET_PORT]):
                if apps.ports[2, found[SOURCE_PORT]] or apps.ports[2, found[TARGET_PORT]]:
                    cur[UNFOLLOWED] = (UDP_PORT_KIND << 32) | (
                        found[SOURCE_PORT] if apps.ports[2, found[SOURCE_PORT]] else found[TARGET_PORT]
                    )
                application_udp(
                    out, apps, row, data, cur[POSITION], cur[END], found[SOURCE_PORT], found[TARGET_PORT],
                    found[FLOW_SLOT], number, time_ns,
                    cur[IN_ERROR] != 0,
                )  # fmt: skip
    elif kind == IPPROTO_ICMP:
        icmp(out, row, data, cur)
    elif kind == IPPROTO_IPIP:
        cur[NEXT] = IPV4
    elif kind == IPPROTO_IPV6:
        cur[NEXT] = IPV6
    elif kind == IPPROTO_GRE:
        gre(out, data, cur)
    elif kind == IPPROTO_MPLS:
        cur[NEXT] = MPLS
    elif kind == IPPROTO_ETHERIP:
        cur[NEXT] = ETHERNET
        cur[POSITION] += 2
    elif kind == IPPROTO_ICMPV6:
        icmpv6(cur, data)
    elif kind == IPPROTO_AH:
        if fits(cur, 8):
            at = cur[POSITION]
            go(cur, IP_PROTOCOL, int(data[at]), (int(data[at + 1]) + 2) * 4)
            cur[POSITION] = min(cur[POSITION], cur[END])
    else:
        unfollowed(out, cur, NOTE_PROTOCOL, IP_PROTOCOL_KIND, kind)
