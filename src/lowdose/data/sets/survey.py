"""Look at every frame of a file once and write down all that decisions need."""

from __future__ import annotations

import base64
import dataclasses
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.data.sets.fingerprint import fingerprint
from lowdose.errors import InputError, LowdoseWarning, MissingExtraError, NoiseModelError
from lowdose.io import read
from lowdose.io.guard import row_blocks, sha256_of
from lowdose.micrograph import Micrograph, is_usable
from lowdose.physics.estimate import estimate_noise

# Noise is measured in so many windows of this side where a frame is larger.
_WINDOWS, _WINDOW = (2, 4), 256


@dataclass(frozen=True, slots=True)
class Frame:
    """What one frame looks like.

    Parameters
    ----------
    height, width : int
        In pixels, after shrinking.
    dtype : str
        Of the pixels, after shrinking.
    low, high, mean : float
        Of its pixels.
    saturated : float
        Share of pixels that are `low` or `high`.
    noise : float
        Deviation of the noise at the mean, as a fraction of the range; 0 where none is seen.
    counts : float or None
        Mean electron counts per pixel; None where the pixels are no counts.
    crops : tuple of float
        Share of pixels at the extremes of each crop, row by row; 1 for a constant crop.
    fingerprint : bytes
        See `lowdose.data.sets.fingerprint`.
    """

    height: int
    width: int
    dtype: str
    low: float
    high: float
    mean: float
    saturated: float
    noise: float
    counts: float | None
    crops: tuple[float, ...]
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What one file holds, or why it cannot be read.

    Parameters
    ----------
    name : str
        Path below the folder that all inputs share, with forward slashes.
    size, mtime_ns : int
        Of the file as it was read.
    sha256 : str
        Of its bytes; empty where it cannot be read.
    frames : tuple of Frame
        Empty where it cannot be read.
    is_stack : bool
        Whether frames are told apart by number.
    error, remark : str
        Why it cannot be read; what is odd about it.
    """

    name: str
    size: int
    mtime_ns: int
    sha256: str = ""
    frames: tuple[Frame, ...] = ()
    is_stack: bool = False
    error: str = ""
    remark: str = ""

    def as_json(self) -> dict[str, Any]:
        """The record as a row of a journal."""
        row = dataclasses.asdict(self)
        for frame in row["frames"]:
            frame["fingerprint"] = base64.b64encode(frame["fingerprint"]).decode()
        return row

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Surveyed:
        """The record of a row."""
        frames = tuple(_frame_from_json(frame) for frame in row["frames"])
        return cls(**(row | {"frames": frames}))


def survey_file(path: Path, name: str, *, crop: int, shrink: int) -> Surveyed:
    """Read a file and describe each frame of it.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        What it is called in the data set.
    crop, shrink : int
        See `lowdose.data.sets.choices.Choices`.
    """
    status = path.stat()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LowdoseWarning)
        try:
            micrograph = read(path)
            frames = tuple(describe(frame, crop) for frame in shrunk_frames(micrograph, shrink))
        except (InputError, MissingExtraError, NoiseModelError) as err:
            error = err.problem if isinstance(err, InputError) else str(err)
            return Surveyed(name, status.st_size, status.st_mtime_ns, error=error)
    remarks = [w.message.problem for w in caught if isinstance(w.message, LowdoseWarning)]
    return Surveyed(
        name,
        status.st_size,
        status.st_mtime_ns,
        sha256_of(path),
        frames,
        micrograph.is_stack,
        remark=" ".join(remarks),
    )


def shrunk_frames(micrograph: Micrograph, shrink: int) -> Iterator[NDArray[Any]]:
    """Yield each frame with blocks of pixels added up, as a detector with larger pixels counts.

    Raises
    ------
    NoiseModelError
        If a sum is beyond float32.
    """
    for frame in micrograph.frames():
        shrunk = frame if shrink == 1 else add_up(frame, shrink)
        if shrink > 1 and not is_usable(shrunk).all():
            raise NoiseModelError(
                f"sums of {shrink} x {shrink} pixels pass ±3.4e38. Fill what holds no data first, "
                "or build with --shrink 1."
            )
        yield shrunk


def add_up(frame: NDArray[Any], factor: int) -> NDArray[Any]:
    """Sums over blocks of `factor` x `factor` pixels; a rest at the lower and right edge is left.

    Integers become 32 or 64 bit wide, floats float32 or wider.

    Examples
    --------
    >>> add_up(np.arange(15, dtype=np.uint8).reshape(3, 5), 2)
    array([[12, 20]], dtype=uint32)
    """
    rows, columns = (length // factor for length in frame.shape)
    kind = frame.dtype.kind
    wide = frame.dtype.itemsize >= (8 if kind == "f" else 4)
    dtype = f"{kind}{8 if wide else 4}"
    blocks = frame[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    with np.errstate(over="ignore", invalid="ignore"):  # `shrunk_frames` refuses such sums
        total: NDArray[Any] = blocks.sum(axis=(1, 3), dtype=dtype)
    return total


def crop_corners(height: int, width: int, crop: int) -> list[tuple[int, int]]:
    """Upper left corners of the crops that fit side by side, centred, row by row.

    Examples
    --------
    >>> crop_corners(100, 230, 100)
    [(0, 15), (0, 115)]
    """
    rows, columns = height // crop, width // crop
    top, left = (height - rows * crop) // 2, (width - columns * crop) // 2
    return [(top + crop * r, left + crop * c) for r in range(rows) for c in range(columns)]


def describe(frame: NDArray[Any], crop: int) -> Frame:
    """Measure one frame, shape (H, W); of one shrunk to nothing only that it is."""
    height, width = frame.shape
    if not frame.size:
        return Frame(height, width, frame.dtype.name, 0, 0, 0, 0, 0, None, (), b"")
    low, high, saturated = extremes(frame)
    mean = float(frame.mean(dtype=np.float64))
    noise, counts = _noise(frame, mean) if low < high else (0.0, None)
    corners = crop_corners(height, width, crop)
    crops = (frame[top : top + crop, left : left + crop] for top, left in corners)
    return Frame(
        height,
        width,
        frame.dtype.name,
        low,
        high,
        mean,
        round(saturated, 6),
        noise / (high - low) if low < high else 0.0,
        counts,
        tuple(round(extremes(each)[2], 4) for each in crops),
        fingerprint(frame),
    )


def extremes(pixels: NDArray[Any]) -> tuple[float, float, float]:
    """Smallest and largest pixel, and the share of pixels that have either value.

    Examples
    --------
    >>> extremes(np.array([[0, 1, 2, 0]]))
    (0.0, 2.0, 0.75)
    """
    blocks = list(row_blocks(pixels))
    low = min(block.min() for block in blocks)
    high = max(block.max() for block in blocks)
    counts = (np.count_nonzero((block == low) | (block == high)) for block in blocks)
    return float(low), float(high), sum(map(int, counts)) / pixels.size


def _noise(frame: NDArray[Any], mean: float) -> tuple[float, float | None]:
    """Deviation of the noise at the mean, in pixel units, and the mean in counts if they are."""
    model = estimate_noise(_windows(frame))
    # Only pixels taken for counts have a gain that is known, without readout noise. What fits
    # in 8 bit is as often grey levels that look like counts.
    is_grey = frame.dtype.itemsize == 1
    counts = (mean - model.offset) / model.gain if model.is_of_counts and not is_grey else None
    return float(model.noise_std(np.array(mean))), counts


def _windows(frame: NDArray[Any]) -> NDArray[Any]:
    """The frame itself if it is small, else windows spread over it; shape (H, W) or (8, 256, 256).

    All of a large frame would take four times as long as everything else together.
    """
    height, width = frame.shape
    if height * width <= math.prod(_WINDOWS) * _WINDOW**2 or min(height, width) < _WINDOW:
        return frame
    tops, lefts = (
        np.linspace(0, length - _WINDOW, count).astype(int)
        for length, count in zip(frame.shape, _WINDOWS, strict=True)
    )
    windows = [frame[t : t + _WINDOW, x : x + _WINDOW] for t in tops for x in lefts]
    return np.stack(windows)


def _frame_from_json(row: dict[str, Any]) -> Frame:
    decoded = base64.b64decode(row["fingerprint"])
    return Frame(**(row | {"crops": tuple(row["crops"]), "fingerprint": decoded}))
