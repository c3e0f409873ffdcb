"""Serving: predictors, and the table of backends."""
