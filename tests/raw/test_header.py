"""What a RAW file says before it is decoded, against what decoding finds."""

from collections.abc import Callable
from pathlib import Path

import pytest
from places import DATA

from darkroom.errors import RawError
from darkroom.raw.header import Frame, find_shot, read_frame
from darkroom.raw.image import Exposure, RawImage
from darkroom.raw.reader import read_raw


@pytest.mark.parametrize("cfa", ["RGGB", "xtrans"])
def test_a_dngs_header(dng_path: Callable[..., Path], cfa: str) -> None:
    path = dng_path(height=48, width=72, cfa=cfa)
    assert read_frame(path) == Frame(48, 72, (0, 0))
    assert find_shot(path) == Exposure(0.1, 1600, 2.8)


@pytest.mark.parametrize(
    "path", sorted((DATA / "raw").glob("*")) or ["none"], ids=lambda path: Path(path).name
)
def test_a_cameras_header_is_that_of_the_photo(path: Path) -> None:
    """Also of files that are no TIFF, whose exposure LibRaw tells."""
    if path == "none" or path.name in (
        "canon_powershot_g1_gmyc.crw",
        "gopro_hero7_unsupported.gpr",
    ):
        pytest.skip("not here, or of no use to darkroom")
    raw: RawImage = read_raw(path)
    assert read_frame(path) == Frame(*raw.mosaic.shape, raw.margins)
    assert find_shot(path) == raw.exposure


def test_nothing_is_decoded(dng_path: Callable[..., Path]) -> None:
    """Neither takes notice of the picture's end, which is not there."""
    path = dng_path(height=48, width=72)
    path.write_bytes(path.read_bytes()[:-900])
    assert read_frame(path) == Frame(48, 72, (0, 0))
    assert find_shot(path) == Exposure(0.1, 1600, 2.8)
    with pytest.raises(RawError, match="truncated"):
        read_raw(path)


def test_what_is_no_raw_is_named_as_when_it_is_read(tmp_path: Path) -> None:
    for name, data in (("text.dng", b"a text of some length, which is no photo"), ("empty", b"")):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(RawError) as caught:
            read_raw(path)
        for read in (read_frame, find_shot):
            with pytest.raises(RawError) as again:
                read(path)
            assert str(again.value) == str(caught.value)
    with pytest.raises(RawError, match="no such file"):
        read_frame(tmp_path / "nothing.dng")
