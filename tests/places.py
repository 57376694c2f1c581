"""Where tests find the project, and the real photos and weights that not everybody has."""

from pathlib import Path

ROOT = Path(__file__).parents[1]

SHARED = ROOT.parent / "shared"
"""Absent on most machines: a test that needs it skips, and says so."""

DATA = SHARED / "data"
