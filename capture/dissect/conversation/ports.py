"""Protocols by TCP and UDP port, as tshark 4.0 has them by default (`tshark -G decodes`).

Ports of protocols that are not dissected here are listed too: what runs on them is not tried as HTTP.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NONE, DNS, HTTP, MQTT, MODBUS, SSDP, OTHER = range(7)
SOCKS = 8
MDNS = 7  # DNS whose questions may ask for a unicast answer

_TCP = {
    DNS: (53, 5353),
    HTTP: (80, 631, 1900, 2710, 2869, 3128, 3132, 3689, 5985, 8080, 8088, 11371),
    MQTT: (1883,),
    MODBUS: (502,),
    SOCKS: (1080,),
}
_UDP = {DNS: (53, 5355), MDNS: (5353,), SSDP: (1900,), MODBUS: (502,)}

_UDP_TUNNELS = (1701, 2268, 4341, 5247, 37008)
"""L2TP, AMT, LISP data, CAPWAP data, TZSP: tunnels that tshark follows and this dissector does not."""

# ports whose dissector takes an HTTP request (TCP), a DNS or an SSDP message (UDP) for its own
_TCP_OTHER = (
    "7 13 19-23 25 37 42-43 49 70 79 88 102 110-111 119 123 139 143 161-162 179 210 323 389 427 445 464 500 "
    "512-515 524 547-548 554 564 587 639 647 674 705 854 862 873 925 988 1090 1099 1102 1153 1194 1213 1433 "
    "1533 1547 1723 1861 1863 1935 2099 2123 2126 2152 2234 2240 2269 2321-2322 2345 2401 2404 2433 2501-2502 "
    "2571 2575 2600 2812 2944-2945 3014 3016-3019 3245-3248 3268 3288 3306 3357 3369 3452 3478 3632 3671 3724 "
    "3804 3860 3863 3868 3918 4002 4155 4189 4223 4342 4420 4551 4555-4556 4712 4730 4739 4788 4840 4880 5010 "
    "5060 5084 5222 5253 5432 5445 5500-5501 5534 5672 5683 5701 5900-5901 5997 6000-6063 6068 6084 6121 6160 "
    "6346 6379 6417 6653 6667-6668 6881-6889 7000 7075 7171-7172 7236 7275-7276 7871 7911 8009 8023 8074 8085 "
    "8554 8567 9009 9092 9300 9418 9956 10288 11211 13400 14001 15740 17500 17755-17756 19006 19042-19043 19506 "
    "19543 21064 22222 24800 29418 34980 44321-44322 44818 48049 48898 57000 "
)
_UDP_OTHER = (
    "7 13 19 37 49 67-69 111 123 137-138 173 177 213 269 319-320 389 427 434 464 496 513-514 520-521 "
    "524-525 546-547 646 664 698 701 853-854 910 921 925 1001 1113 1153 1194 1293 1628-1629 1718-1719 1745 2055 "
    "2099 2123 2152 2157 2221-2222 2246 2268-2269 2313 2345 2887 2944-2945 2948-2949 3000 3130 3250 3343 3357 "
    "3386 3389 3452 3455 3503 3544 3567 3671 3784-3785 3804 3863 4305-4307 4341-4342 4500 4551 4555 4569 4729 "
    "4739 4754 4784 4789-4791 4991 5031 5072 5094 5246-5247 5350-5351 "
)


def _numbers(ranges: str) -> list[int]:
    """Return the ports of a text such as `7 19-23`."""
    ports: list[int] = []
    for word in ranges.split():
        first, _, last = word.partition("-")
        ports += range(int(first), int(last or first) + 1)
    return ports


def port_protocols() -> NDArray[np.uint8]:
    """Return uint8 [3, 65536]: the protocol that each port names, over TCP and over UDP; 1 for tunnels not followed."""
    table = np.full((3, 65_536), NONE, np.uint8)
    table[2, list(_UDP_TUNNELS)] = 1
    for row, others, known in ((0, _TCP_OTHER, _TCP), (1, _UDP_OTHER, _UDP)):
        table[row, _numbers(others)] = OTHER
        for protocol, ports in known.items():
            table[row, list(ports)] = protocol
    return table
