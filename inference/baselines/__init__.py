"""Baselines: every forecaster that the hybrid is compared with, and the hybrid itself, behind one interface."""
