"""A tiny data set in SID's own layout, of DNGs under SID's names, for tests of pairs."""

from collections.abc import Sequence
from pathlib import Path

from conftest import synthetic_raw

from darkroom.output.dng import write_dng

SHORTS = (
    ("10003", "00", "0.1", "10"),
    ("10003", "01", "0.04", "10"),
    ("10034", "00", "0.033", "10"),
)
"""Scene, place in the burst, seconds of the short and of the long exposure: x100, x250, x300."""


def write_sid(
    folder: Path,
    shorts: Sequence[tuple[str, str, str, str]] = SHORTS,
    *,
    size: tuple[int, int] = (96, 128),
    cfa: str = "RGGB",
    ending: str = "ARW",
) -> Path:
    """Write Sony/short, Sony/long and the list of their pairs; returns the list."""
    for name in ("short", "long"):
        (folder / "Sony" / name).mkdir(parents=True, exist_ok=True)
    lines = []
    for scene, burst, seconds, long_seconds in shorts:
        short = f"./Sony/short/{scene}_{burst}_{seconds}s.{ending}"
        long = f"./Sony/long/{scene}_00_{long_seconds}s.{ending}"
        ratio = min(float(long_seconds) / float(seconds), 300)
        seed = int(scene)
        write_dng(folder / short, synthetic_raw(*size, cfa, seed, exposure=1 / ratio))
        write_dng(folder / long, synthetic_raw(*size, cfa, seed, read_noise=0))
        lines.append(f"{short} {long} ISO200 F9")
    path = folder / "Sony_test_list.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
