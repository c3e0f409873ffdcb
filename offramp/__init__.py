"""offramp: watch a link, foresee its congestion, and tell the network what to move before users feel it.

The stages are capture, stream, inference and decision; offramp.cli is the command line.
"""
