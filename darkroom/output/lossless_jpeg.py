"""Lossless JPEG, the one compression of whole numbers that all readers of DNG share.

Every sample is told by its difference to the sample of its component on the left: how many bits
the difference has by a Huffman code, then those bits. Source: ITU-T T.81 (JPEG), annexes C, F.1.2.1
and H; Adobe, Digital Negative Specification 1.4, chapter 3, "Compression" (predictor 1, and a
mosaic's rows as pairs of samples).
"""

import heapq
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PRECISION = 16
"""Bits of a sample."""
CATEGORIES = PRECISION + 1
"""Numbers of bits that a difference can have, 0 to 16."""
MAX_LENGTH = 16
"""Bits of a Huffman code at most. Source: T.81, C.1."""
RAREST = 10
"""Differences are taken to come once in 2**10 at least, lest their codes become too long."""
MIDDLE = 1 << (PRECISION - 1)
"""What the first sample is told from. Source: T.81, H.1.2.1."""
LEFT = 1
"""The predictor: the sample on the left; at the start of a row the one above."""
START, FRAME, HUFFMAN, SCAN, END = 0xFFD8, 0xFFC3, 0xFFC4, 0xFFDA, 0xFFD9
"""Markers SOI, SOF3, DHT, SOS, EOI. Source: T.81, table B.1."""
WORD = 64

Samples = NDArray[np.uint16]
"""(H, W, components)."""


@dataclass(frozen=True, slots=True)
class HuffmanTable:
    """A code for differences.

    `head`: the table as a file holds it. `bits`: (65536,) what a difference, modulo 65536, is
    written as; `lengths`: how many bits that is, 1 to 32.
    """

    head: bytes
    bits: NDArray[np.uint64]
    lengths: NDArray[np.uint8]

    @classmethod
    def of(cls, samples: Iterable[Samples]) -> "HuffmanTable":
        """Return the code that makes such samples, and those alike, shortest."""
        categories = _categories()
        counts = np.ones(CATEGORIES, np.int64)  # any difference may come in others
        for part in samples:
            counts += np.bincount(categories[_differences(part)].ravel(), minlength=CATEGORIES)
        sizes = _code_lengths(counts)
        order = sorted(range(CATEGORIES), key=lambda category: (sizes[category], category))
        codes, code = np.zeros(CATEGORIES, np.uint64), 0
        for before, category in zip([order[0], *order], order, strict=False):
            code <<= sizes[category] - sizes[before]
            codes[category] = code
            code += 1
        held = categories % PRECISION  # a difference of 16 bits is -32768 alone: none are written
        values = np.arange(1 << PRECISION).astype(np.uint16).view(np.int16).astype(np.int64)
        tails = (values - (values < 0)) & ((1 << held.astype(np.int64)) - 1)
        bits = codes[categories] << held | tails.astype(np.uint64)
        per_length = bytes(sizes.count(length) for length in range(1, MAX_LENGTH + 1))
        head = b"\0" + per_length + bytes(order)
        lengths = (np.array(sizes)[categories] + held).astype(np.uint8)
        return cls(head, bits, lengths)


def encode(samples: Samples, table: HuffmanTable) -> bytes:
    """Compress samples, (H, W, components) uint16 with 1 to 4 components."""
    height, width, components = samples.shape
    chosen = _differences(samples).ravel()
    packed = _stuffed(_pack(table.bits[chosen], table.lengths[chosen]))
    numbers = range(components)
    frame = struct.pack(">BHHB", PRECISION, height, width, components)
    frame += b"".join(bytes([number, 0x11, 0]) for number in numbers)
    scan = bytes([components, *(byte for number in numbers for byte in (number, 0)), LEFT, 0, 0])
    heads = [(FRAME, frame), (HUFFMAN, table.head), (SCAN, scan)]
    head = b"".join(struct.pack(">HH", mark, len(body) + 2) + body for mark, body in heads)
    return struct.pack(">H", START) + head + packed + struct.pack(">H", END)


def _categories() -> NDArray[np.uint8]:
    """(65536,) numbers of bits of each difference, modulo 65536."""
    values = np.abs(np.arange(1 << PRECISION).astype(np.uint16).view(np.int16).astype(np.int64))
    return np.frexp(values.astype(np.float64))[1].astype(np.uint8)


def _differences(samples: Samples) -> Samples:
    """Return each sample less what it is told from, modulo 65536, in memory's order."""
    differences = np.empty(samples.shape, np.uint16)
    np.subtract(samples[:, 1:], samples[:, :-1], out=differences[:, 1:])
    np.subtract(samples[1:, 0], samples[:-1, 0], out=differences[1:, 0])
    np.subtract(samples[0, 0], np.uint16(MIDDLE), out=differences[0, 0])
    return differences


def _code_lengths(counts: NDArray[np.int64]) -> list[int]:
    """Return lengths of Huffman codes for so many of each, at most MAX_LENGTH bits.

    One more code is made and left out, as no code may consist of ones alone. Source: T.81, C.2.
    """
    floor = int(counts.sum()) >> RAREST  # log(2**10) of the golden ratio is below MAX_LENGTH
    heap = [(max(int(n), floor), 1 << category) for category, n in enumerate(counts)]
    heap.append((0, 1 << CATEGORIES))
    heapq.heapify(heap)
    lengths = [0] * (CATEGORIES + 1)
    while len(heap) > 1:
        (some, left), (more, right) = heapq.heappop(heap), heapq.heappop(heap)
        for category in range(CATEGORIES + 1):
            lengths[category] += (left | right) >> category & 1
        heapq.heappush(heap, (some + more, left | right))
    return lengths[:CATEGORIES]


def _pack(bits: NDArray[np.uint64], lengths: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Join numbers of so many bits each, at most 32, into bytes, the last filled up with ones."""
    if len(bits) % 2:
        bits, lengths = np.append(bits, np.uint64(0)), np.append(lengths, np.uint8(0))
    while len(bits) > 2 and len(bits) % 2 == 0:  # in pairs, as long as these fit a word
        pairs = lengths[::2] + lengths[1::2]
        if int(pairs.max()) > WORD:
            break
        bits, lengths = bits[::2] << lengths[1::2] | bits[1::2], pairs
    ends = np.cumsum(lengths, dtype=np.int64)
    words, shifts = (ends - 1) // WORD, (-ends % WORD).astype(np.uint64)
    firsts = np.flatnonzero(np.diff(words, prepend=-1))  # numbers are no longer than words
    joined = np.bitwise_or.reduceat(bits << shifts, firsts)
    # Of the first that ends in a word, the word before holds what does not fit.
    joined[:-1] |= (bits[firsts] >> np.uint64(1) >> (WORD - 1 - shifts[firsts]))[1:]
    joined[-1] |= (np.uint64(1) << shifts[-1]) - np.uint64(1)
    return joined.astype(">u8").view(np.uint8)[: -(-int(ends[-1]) // 8)]


def _stuffed(packed: NDArray[np.uint8]) -> bytes:
    """Put 0 behind every byte that would begin a marker. Source: T.81, F.1.2.3."""
    marks = np.flatnonzero(packed == 0xFF)
    return np.insert(packed, marks + 1, 0).tobytes()
