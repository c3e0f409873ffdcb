"""Commands that tell of what was decided."""
