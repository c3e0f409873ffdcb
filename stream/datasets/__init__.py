"""Data sets: links made of packet times and capacities, and their labels."""
