"""Tunnels, and samples of packets in packets."""
