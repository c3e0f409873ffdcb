"""The arena: a packet-level simulation of a site, in which a policy meets what its own commands bring about."""
