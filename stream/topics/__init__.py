"""Topics: names, keys, rights, and what stands in their messages."""
