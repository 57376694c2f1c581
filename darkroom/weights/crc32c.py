"""CRC-32C (Castagnoli), fast enough in plain numpy for checkpoints of a hundred megabytes."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

# Reversed polynomial 0x1EDC6F41. Source: RFC 3720, section 12.1.
POLYNOMIAL = 0x82F63B78
# Source: LevelDB's table format, "masked" checksums.
MASK_DELTA = 0xA282EAD8

# The data are cut into lanes of 2^k bytes that numpy walks down side by side; k is at most this.
_MAX_LANE_BITS = 9

_Words = NDArray[np.uint32]
_BYTE = np.uint32(0xFF)


@cache
def _byte_table() -> _Words:
    """Return what one byte does to the checksum, for all 256 of them."""
    table: _Words = np.arange(256, dtype=np.uint32)
    one = np.uint32(1)
    for _ in range(8):
        table = (table >> one) ^ (table & one) * np.uint32(POLYNOMIAL)
    return table


@cache
def _zeros_tables(power: int) -> _Words:
    """Return (4, 256): what 2^power zero bytes make of each value of a checksum's four bytes."""
    shifts = np.arange(0, 32, 8, dtype=np.uint32)[:, None]
    values = np.arange(256, dtype=np.uint32) << shifts
    if power == 0:
        after: _Words = (values >> np.uint32(8)) ^ _byte_table()[values & _BYTE]
        return after
    return _append_zeros(power - 1, _append_zeros(power - 1, values))


def _append_zeros(power: int, checksums: _Words) -> _Words:
    """Return the checksums after 2^power more zero bytes."""
    tables = _zeros_tables(power)
    result: _Words = tables[0][checksums & _BYTE]
    for i in range(1, 4):
        result ^= tables[i][(checksums >> np.uint32(8 * i)) & _BYTE]
    return result


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """Return the CRC-32C of `data`: 0xE3069283 for b"123456789"."""
    octets = np.frombuffer(data, dtype=np.uint8)
    lane_bits = min(octets.size.bit_length() // 2, _MAX_LANE_BITS)
    lanes = max(1, -(-octets.size // (1 << lane_bits)))
    lanes = 1 << (lanes - 1).bit_length()  # a power of two, so that lanes merge in pairs
    # Zeros in front of the data leave a checksum of zero as it is.
    padded = np.zeros(lanes << lane_bits, dtype=np.uint8)
    padded[padded.size - octets.size :] = octets
    table = _byte_table()
    state: _Words = np.zeros(lanes, dtype=np.uint32)
    for column in np.ascontiguousarray(padded.reshape(lanes, -1).T):
        state = (state >> np.uint32(8)) ^ table[(state ^ column) & _BYTE]
    while state.size > 1:
        state = _append_zeros(lane_bits, state[0::2]) ^ state[1::2]
        lane_bits += 1
    start: _Words = np.array([0xFFFFFFFF], dtype=np.uint32)
    for bit in range(octets.size.bit_length()):
        if octets.size >> bit & 1:
            start = _append_zeros(bit, start)
    return int(state[0] ^ start[0]) ^ 0xFFFFFFFF


def masked(checksum: int) -> int:
    """Return the form in which LevelDB's tables store a checksum."""
    return (((checksum >> 15) | (checksum << 17)) + MASK_DELTA) & 0xFFFFFFFF
