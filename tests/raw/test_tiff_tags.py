"""TIFF directories: the chain of a file made by hand, whole, cut off and going round."""

import struct

import pytest

from darkroom.raw.tiff_tags import Directory, read_directories

WIDTH, SUB = 256, 330
"""Tags. Source: TIFF 6.0, sections 4 and 9."""


def tiff(order: str, *directories: dict[int, int], last: int = 0) -> bytes:
    """A file of directories, each a chain's next, of tags with one LONG; `last`: after the last."""
    data = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    for number, tags in enumerate(directories, 1):
        data += struct.pack(order + "H", len(tags))
        for code, value in tags.items():
            data += struct.pack(order + "HHII", code, 4, 1, value)
        data += struct.pack(order + "I", len(data) + 4 if number < len(directories) else last)
    return data


def widths(directories: tuple[Directory, ...]) -> list[int | None]:
    return [directory.number(WIDTH) for directory in directories]


@pytest.mark.parametrize("order", "<>")
def test_a_chain_is_followed_to_its_end(order: str) -> None:
    """A Canon CR2's mosaic is in the fourth; what follows 0 is another file's."""
    data = tiff(order, *({WIDTH: number} for number in range(1, 5)))
    assert widths(read_directories(data)) == [1, 2, 3, 4]
    assert widths(read_directories(data + tiff(order, {WIDTH: 5}))) == [1, 2, 3, 4]


def test_a_sub_directory_is_found_beside_the_chain() -> None:
    data = tiff("<", {WIDTH: 1, SUB: 60}, {WIDTH: 2})
    data = data.ljust(60, b"\0") + tiff("<", {WIDTH: 3})[8:]
    assert sorted(map(str, widths(read_directories(data)))) == ["1", "2", "3"]


@pytest.mark.parametrize("last", [8, 26, 1, 7, 44, 10**9])
def test_a_chain_that_goes_round_or_nowhere_ends(last: int) -> None:
    """To the first, to itself, into the header, to and beyond the end."""
    data = tiff("<", {WIDTH: 1}, {WIDTH: 2}, last=last)
    assert len(data) == 44
    assert widths(read_directories(data)) == [1, 2]


@pytest.mark.parametrize("cut", range(1, 5))
def test_a_file_that_ends_before_the_next_offset(cut: int) -> None:
    data = tiff("<", {WIDTH: 1}, {WIDTH: 2}, last=8)
    assert widths(read_directories(data[:-cut])) == [1, 2]
