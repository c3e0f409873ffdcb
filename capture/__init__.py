"""Packets in, feature batches out. Knows nobody."""
