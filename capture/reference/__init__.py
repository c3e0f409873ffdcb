"""Other dissectors for comparison: tshark by pyshark, and scapy, one packet at a time."""
