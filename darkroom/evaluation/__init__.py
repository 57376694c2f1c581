"""Judging results: metrics, test chart, scores, speed."""
