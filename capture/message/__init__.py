"""A message of the feature topic: encode beside decode."""
