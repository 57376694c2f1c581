"""Tags that cannot be: never a wrong picture in silence, never a warning of numpy's before."""

import io
import struct
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from conftest import BLACK, WHITE, synthetic_raw

from darkroom.errors import RawError
from darkroom.output.dng import write_dng
from darkroom.raw.black_choice import with_black
from darkroom.raw.dng_levels import read_black
from darkroom.raw.image import BlackSource, RawImage
from darkroom.raw.reader import read_raw
from darkroom.raw.tiff_tags import read_directories

BLACK_LEVEL, WHITE_LEVEL, DELTA_ROWS, DELTA_COLUMNS = 50714, 50717, 50716, 50715
REPEAT, OFFSETS, COUNTS, ROWS, BITS = 50713, 273, 279, 278, 258
COMPRESSION = 259
FORMATS = {3: "H", 4: "I", 5: "II", 9: "i", 10: "ii", 11: "f", 12: "d"}
NAN, INF = float("nan"), float("inf")


def scene(side: int = 300) -> RawImage:
    """A dark photo, the left third of it black."""
    raw = synthetic_raw(side, side, exposure=0.01)
    mosaic = raw.mosaic.copy()
    random = np.random.default_rng(2)
    mosaic[:, : side // 3] = np.rint(random.normal(BLACK, 4, (side, side // 3)))
    return replace(raw, mosaic=mosaic)


def encoded(raw: RawImage) -> bytes:
    stream = io.BytesIO()
    write_dng(stream, raw)
    return stream.getvalue()


def retagged(data: bytes, code: int, kind: int = 0, values: tuple[float, ...] = ()) -> bytes:
    """The same file with a tag of other values; without a kind, without the tag."""
    changed = bytearray(data)
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    entries = [struct.unpack_from("<HHI4s", data, start + 2 + 12 * n) for n in range(count)]
    entries = [entry for entry in entries if entry[0] != code]
    if kind:
        number = len(values) // len(FORMATS[kind])
        block = struct.pack("<" + FORMATS[kind] * number, *values)
        place = struct.pack("<I", len(changed))
        if len(block) <= 4:
            place, block = block.ljust(4, b"\0"), b""
        entries.append((code, kind, number, place))
        changed += block + bytes(len(block) % 2)
    struct.pack_into("<I", changed, 4, len(changed))
    changed += struct.pack("<H", len(entries))
    changed += b"".join(struct.pack("<HHI4s", *entry) for entry in sorted(entries)) + bytes(4)
    return bytes(changed)


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [((), (), False), ((0, 0), (0, 0), False), ((0, 1), (), True), ((0, 0), (0, 1), True)],
)
def test_offsets_of_rows_or_of_columns_alone_are_offsets(
    rows: tuple[float, ...], columns: tuple[float, ...], expected: bool
) -> None:
    """Cameras state one of the two, and where they do, masked borders must not add their own."""
    data = encoded(scene(24))
    for code, values in ((DELTA_ROWS, rows), (DELTA_COLUMNS, columns)):
        data = retagged(data, code, 11, values * 12) if values else data
    black = read_black(read_directories(data))
    assert black is not None
    assert black.has_deltas == expected


@pytest.mark.parametrize(
    ("samples", "what"), [((), "monochrome"), ((1,), "monochrome"), ((2,), "linear DNG")]
)
def test_a_picture_that_states_no_number_of_samples_has_one(
    samples: tuple[int, ...], what: str
) -> None:
    """SamplesPerPixel of a DNG without filters. Source: TIFF 6.0, its default is 1."""
    data = retagged(encoded(scene(24)), 262, 3, (34892,))
    with pytest.raises(RawError, match=what):
        read_raw(retagged(data, 277, 3 if samples else 0, samples))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (11, (NAN,) * 4),
        (12, (INF,) * 4),
        (12, (BLACK, BLACK, NAN, BLACK)),
        (5, (0, 0) * 4),
        (10, (-5000, 1) * 4),
        (12, (1e300,) * 4),  # numpy's warning of an overflow came first
        (3, (BLACK, BLACK)),
    ],
)
def test_a_black_level_that_cannot_be(kind: int, values: tuple[float, ...]) -> None:
    """LibRaw took 0, -5000, or 0 for one site of four; the darkest parts tell it to 0.5."""
    found = read_raw(retagged(encoded(scene()), BLACK_LEVEL, kind, values))
    np.testing.assert_allclose(found.black, BLACK, atol=0.5)
    (line,) = found.warnings
    assert line.startswith("BlackLevel in the file cannot be (")
    assert "the darkest parts of the picture; --black N takes another" in line
    assert found.black_origin is not None
    assert "BlackLevel in the file cannot be" in found.black_origin.reason
    assert with_black(found, BlackSource.STATED).warnings == found.warnings
    assert with_black(found, BLACK).warnings == ()


