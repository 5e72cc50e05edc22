"""NPY: one numpy array, without any calibration."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from lowdose.errors import MalformedFileError, UnsupportedContentError
from lowdose.io.format import Format
from lowdose.io.guard import Limits, check_stored, row_blocks
from lowdose.micrograph import Micrograph, Source

_HEAD_BYTES = 12_000  # numpy writes headers of 128 bytes and reads none above 10 000
_HEADER_READERS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}
_ADVICE = "Convert it to float32 of shape (H, W) or (N, H, W)."


def _sniff(head: bytes, path: Path) -> bool:
    return head.startswith(npy_format.MAGIC_PREFIX)


def _read(path: Path, limits: Limits) -> Micrograph:
    shape, is_fortran, dtype, start = _header(path)
    # Objects would be unpickled: code from the file. They never get past this line.
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise UnsupportedContentError(path, f"holds elements of type {dtype}. {_ADVICE}")
    if len(shape) not in (2, 3):
        raise UnsupportedContentError(path, f"holds an array of shape {shape}. {_ADVICE}")
    check_stored(path, shape, dtype, start, limits)
    pixels = np.memmap(path, dtype, "r", start, shape, "F" if is_fortran else "C")
    native = pixels.astype(dtype.newbyteorder("="), copy=False)
    return Micrograph(native, source=Source(path, NPY.name, dtype))


def _header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, column order, type and where the pixels start."""
    with open(path, "rb") as file:
        head = BytesIO(file.read(_HEAD_BYTES))
    version = npy_format.read_magic(head)
    reader = _HEADER_READERS.get(version)
    if reader is None:
        raise MalformedFileError(path, f"is an NPY file of version {version}. {_ADVICE}")
    shape, is_fortran, dtype = reader(head)
    return shape, is_fortran, dtype, head.tell()


def _write(path: Path, micrograph: Micrograph) -> None:
    pixels = micrograph.pixels
    with open(path, "wb") as file:
        head = {"descr": pixels.dtype.str, "fortran_order": False, "shape": pixels.shape}
        npy_format.write_array_header_1_0(file, head)
        for block in row_blocks(pixels):
            file.write(np.ascontiguousarray(block).data)


NPY = Format(
    name="npy",
    description="NumPy array of real numbers (.npy), without calibration",
    suffixes=(".npy",),
    sniff=_sniff,
    read=_read,
    write=_write,
)
