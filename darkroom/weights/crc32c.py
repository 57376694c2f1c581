"""CRC-32C (Castagnoli), fast enough in plain numpy for checkpoints of a hundred megabytes."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

# Reversed polynomial 0x1EDC6F41. Source: RFC 3720, section 12.1.
POLYNOMIAL = 0x82F63B78
# Source: LevelDB's table format, "masked" checksums.
MASK_DELTA = 0xA282EAD8

# One lane is one column of bytes that numpy walks down together with all the others.
_LANE_BYTES = 512


@cache
def _byte_table() -> NDArray[np.uint32]:
    """Return what one byte does to the checksum, for all 256 of them."""
    table: NDArray[np.uint32] = np.arange(256, dtype=np.uint32)
    one = np.uint32(1)
    for _ in range(8):
        table = (table >> one) ^ (table & one) * np.uint32(POLYNOMIAL)
    return table


def _apply(operator: NDArray[np.uint32], values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Multiply checksums by a 32x32 matrix over GF(2), given as the images of the 32 bits."""
    result = np.zeros_like(values)
    for bit in range(32):
        result ^= ((values >> np.uint32(bit)) & np.uint32(1)) * operator[bit]
    return result


def _zeros_operator(count: int) -> NDArray[np.uint32]:
    """Return the matrix that appends `count` zero bytes to a checksum."""
    result = np.left_shift(np.uint32(1), np.arange(32, dtype=np.uint32))
    power = (result >> np.uint32(8)) ^ _byte_table()[result & np.uint32(0xFF)]
    while count:
        if count & 1:
            result = _apply(power, result)
        power = _apply(power, power)
        count >>= 1
    return result


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """Return the CRC-32C of `data`: 0xE3069283 for b"123456789"."""
    octets = np.frombuffer(data, dtype=np.uint8)
    lanes = max(1, -(-octets.size // _LANE_BYTES))
    lanes = 1 << (lanes - 1).bit_length()  # a power of two, so that lanes merge in pairs
    length = -(-octets.size // lanes)
    # Zeros in front of the data leave a checksum of zero as it is.
    padded = np.zeros(lanes * length, dtype=np.uint8)
    padded[padded.size - octets.size :] = octets
    columns = np.ascontiguousarray(padded.reshape(lanes, length).T)
    table = _byte_table()
    state = np.zeros(lanes, dtype=np.uint32)
    for column in columns:
        state = (state >> np.uint32(8)) ^ table[(state ^ column) & np.uint32(0xFF)]
    while state.size > 1:
        state = _apply(_zeros_operator(length), state[0::2]) ^ state[1::2]
        length *= 2
    start = _apply(_zeros_operator(octets.size), np.array([0xFFFFFFFF], dtype=np.uint32))
    return int(state[0] ^ start[0]) ^ 0xFFFFFFFF


def masked(checksum: int) -> int:
    """Return the form in which LevelDB's tables store a checksum."""
    return (((checksum >> 15) | (checksum << 17)) + MASK_DELTA) & 0xFFFFFFFF
