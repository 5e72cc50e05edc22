"""CRC-32C, the checksum of TensorFlow's checkpoints, by numpy."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Castagnoli's polynomial, its bits in reverse.
_POLYNOMIAL = np.uint32(0x82F63B78)
_MASK = 0xA282EAD8  # TensorFlow's: a checksum over checksums would be weak


def crc32c(content: bytes | bytearray) -> int:
    """Return the CRC-32C of some bytes [1]_, at half a gigabyte a second.

    A remainder is linear: that of two pieces is the first one's, moved by the length of the
    second, plus (exclusive or) the second one's. So neighbours are joined in pairs, all at once.

    References
    ----------
    .. [1] RFC 3720, appendix B.4, has the polynomial and examples.

    Examples
    --------
    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    # Zeros in front leave a remainder as it is.
    padded = bytes(-len(content) % 4) + content
    pieces = np.frombuffer(padded, "<u4").astype(np.uint32)
    level = 2  # pieces have 2**2 bytes
    while pieces.size > 1:
        if pieces.size % 2:
            pieces = np.concatenate((np.zeros(1, np.uint32), pieces))
        pieces = _moved(pieces[::2], _moves(level)) ^ pieces[1::2]
        level += 1
    # A CRC starts with all ones, moved here by the whole length.
    start = np.full(1, 0xFFFFFFFF, np.uint32)
    for bit in range(len(content).bit_length()):
        if len(content) >> bit & 1:
            start = _moved(start, _moves(bit))
    remainder = _moved(pieces, _moves(2))  # empty where there are no bytes
    return int(np.bitwise_xor.reduce(remainder, initial=start[0])) ^ 0xFFFFFFFF


def masked_crc32c(content: bytes | bytearray) -> int:
    """Return the CRC-32C of some bytes as it is stored beside them: rotated, plus a constant.

    Examples
    --------
    >>> hex(masked_crc32c(b"123456789"))
    '0xc78ab0e5'
    """
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def _moved(remainders: NDArray[Any], moves: NDArray[Any]) -> NDArray[Any]:
    moved: NDArray[Any] = moves[0][remainders & 0xFFFF] ^ moves[1][remainders >> 16]
    return moved


@lru_cache(maxsize=64)
def _moves(level: int) -> NDArray[Any]:
    """Remainders with 2**level bytes behind: a table for their lower 16 bits, one for their upper.

    Shape (2, 65536).
    """
    if level:
        half = _moves(level - 1)
        return _moved(half, half)
    half_words = np.arange(1 << 16, dtype=np.uint32)
    remainders = np.stack((half_words, half_words << 16))
    for _ in range(8):
        remainders = remainders >> 1 ^ _POLYNOMIAL * (remainders & 1)
    return remainders
