"""What stands between a file and trouble: limits before memory is taken, whole outputs or none."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lowdose.errors import LimitError, MalformedFileError, OutputError, UnsupportedContentError
from lowdose.micrograph import is_usable

# A temporary file that nobody has written to for so long is a dead writer's.
_STALE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a file may ask for.

    Parameters
    ----------
    pixels : int
        Most pixels in one file, all frames together. Plain files are memory-mapped, so this
        guards the disk and the clock more than memory.
    decoded_bytes : int
        Most bytes that a compressed file may decode to, whatever its size.
    decoded_ratio : int
        Most decoded bytes per stored byte, once more than `decoded_floor` bytes are claimed.
        Real micrographs compress 1.2 to 4 times, masks some hundred times.
    decoded_floor : int
        Decoded size below which no ratio is asked about.
    pages : int
        Most pages of a TIFF, each of which takes its time to look at.
    """

    pixels: int = 1 << 37
    decoded_bytes: int = 16 << 30
    decoded_ratio: int = 100
    decoded_floor: int = 256 << 20
    pages: int = 100_000


def check_stored(
    path: Path, shape: tuple[int, ...], dtype: DTypeLike, offset: int, limits: Limits
) -> None:
    """Refuse a file whose uncompressed pixels would not fit into it, before they are allocated.

    Parameters
    ----------
    path : Path
        The file.
    shape, dtype : tuple of int, dtype
        What its header claims.
    offset : int
        Byte at which the pixels start.
    limits : Limits
        Bound on the pixel count.

    Raises
    ------
    MalformedFileError
        If a length is not positive, or the file is shorter than its header claims.
    LimitError
        If there are more pixels than allowed.
    """
    count = check_shape(path, shape, limits)
    expected = offset + count * np.dtype(dtype).itemsize
    found = path.stat().st_size
    if found < expected:
        raise MalformedFileError(
            path,
            f"cut short: the header promises {_words(shape)} {np.dtype(dtype).name} pixels, "
            f"{expected} bytes in all, and the file has {found}. Copy it again from the source.",
        )


def check_decoded(
    path: Path,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    stored: int,
    limits: Limits,
    *,
    header: int = 0,
) -> None:
    """Refuse a compressed file that claims to decode to more than is plausible.

    Parameters
    ----------
    path, shape, dtype, limits
        As in `check_stored`.
    stored : int
        Bytes of the compressed data.
    header : int
        Bytes that are compressed together with the pixels.

    Raises
    ------
    MalformedFileError
        If a length is not positive.
    LimitError
        If the decoded pixels pass a limit.
    """
    decoded = header + check_shape(path, shape, limits) * np.dtype(dtype).itemsize
    ratio = decoded / max(stored, 1)
    kind = np.dtype(dtype).name
    if decoded > limits.decoded_bytes or (
        decoded > limits.decoded_floor and ratio > limits.decoded_ratio
    ):
        raise LimitError(
            path,
            f"{stored} compressed bytes claim to hold {_words(shape)} {kind} pixels "
            f"({decoded / 1e9:.1f} GB, {ratio:.0f} times as much); refused as implausible. "
            "Decompress it yourself if you trust it.",
        )


def check_shape(path: Path, shape: tuple[int, ...], limits: Limits) -> int:
    """Return the pixel count of `shape`; refuse empty and excessive ones."""
    if not shape or any(length <= 0 for length in shape):
        raise MalformedFileError(path, f"holds no image: its header claims {_words(shape)} pixels.")
    count = math.prod(shape)
    if count > limits.pixels:
        raise LimitError(
            path,
            f"claims {_words(shape)} pixels, more than the limit of {limits.pixels}. "
            "If that is right, cut it into smaller files.",
        )
    return count


def check_values(path: Path, pixels: NDArray[Any]) -> None:
    """Refuse pixels that are not finite in float32, reading them a few rows at a time.

    Raises
    ------
    UnsupportedContentError
        If a pixel is NaN, infinite or beyond float32; says how many.
    """
    if pixels.dtype.kind != "f":
        return
    bad = sum(int(np.count_nonzero(~is_usable(rows))) for rows in row_blocks(pixels))
    if bad:
        raise UnsupportedContentError(
            path,
            f"{bad} of {pixels.size} pixels are NaN, infinite or beyond ±3.4e38. Mask or fill "
            "them first, or denoise with --nonfinite fill: the median of their frame instead.",
        )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def row_blocks(pixels: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield `pixels`, shape (H, W) or (N, H, W), in order as runs of rows of a few megabytes."""
    step = max(1, (1 << 20) // pixels.shape[-1])
    for frame in pixels if pixels.ndim == 3 else (pixels,):
        for start in range(0, frame.shape[0], step):
            yield frame[start : start + step]


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; put it in place on success, leave nothing otherwise.

    The file is flushed to disk before it takes its name, so a crash or ``kill -9`` at any
    moment leaves either the old file or the new one. The temporary file that a ``kill -9`` left
    behind goes when the same file is written again, an hour or more later.

    Raises
    ------
    OutputError
        If the folder cannot be written to or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    _remove_stale(path)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as err:
        # numpy reports a short write as an OSError without a number.
        reason = err.strerror or f"{err}; is the disk full?"
        raise OutputError(f"{path}: cannot be written ({reason}).") from err
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _remove_stale(path: Path) -> None:
    """Remove temporary files of `path` that a killed writer left, and nobody's who still writes."""
    part = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.part")
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if part.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > _STALE_S:
                os.unlink(entry)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _words(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
