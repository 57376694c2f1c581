"""Brighten extremely dark RAW photos with neural networks."""

__version__ = "0.1.0"
