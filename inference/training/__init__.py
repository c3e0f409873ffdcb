"""Training: fits, calibration, search of settings."""
