"""Evaluation: every forecaster on the same test series, its scores with intervals, and a report."""
