"""Policies: what each decides from forecasts and traffic, one file each."""
