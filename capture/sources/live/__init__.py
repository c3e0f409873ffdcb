"""Packets of interfaces: the kernel's ring, other libraries, filters, dropped privileges."""
