"""The network of an episode: its queues, and the flows that pass them."""
