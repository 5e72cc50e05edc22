"""PNG: 8- or 16-bit greyscale, without calibration, for pictures of micrographs."""

from __future__ import annotations

import struct
from pathlib import Path

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


def _sniff(head: bytes, path: Path) -> bool:
    return head.startswith(_SIGNATURE)


def _read(path: Path, limits: Limits) -> Micrograph:
    shape, dtype = _layout(path)
    check_decoded(path, shape, dtype, path.stat().st_size, limits)
    # Not Image.open: its own limit is for the web, below a large montage. Ours was just checked.
    with PngImageFile(path) as image:
        if image.size != shape[::-1] or getattr(image, "n_frames", 1) > 1:
            raise UnsupportedContentError(path, "is an animation. Save one frame as PNG.")
        pixels = np.asarray(image).astype(dtype)
    return Micrograph(pixels, source=Source(path, PNG.name, dtype))


def _layout(path: Path) -> tuple[tuple[int, int], np.dtype[np.generic]]:
    """Shape (H, W) and type, from the IHDR chunk, which has to be the first."""
    with open(path, "rb") as file:
        head = file.read(33)
    if len(head) < 33 or head[12:16] != b"IHDR":
        raise MalformedFileError(path, "cut short: it ends within the PNG header.")
    width, height, bits, colour = struct.unpack(">IIBB", head[16:26])
    if colour != 0 or bits not in (8, 16):
        raise UnsupportedContentError(
            path,
            f"is a {_COLOURS.get(colour, colour)} PNG of {bits} bits, no micrograph. Convert it "
            "to 8- or 16-bit greyscale, or better, go back to the microscope's own file.",
        )
    return (height, width), np.dtype(f"u{bits // 8}")


def _write(path: Path, micrograph: Micrograph) -> None:
    pixels = micrograph.pixels
    if pixels.dtype.name not in ("uint8", "uint16"):
        raise OutputError(
            f"PNG holds uint8 or uint16 pixels, and these are {pixels.dtype}. "
            "Pass --dtype uint16, or choose .tif or .mrc."
        )
    if micrograph.frame_count > 1:
        raise OutputError(
            f"PNG holds one image, and this is a stack of {micrograph.frame_count}. "
            "Choose .tif or .mrc."
        )
    with open(path, "wb") as file:
        Image.fromarray(np.ascontiguousarray(next(micrograph.frames()))).save(file, "PNG")


PNG = Format(
    name="png",
    description="8- or 16-bit greyscale PNG (.png), without calibration",
    suffixes=(".png",),
    sniff=_sniff,
    read=_read,
    write=_write,
)
