"""The rivals: every way to forecast that the hybrid is measured against, and the hybrid, behind one interface."""
