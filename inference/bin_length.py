"""The length of a bin, for modules that must not load numerical libraries, as a tap before it drops privileges."""

BIN_MS = 10
"""Length of a bin of event time, and so the time from one forecast to the next: all other lengths in bins, here and in
the stages that know this one, are made of it. A model is trained for one length and names it in its manifest."""

BIN_NS = BIN_MS * 1_000_000
BINS_PER_S = 1_000 // BIN_MS
