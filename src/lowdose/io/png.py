"""PNG: 8- or 16-bit greyscale, without calibration, for pictures of micrographs."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from lowdose.errors import MalformedFileError, OutputError, UnsupportedContentError
from lowdose.io.format import Format
from lowdose.io.guard import Limits, check_decoded
from lowdose.micrograph import Micrograph, Source

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Colour types of the specification, https://www.w3.org/TR/png-3/#11IHDR
_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with transparency", 6: "RGBA"}

# Interlacing: first row, first column, row step and column step of its seven passes (section 8.1).
_ADAM7 = (
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
    (1, 0, 2, 1),
)  # fmt: skip


def _sniff(head: bytes, path: Path) -> bool:
    return head.startswith(_SIGNATURE)


def _read(path: Path, limits: Limits) -> Micrograph:
    shape, dtype, is_interlaced = _layout(path)
    check_decoded(path, shape, dtype, path.stat().st_size, limits)
    _check_rows(path, _row_bytes(shape, dtype.itemsize, is_interlaced))
    # Not Image.open: its own limit is for the web, below a large montage. Ours was just checked.
    with PngImageFile(path) as image:
        if image.size != shape[::-1] or getattr(image, "n_frames", 1) > 1:
            raise UnsupportedContentError(path, "is an animation. Save one frame as PNG.")
        pixels = np.asarray(image).astype(dtype)
    return Micrograph(pixels, source=Source(path, PNG.name, dtype))


def _layout(path: Path) -> tuple[tuple[int, int], np.dtype[np.generic], bool]:
    """Shape (H, W), type and interlacing, from the IHDR chunk, which has to be the first."""
    with open(path, "rb") as file:
        head = file.read(33)
    if len(head) < 33 or head[12:16] != b"IHDR":
        raise MalformedFileError(path, "cut short: it ends within the PNG header.")
    width, height, bits, colour = struct.unpack(">IIBB", head[16:26])
    if colour != 0 or bits not in (8, 16):
        kind = _COLOURS.get(colour, f"type {colour}")
        raise UnsupportedContentError(
            path,
            f"its colours are {kind} of {bits} bits, and a micrograph has none. Convert it "
            "to 8- or 16-bit greyscale, or better, go back to the microscope's own file.",
        )
    return (height, width), np.dtype(f"u{bits // 8}"), head[28] == 1


def _row_bytes(shape: tuple[int, int], itemsize: int, is_interlaced: bool) -> int:
    """Bytes of all rows, each of them behind a byte that names its filter."""
    passes = _ADAM7 if is_interlaced else ((0, 0, 1, 1),)
    sizes = [(len(range(y, shape[0], dy)), len(range(x, shape[1], dx))) for y, x, dy, dx in passes]
    return sum(rows * (1 + columns * itemsize) for rows, columns in sizes if columns)


def _check_rows(path: Path, expected: int) -> None:
    """Refuse a file with rows missing, where Pillow leaves them black without a word."""
    inflate, found = zlib.decompressobj(), 0
    with open(path, "rb") as file:
        file.seek(len(_SIGNATURE))
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            content = file.read(length)
            while name == b"IDAT" and content and found < expected:
                found += len(inflate.decompress(content, 1 << 20))
                content = inflate.unconsumed_tail
            file.seek(4, os.SEEK_CUR)
    if found < expected:
        problem = f"cut short: {found} bytes of rows, and the header promises {expected}."
        raise MalformedFileError(path, problem)


def _refusal(dtype: np.dtype[Any], frames: int) -> str:
    if dtype.name not in ("uint8", "uint16"):
        return (
            f"PNG holds uint8 or uint16 pixels, and these are {dtype}. "
            "Choose .tif or .mrc, or round them (lowdose denoise --dtype uint16)."
        )
    if frames > 1:
        return f"PNG holds one image, and this is a stack of {frames}. Choose .tif or .mrc."
    return ""


def _write(path: Path, micrograph: Micrograph) -> None:
    if problem := _refusal(micrograph.pixels.dtype, micrograph.frame_count):
        raise OutputError(problem)
    with open(path, "wb") as file:
        Image.fromarray(np.ascontiguousarray(next(micrograph.frames()))).save(file, "PNG")


PNG = Format(
    name="png",
    description="8- or 16-bit greyscale PNG (.png), without calibration",
    suffixes=(".png",),
    sniff=_sniff,
    read=_read,
    write=_write,
    refusal=_refusal,
)
