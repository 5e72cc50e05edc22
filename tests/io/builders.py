"""Files built byte by byte from their specifications, without the libraries under test."""

import struct
import zlib

import numpy as np

# Field of the MRC2014 header: its offset and struct code.
MRC_FIELDS = {
    "nx": (0, "i"), "ny": (4, "i"), "nz": (8, "i"), "mode": (12, "i"),
    "mx": (28, "i"), "my": (32, "i"), "mz": (36, "i"),
    "xlen": (40, "f"), "ylen": (44, "f"), "zlen": (48, "f"),
    "mapc": (64, "i"), "mapr": (68, "i"), "maps": (72, "i"),
    "dmin": (76, "f"), "dmax": (80, "f"), "dmean": (84, "f"),
    "ispg": (88, "i"), "nsymbt": (92, "i"), "exttyp": (104, "4s"), "nversion": (108, "i"),
    "imod_stamp": (152, "i"), "imod_flags": (156, "i"),
    "map": (208, "4s"), "machst": (212, "4s"), "rms": (216, "f"), "nlabl": (220, "i"),
    "label0": (224, "80s"), "label1": (304, "80s"), "label9": (944, "80s"),
}  # fmt: skip
MRC_MODES = {"i1": 0, "i2": 1, "f4": 2, "u2": 6, "f2": 12}


def mrc_bytes(
    pixels: np.ndarray, *, order: str = "<", extended: bytes = b"", **fields: int | float | bytes
) -> bytes:
    """An MRC file; `fields` replace what follows from `pixels`."""
    nz, ny, nx = (1, *pixels.shape)[-3:]
    stamp = b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0"
    values = {
        "nx": nx, "ny": ny, "nz": nz, "mode": MRC_MODES.get(pixels.dtype.str[1:], 0),
        "mx": nx, "my": ny, "mz": 1, "xlen": 2.5 * nx, "ylen": 2.5 * ny, "zlen": 1.0,
        "mapc": 1, "mapr": 2, "maps": 3, "dmin": 0.0, "dmax": -1.0, "dmean": -2.0,
        "nsymbt": len(extended), "nversion": 20140, "map": b"MAP ", "machst": stamp, "rms": -1.0,
        **fields,
    }  # fmt: skip
    header = bytearray(1024)
    for name, value in values.items():
        offset, code = MRC_FIELDS[name]
        struct.pack_into(order + code, header, offset, value)
    return bytes(header) + extended + pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()


def png_bytes(
    rows: bytes, *, width: int, height: int, bits: int = 8, colour: int = 0, extra: bytes = b""
) -> bytes:
    """A PNG file; `rows` already carry their filter bytes, `extra` goes before the pixels."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = png_chunk(b"IHDR", head) + extra + png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")


def png_chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def npy_bytes(header: str, data: bytes = b"", *, version: tuple[int, int] = (1, 0)) -> bytes:
    """An NPY file whose header is the text `header`."""
    text = header.encode() + b"\n"
    code = "<H" if version == (1, 0) else "<I"
    return b"\x93NUMPY" + bytes(version) + struct.pack(code, len(text)) + text + data


def tiff_bytes(tags: dict[int, tuple[int, list[int]]], data: bytes = b"") -> bytes:
    """A little-endian TIFF file of one page; `data` starts at byte 8, the tags follow it.

    `tags` maps tag -> (field type, values); types 3 (16 bit) and 4 (32 bit) are enough here.
    """
    start = 8 + len(data) + len(data) % 2
    entries, spilled = b"", b""
    spill_at = start + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        content = struct.pack(f"<{len(values)}{'HI'[kind - 3]}", *values)
        if len(content) > 4:
            content, spilled = struct.pack("<I", spill_at + len(spilled)), spilled + content
        entries += struct.pack("<HHI", tag, kind, len(values)) + content.ljust(4, b"\0")
    page = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0) + spilled
    return b"II*\0" + struct.pack("<I", start) + data.ljust(start - 8, b"\0") + page


def grey_tiff(
    width: int, height: int, data: bytes, *, bits: int = 8, strips: int = 1, **tags: int
) -> bytes:
    """A greyscale TIFF, every strip of it the same `data`."""
    # Compression, samples per pixel and sample format: 259, 277, 339.
    return tiff_bytes(
        {
            256: (4, [width]), 257: (4, [height]), 258: (3, [bits]),
            259: (3, [tags.get("compression", 1)]), 262: (3, [tags.get("photometric", 1)]),
            273: (4, [8] * strips), 277: (3, [tags.get("samples", 1)]),
            278: (4, [-(-height // strips)]), 279: (4, [len(data)] * strips),
            339: (3, [tags.get("sample_format", 1)]),
        },
        data,
    )  # fmt: skip
