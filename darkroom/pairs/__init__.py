"""Pairs of a dark RAW photo and its long exposure: data sets found, decoded once, kept at hand."""
