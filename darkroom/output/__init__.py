"""Finished pictures out, whole or not at all."""
