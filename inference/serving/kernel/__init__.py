"""The compiled step of the network."""
