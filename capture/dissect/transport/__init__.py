"""Transport layer: TCP, UDP."""
