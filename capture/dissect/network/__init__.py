"""Network layer: ARP, IPv4, IPv6, ICMP, fragments."""
