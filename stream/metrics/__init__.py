"""Prometheus metrics: the table of names, their sources, the server."""
