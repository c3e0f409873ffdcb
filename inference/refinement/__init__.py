"""Refinement of a model in service: challenger, paired test, drift, federated averaging."""
