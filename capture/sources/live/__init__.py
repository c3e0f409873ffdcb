"""Packets of interfaces: the kernel's ring, other libraries, filters, rights that are given up."""
