"""Bins of 10 ms: counters, devices, and the virtual queue."""
