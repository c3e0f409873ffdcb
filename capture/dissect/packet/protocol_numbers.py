"""Numbers of protocols that IEEE and IANA assign, by the names that Linux has for them (if_ether.h, in.h)."""

ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
ETH_P_RARP = 0x8035
ETH_P_IPV6 = 0x86DD
ETH_P_8021Q = 0x8100
ETH_P_8021AD = 0x88A8
ETH_P_QINQ1 = 0x9100  # the VLAN tag outside of another, before 802.1ad
ETH_P_MPLS_UC = 0x8847
ETH_P_MPLS_MC = 0x8848
ETH_P_PPP_DISC = 0x8863
ETH_P_PPP_SES = 0x8864
ETH_P_8021AH = 0x88E7  # provider backbone bridges, MAC in MAC
ETH_P_VNTAG = 0x8926  # Cisco's virtual NICs
ETH_P_8021BR = 0x893F  # bridge port extension
ETH_P_CMD = 0x8909  # Cisco's MetaData
ETH_P_NSH = 0x894F  # network service header, RFC 8300
ETH_P_TEB = 0x6558  # a bridged Ethernet frame
ETH_P_LLDP = 0x88CC
ETH_P_PPP = 0x880B  # in GRE
ETH_P_ERSPAN = 0x88BE  # type II
ETH_P_ERSPAN2 = 0x22EB  # type III

IPPROTO_ICMP = 1
IPPROTO_IPIP = 4
IPPROTO_TCP = 6
IPPROTO_UDP = 17
IPPROTO_IPV6 = 41
IPPROTO_GRE = 47
IPPROTO_AH = 51
IPPROTO_ICMPV6 = 58
IPPROTO_ETHERIP = 97
IPPROTO_MPLS = 137