def test_a_pattern_that_cannot_be() -> None:
    found = read_raw(retagged(encoded(scene()), REPEAT, 3, (0, 9)))
    assert "a pattern of 0 x 9" in found.warnings[0]


def test_one_number_serves_all_sites() -> None:
    found = read_raw(retagged(encoded(scene()), BLACK_LEVEL, 3, (BLACK,)))
    np.testing.assert_array_equal(found.black, BLACK)
    assert found.warnings == ()


def test_small_photos_cannot_tell_black() -> None:
    data = retagged(encoded(synthetic_raw(48, 64)), BLACK_LEVEL, 11, (NAN,) * 4)
    with pytest.raises(RawError, match=r"BlackLevel: no numbers.*convert it to DNG anew"):
        read_raw(data)


def test_masked_pixels_go_before_the_darkest_parts() -> None:
    raw = replace(scene(), margins=(0, 48))
    frame = np.rint(np.random.default_rng(0).normal(BLACK - 3, 4, (300, 348))).astype(np.uint16)
    frame[:, 48:] = raw.mosaic
    stream = io.BytesIO()
    write_dng(stream, raw, frame=frame)
    found = read_raw(retagged(stream.getvalue(), BLACK_LEVEL, 11, (NAN,) * 4))
    np.testing.assert_allclose(found.black, BLACK - 3, atol=0.5)
    assert "is taken from the masked pixels" in found.warnings[0]
    assert len(found.warnings) == 1


def test_black_above_the_picture_is_told() -> None:
    """It is believed, for who knows; but a black picture does not come in silence."""
    found = read_raw(retagged(encoded(scene()), BLACK_LEVEL, 3, (8000,) * 4))
    np.testing.assert_array_equal(found.black, 8000)
    (line,) = found.warnings
    assert "black level 8000, as the file states it, lies above most of the picture" in line
    assert "--black 512" in line
    assert with_black(found, BlackSource.STATED).warnings == found.warnings
    assert with_black(found, BLACK).warnings == ()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (11, (NAN,)),
        (12, (INF,)),
        (5, (0, 0)),
        (4, (0,)),
        (4, (2**32 - 1,)),
        (4, (65536,)),
        (9, (-5,)),
    ],
)
def test_a_white_level_that_cannot_be(kind: int, value: tuple[float, ...]) -> None:
    """LibRaw took 65535: everything came out a quarter as bright, and the gain at its most."""
    with pytest.raises(RawError, match=r"white level that cannot be \(WhiteLevel: "):
        read_raw(retagged(encoded(scene()), WHITE_LEVEL, kind, value))


def test_white_levels_up_to_sixteen_bits_can_be() -> None:
    found = read_raw(retagged(encoded(scene()), WHITE_LEVEL, 4, (65535,)))
    assert (found.white == 65535).all()
    assert (read_raw(encoded(scene())).white == WHITE).all()


def test_white_below_much_of_the_picture_is_told() -> None:
    """A white of 600 made a gain of 1; garbage in a tenth of the rows one of 2.8, in silence."""
    raw = synthetic_raw(300, 300, exposure=0.05)
    (line,) = read_raw(retagged(encoded(raw), WHITE_LEVEL, 3, (600,))).warnings
    assert (
        "% of the picture hold more than 2 times the white level that the file states (600)" in line
    )
    mosaic = np.array(raw.mosaic, np.uint16)
    mosaic[100:130] = np.random.default_rng(1).integers(0, 65536, (30, 300))
    (line,) = read_raw(encoded(replace(raw, mosaic=mosaic))).warnings
    assert line.startswith(f"{100 * 0.1 * (1 - (2 * WHITE - BLACK) / 65536):.1g}")
    assert f"the file states ({WHITE}): the level or the picture is damaged" in line


