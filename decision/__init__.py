"""Forecasts in, commands out. Knows inference's Forecast and nothing else."""
