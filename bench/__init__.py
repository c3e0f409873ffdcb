"""Speeds of every stage, measured beside peers on the same capture in the same run."""