@pytest.mark.parametrize("share", [0.0005, 0.5])
def test_some_light_above_white_is_no_damage(share: float) -> None:
    """A few hot sites, or lamps within a camera's reach above the white that it states."""
    raw = synthetic_raw(300, 300, exposure=0.05)
    mosaic = np.array(raw.mosaic, np.uint16)
    lit = np.random.default_rng(1).random(mosaic.shape) < share
    mosaic[lit] = 60_000 if share < 0.01 else 1.3 * WHITE
    assert read_raw(encoded(replace(raw, mosaic=mosaic))).warnings == ()


@pytest.mark.parametrize("code", [DELTA_ROWS, DELTA_COLUMNS])
@pytest.mark.parametrize(
    ("kind", "values"), [(11, (NAN,) * 300), (10, (0, 0) * 300), (11, (1e30,) * 300), (3, (9,) * 9)]
)
def test_offsets_of_lines_that_cannot_be(code: int, kind: int, values: tuple[float, ...]) -> None:
    """They were left out, or made an infinite picture, in silence."""
    found = read_raw(retagged(encoded(scene()), code, kind, values))
    np.testing.assert_array_equal(found.mosaic, scene().mosaic)
    name = "BlackLevelDeltaV" if code == DELTA_ROWS else "BlackLevelDeltaH"
    assert [line for line in found.warnings if line.startswith(f"{name} in the file has ")]
    assert len(found.warnings) == 1


def offset(data: bytes) -> int:
    found = read_directories(data)[0].number(OFFSETS)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: retagged(data, OFFSETS, 4, (0,)), "its own header for the picture"),
        (lambda data: retagged(data, OFFSETS, 4, (12,)), "its own header for the picture"),
        (lambda data: retagged(data, OFFSETS), "does not say where its picture lies"),
        (lambda data: retagged(data, OFFSETS, 4, (2**31,)), "its end is missing"),
        (lambda data: retagged(data, BITS, 3, (12,)), "more bytes than its size"),
        (lambda data: retagged(data, COUNTS, 12, (1e308, 1e308)), "more bytes than its size"),
    ],
)
def test_pictures_that_lie_nowhere(change: Callable[[bytes], bytes], told: str) -> None:
    """The header was shown as a picture, and 16-bit samples as 12-bit ones."""
    data = encoded(scene())
    padded = data + data[offset(data) : offset(data) + 180_000]  # as after other pictures
    with pytest.raises(RawError, match=told):
        read_raw(change(padded))


def test_strips_that_lie_apart_are_refused() -> None:
    """LibRaw reads them as one block: half of the picture was something else."""
    data = encoded(scene())
    start, half = offset(data), 300 * 300
    apart = data + data[start + half : start + 2 * half]
    apart = retagged(apart, OFFSETS, 4, (start, len(data)))
    apart = retagged(retagged(apart, COUNTS, 4, (half, half)), ROWS, 4, (150,))
    with pytest.raises(RawError, match="strips that do not follow one another"):
        read_raw(apart)
    together = retagged(data, OFFSETS, 4, (start, start + half))
    together = retagged(retagged(together, COUNTS, 4, (half, half)), ROWS, 4, (150,))
    np.testing.assert_array_equal(read_raw(together).mosaic, scene().mosaic)


def test_what_was_not_decoded_is_not_what_another_photo_left() -> None:
    """LibRaw stops where a JPEG does not begin; the memory's former content was the picture."""
    good = encoded(scene(200))  # small enough for malloc to hand out the same memory again
    jpeg = retagged(good, COMPRESSION, 3, (7,))
    for _ in range(20):
        read_raw(good)
        with pytest.raises(RawError, match="damaged or truncated"):
            read_raw(jpeg)
