"""Feature batches in, windows out; composes capture, inference and decision."""
