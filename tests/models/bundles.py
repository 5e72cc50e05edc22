"""TensorFlow checkpoints written byte by byte, to be sound or to lie."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}
MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)


def write_bundle(
    prefix: Path, variables: Mapping[str, np.ndarray], *, lies: Any = None, **options: Any
) -> Path:
    """Write an index and one data file; `options` are of `table`."""
    entries, content = messages(variables, lies or {})
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(content)
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(entries, **options))
    return prefix


def messages(
    variables: Mapping[str, np.ndarray], lies: Mapping[str, Mapping[int, Any]]
) -> tuple[dict[bytes, bytes], bytes]:
    """Entries of an index, and the data they describe.

    `lies` replaces fields of entries, {name: {field number: value}}, those of the header under "".
    """
    content = b""
    entries = {b"": message({1: 1, 2: 0, 3: {1: 1}} | lies.get("", {}))}
    for name, values in sorted(variables.items()):
        piece = values.tobytes()
        fields = {
            1: DTYPES[values.dtype.name],
            2: [{1: length} for length in values.shape],
            3: 0,
            4: len(content),
            5: len(piece),
            6: struct.pack("<I", masked(piece)),
        }
        entries[name.encode()] = message(fields | lies.get(name, {}))
        content += piece
    return entries, content


def message(fields: Mapping[int, Any]) -> bytes:
    """A protocol buffer: int, four bytes, a message, or a shape as a list of messages."""
    content = b""
    for key, value in fields.items():
        if isinstance(value, int):
            content += varint(key << 3) + varint(value)
        elif isinstance(value, bytes):
            content += varint(key << 3 | 5) + value
        else:
            parts = [value] if isinstance(value, Mapping) else [{2: axis} for axis in value]
            inner = b"".join(map(message, parts))
            content += varint(key << 3 | 2) + varint(len(inner)) + inner
    return content


def table(entries: Mapping[bytes, bytes], *, per_block: int = 7, snappy: bool = False) -> bytes:
    """A sorted table with so many entries in a block."""
    content, index, keys = b"", {}, sorted(entries)
    for start in range(0, len(keys), per_block):
        chosen = keys[start : start + per_block]
        stored = block({key: entries[key] for key in chosen}, snappy=snappy)
        index[chosen[-1]] = handle(content, stored)
        content += stored
    for stored in (block({}), block(index)):
        index[stored] = handle(content, stored)
        content += stored
    *_, meta, last = index.values()
    return content + (meta + last).ljust(40, b"\0") + MAGIC


def handle(before: bytes, stored: bytes) -> bytes:
    return varint(len(before)) + varint(len(stored) - 5)


def block(entries: Mapping[bytes, bytes], *, snappy: bool = False, interval: int = 3) -> bytes:
    content, restarts, before = b"", [], b""
    for number, (key, value) in enumerate(entries.items()):
        shared = 0
        if number % interval == 0:
            restarts.append(len(content))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value))
        content += key[shared:] + value
        before = key
    content += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    content = imagecodecs.snappy_encode(content) + b"\1" if snappy else content + b"\0"
    return content + struct.pack("<I", masked(content))


def varint(number: int) -> bytes:
    content = b""
    while number > 0x7F:
        content += bytes([number & 0x7F | 0x80])
        number >>= 7
    return content + bytes([number])


def remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


REMAINDERS = [remainder(byte) for byte in range(256)]


def masked(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ REMAINDERS[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
