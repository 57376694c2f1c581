"""PNG out: read back by three independent decoders, byte for byte the picture."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from darkroom import parallel
from darkroom.output.exif import SOFTWARE
from darkroom.output.metadata import PictureMetadata, describe_file
from darkroom.output.png import write_png
from darkroom.raw.exif_tags import encode_text

Picture = NDArray[np.uint8] | NDArray[np.uint16]


METADATA = PictureMetadata({305: encode_text("a program")}, {}, {}, b"<x/>", b"\x1c\x02\x05")


def encode(picture: Picture, **options: bytes | None) -> bytes:
    stream = io.BytesIO()
    write_png(stream, picture, **options)
    return stream.getvalue()


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Split a PNG into chunks, checking each one's CRC."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, position = [], 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        content = data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        assert checksum == zlib.crc32(kind + content)
        found.append((kind, content))
        position += 12 + length
    return found


def decode(data: bytes) -> Picture:
    """Decode literally by the specification; zlib checks the Adler-32 of the whole."""
    parts = chunks(data)
    assert parts[0][0] == b"IHDR"
    assert parts[-1] == (b"IEND", b"")
    width, height, depth, *rest = struct.unpack(">IIBBBBB", parts[0][1])
    assert rest == [2, 0, 0, 0]
    step = 3 * depth // 8
    inflater = zlib.decompressobj()
    packed = b"".join(content for kind, content in parts if kind == b"IDAT")
    lines = np.frombuffer(inflater.decompress(packed), np.uint8).reshape(height, -1)
    assert inflater.eof
    assert not inflater.unused_data
    result = np.zeros((height + 1, step + width * step), np.int64)
    for y, line in enumerate(lines):
        assert line[0] == 3
        for x, value in enumerate(line[1:], start=step):
            mean = (result[y + 1, x - step] + result[y, x]) // 2
            result[y + 1, x] = (value + mean) % 256
    samples = result[1:, step:].astype(np.uint8)
    return samples.view(">u2" if depth == 16 else np.uint8).reshape(height, width, 3)


def noise(height: int, width: int, dtype: type, seed: int = 0) -> Picture:
    high = np.iinfo(dtype).max
    rng = np.random.default_rng(seed)
    return rng.integers(0, high, (height, width, 3), dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_opencv_reads_back_the_same_picture(dtype: type) -> None:
    smooth = np.linspace(0, np.iinfo(dtype).max, 300 * 400 * 3).reshape(300, 400, 3).astype(dtype)
    for picture in (noise(300, 400, dtype), smooth):
        decoded = cv2.imdecode(np.frombuffer(encode(picture), np.uint8), cv2.IMREAD_UNCHANGED)
        assert decoded.dtype == dtype
        np.testing.assert_array_equal(decoded[:, :, ::-1], picture)


def test_pillow_reads_back_the_same_picture() -> None:
    picture = noise(301, 199, np.uint8)
    with Image.open(io.BytesIO(encode(picture))) as image:
        image.verify()
    with Image.open(io.BytesIO(encode(picture))) as image:
        np.testing.assert_array_equal(np.asarray(image), picture)
        assert image.info["Software"] == SOFTWARE


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    rows=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_the_specification_gives_back_any_picture(
    height: int, width: int, dtype: type, rows: int, seed: int
) -> None:
    picture = noise(height, width, dtype, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "BAND_BYTES", rows * picture[0].nbytes)
        np.testing.assert_array_equal(decode(encode(picture)), picture)


def test_bytes_depend_neither_on_threads_nor_on_memory_layout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture = noise(400, 600, np.uint16)
    expected = encode(picture)
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1))
    assert encode(planes.transpose(1, 2, 0)) == expected
    assert encode(picture.astype(">u2")) == expected
    monkeypatch.setattr(parallel, "MAX_THREADS", 1)
    assert encode(picture) == expected


def test_profile_and_exif_stand_before_the_pixels() -> None:
    parts = chunks(encode(noise(2, 2, np.uint8), profile=b"profile", metadata=METADATA))
    kinds = [kind for kind, _ in parts]
    assert kinds == [
        b"IHDR",
        b"iCCP",
        b"tEXt",
        b"eXIf",
        b"iTXt",
        b"zTXt",
        b"IDAT",
        b"IDAT",
        b"IEND",
    ]
    content = dict(parts)
    name, _, packed = content[b"iCCP"].partition(b"\0")
    assert name == b"ICC profile"
    assert packed[0] == 0
    assert zlib.decompress(packed[1:]) == b"profile"
    assert content[b"tEXt"] == b"Software\0a program"
    assert content[b"eXIf"] == METADATA.pack_exif()
    assert content[b"iTXt"] == b"XML:com.adobe.xmp\0\0\0\0\0<x/>"
    text = zlib.decompress(content[b"zTXt"].removeprefix(b"Raw profile type iptc\0\0"))
    assert text == b"\niptc\n       3\n1c0205\n"  # as ImageMagick writes profiles


def test_a_stripped_picture_names_no_program() -> None:
    bare = describe_file((2, 2))
    kinds = [kind for kind, _ in chunks(encode(noise(2, 2, np.uint8), metadata=bare))]
    assert kinds == [b"IHDR", b"eXIf", b"IDAT", b"IDAT", b"IEND"]


def test_smooth_pictures_become_small() -> None:
    """Golden: a noise-free gradient must not come out stored."""
    y, x = np.mgrid[:256, :384]
    picture = np.stack([x // 2, y, (x + y) // 3], axis=2).astype(np.uint8)
    assert len(encode(picture)) < picture.nbytes / 20


def test_memory_stays_at_a_few_bands() -> None:
    """At most 2 * threads + 1 bands are compressed ahead of a slow disk."""
    taken = started = most = 0

    def work(band: slice) -> int:
        nonlocal started
        started += 1
        return band.start

    for start in parallel.in_bands(work, 1000, 10):
        assert start == 10 * taken
        taken += 1
        most = max(most, started - taken)
    assert taken == 100
    assert most <= 2 * parallel.MAX_THREADS + 1
