"""Weights: which there are, where they lie, and how their files are read."""
