"""The network lab: real programs over a shaped link in network namespaces."""
