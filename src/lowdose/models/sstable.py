"""Sorted tables of keys and values, as LevelDB lays them out and TensorFlow indexes checkpoints.

::

    block, block, ...     entries in the order of their keys
    block                 meta data, not looked at
    block                 last key of each block of entries -> where that block is
    footer                where the last two are, zeros up to byte 40, magic number

A block is followed by a byte for its compression and a checksum over both. Within it a key leaves
out what it shares with the key before; at its end are places from which keys are whole again,
which a search would need. Numbers are little-endian, most of them varints.

References
----------
.. [1] LevelDB, doc/table_format.md; TensorFlow, tensorflow/core/lib/io/format.cc.
"""

from __future__ import annotations

from collections.abc import Iterator

from lowdose.models.crc32c import masked_crc32c

MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48
_TRAILER = 5  # one byte of compression, four of checksum
_PLAIN, _SNAPPY = 0, 1

# The published checkpoint has 658 keys of up to 51 bytes; training may treble their number.
# A key costs three bytes where it repeats the one before, so both are bounded.
MAX_KEYS = 20_000
MAX_KEY_BYTES = 1024
_MAX_BLOCK_BYTES = 16 << 20  # decompressed; TensorFlow writes 256 KiB


def read_table(content: bytes) -> dict[bytes, bytes]:
    """Return the entries of a table in the order of their keys.

    Parameters
    ----------
    content : bytes
        The whole file.

    Returns
    -------
    dict
        Key -> value; together not much larger than what the blocks hold.

    Raises
    ------
    ValueError
        If it is cut short, damaged, or beyond a limit; says what and where.
    """
    if len(content) < _FOOTER or not content.endswith(MAGIC):
        raise ValueError("it does not end like a table: it is cut short, or something else")
    _, at = _handle(content[-_FOOTER:], 0)
    index, _ = _handle(content[-_FOOTER:], at)
    entries: dict[bytes, bytes] = {}
    before, end = None, 0
    for _, value in _entries(_block(content, *index)):
        (start, size), _ = _handle(value, 0)
        if start < end:
            raise ValueError(f"its block at byte {start} begins within the one before")
        end = start + size
        for key, value_of_key in _entries(_block(content, start, size)):
            if before is not None and key <= before:
                raise ValueError(f"its key {key!r} is not after {before!r}")
            if len(entries) == MAX_KEYS:
                raise ValueError(f"it has more than {MAX_KEYS} keys")
            entries[key] = value_of_key
            before = key
    return entries


def varint(content: bytes, at: int) -> tuple[int, int]:
    """Read a number of 7 bits a byte, lowest first; all bytes but the last have their top bit set.

    Parameters
    ----------
    content : bytes
        Holds it.
    at : int
        Where it begins.

    Returns
    -------
    (int, int)
        The number, of 64 bits at most, and where the next thing begins.

    Raises
    ------
    ValueError
        If it is cut short or has more than 64 bits.

    Examples
    --------
    >>> varint(bytes([0xAC, 0x02]), 0)  # 0x2C + 2 * 128
    (300, 2)
    """
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(content):
            raise ValueError("a number in it is cut short")
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    if byte >= 0x80 or value >> 64:
        raise ValueError("a number in it has more than 64 bits")
    return value, at


def _handle(content: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Where a block begins and how many bytes it has; and where the next thing begins."""
    start, at = varint(content, at)
    size, at = varint(content, at)
    return (start, size), at


def _block(content: bytes, start: int, size: int) -> bytes:
    """Content of a block once its checksum is right, decompressed."""
    end = start + size
    if end + _TRAILER + _FOOTER > len(content):
        raise ValueError(f"its block of {size} bytes at byte {start} would end outside")
    if masked_crc32c(content[start : end + 1]) != int.from_bytes(
        content[end + 1 : end + _TRAILER], "little"
    ):
        raise ValueError(f"the checksum of its block at byte {start} is wrong")
    if content[end] == _PLAIN:
        return content[start:end]
    if content[end] == _SNAPPY:
        return _unsnapped(content[start:end])
    raise ValueError(f"its block at byte {start} has compression {content[end]}; known are 0 and 1")


def _unsnapped(compressed: bytes) -> bytes:
    import imagecodecs

    size, _ = varint(compressed, 0)
    if size > _MAX_BLOCK_BYTES:
        raise ValueError(f"a block of it claims to decompress to {size} bytes")
    try:
        return bytes(imagecodecs.snappy_decode(compressed))
    except imagecodecs.SnappyError as err:
        raise ValueError(f"a block of it cannot be decompressed ({err})") from err


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise ValueError(f"a block of it has {len(block)} bytes and promises {restarts} restarts")
    key, at = b"", 0
    while at < end:
        shared, at = varint(block, at)
        fresh, at = varint(block, at)
        size, at = varint(block, at)
        middle, after = at + fresh, at + fresh + size
        if shared > len(key) or after > end:
            raise ValueError("an entry of it is longer than the block it is in")
        if shared + fresh > MAX_KEY_BYTES:
            raise ValueError(f"a key of it has {shared + fresh} bytes; {MAX_KEY_BYTES} are allowed")
        key = key[:shared] + block[at:middle]
        yield key, block[middle:after]
        at = after
