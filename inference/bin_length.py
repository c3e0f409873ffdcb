"""The length of a bin, for whoever must not load numerical libraries: a tap before it has given up its rights."""

BIN_MS = 10
"""Length of a bin of event time, and so the time from one forecast to the next: all other lengths in bins, here and in
the stages that know this one, are made of it. A model is trained for one length and names it in its manifest."""

BIN_NS = BIN_MS * 1_000_000
BINS_PER_S = 1_000 // BIN_MS
