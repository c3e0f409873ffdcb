"""Senders that react to what the network does to their packets: state and events; they know no network."""
