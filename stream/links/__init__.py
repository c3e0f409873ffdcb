"""The links of a partition, and the order of their messages."""
