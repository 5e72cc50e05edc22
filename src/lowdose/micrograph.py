"""The micrograph: pixels, what they mean, and where they came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Lengths only: reciprocal and time units have no size in nanometres.
_NM_PER_UNIT = {"m": 1e9, "mm": 1e6, "um": 1e3, "nm": 1.0, "Å": 0.1, "pm": 1e-3}
_UNIT_SPELLINGS = {
    "µm": "um", "μm": "um", "micron": "um", "microns": "um", "micrometer": "um", "µ": "um",
    "nanometer": "nm", "A": "Å", "Angstrom": "Å", "angstrom": "Å", "angstroms": "Å", "ang": "Å",
    "\\u00c5": "Å", "\\u00B5m": "um", "picometer": "pm", "millimeter": "mm", "meter": "m",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a pixel array.

    Parameters
    ----------
    name : str
        ``"y"``, ``"x"``, or what the frames are counted by: ``"frame"``, ``"z"``, ``"t"``.
    scale : float or None
        Step from one pixel to the next in `unit`; None where the file does not say.
    unit : str or None
        ``"nm"``, ``"Å"``, ``"um"``, ``"1/nm"``, ``"s"``, ...; common spellings are unified.
    offset : float
        Coordinate of the first pixel in `unit`.
    """

    name: str
    scale: float | None = None
    unit: str | None = None
    offset: float = 0.0

    def __post_init__(self) -> None:
        if self.scale is not None and not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"axis {self.name!r} has scale {self.scale}; expected > 0, or None")
        if self.unit is not None:
            object.__setattr__(self, "unit", _UNIT_SPELLINGS.get(self.unit, self.unit))

    @property
    def step_nm(self) -> float | None:
        """Step in nanometres, or None where it is unknown or not a length."""
        if self.scale is None or self.unit not in _NM_PER_UNIT:
            return None
        return self.scale * _NM_PER_UNIT[self.unit]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a micrograph was read from, and what its own format wants kept.

    Parameters
    ----------
    path : Path
        The file.
    format : str
        Name of the format that read it (``"mrc"``, ``"tiff"``, ``"dm"``, ...).
    dtype : numpy.dtype
        Data type of the pixels in the file.
    header : mapping
        For the writer of the same format alone: raw header bytes, labels, tags.
    """

    path: Path
    format: str
    dtype: np.dtype[Any]
    header: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Micrograph:
    """One image, or a stack of equally sized images, with its calibration.

    Parameters
    ----------
    pixels : ndarray, shape (H, W) or (N, H, W)
        Real and not empty, any integer or float type in native byte order; may be a
        read-only memory map of the file. Never written to.
    axes : tuple of Axis
        One per dimension; the last two are ``y`` and ``x``.
    metadata : mapping
        Acquisition facts under the field's names with units in the key
        (``voltage_kv``, ``exposure_s``, ``magnification``, ``gain``): JSON values only.
    source : Source or None
        The file it came from; None for an image made in memory.
    history : tuple of str
        What was done to it, oldest first; writers put it where their header has room.

    Raises
    ------
    ValueError
        If `pixels` is not two- or three-dimensional, empty or complex, or `axes` do not fit.
    """

    pixels: NDArray[Any]
    axes: tuple[Axis, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    source: Source | None = None
    history: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.ndim not in (2, 3) or pixels.size == 0:
            raise ValueError(f"pixels of shape {pixels.shape}; expected (H, W) or (N, H, W)")
        if pixels.dtype.kind not in "uif":
            raise ValueError(f"pixels of type {pixels.dtype}; expected real integers or floats")
        if not self.axes:
            names = ("frame", "y", "x")[-pixels.ndim :]
            object.__setattr__(self, "axes", tuple(Axis(name) for name in names))
        if len(self.axes) != pixels.ndim:
            raise ValueError(f"{len(self.axes)} axes for pixels of shape {pixels.shape}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the pixels, (H, W) or (N, H, W)."""
        return self.pixels.shape

    @property
    def is_stack(self) -> bool:
        """Whether there is a frame axis, even of length one."""
        return self.pixels.ndim == 3

    @property
    def frame_count(self) -> int:
        """Number of frames; 1 for a single image."""
        return self.pixels.shape[0] if self.is_stack else 1

    def frames(self) -> Iterator[NDArray[Any]]:
        """Yield each frame, shape (H, W), without loading the others."""
        if self.is_stack:
            yield from self.pixels
        else:
            yield self.pixels

    @property
    def pixel_size_nm(self) -> tuple[float, float] | None:
        """Pixel size (y, x) in nm, or None where it is unknown or not a length."""
        y, x = self.axes[-2].step_nm, self.axes[-1].step_nm
        return None if y is None or x is None else (y, x)

    def with_pixels(self, pixels: NDArray[Any], *notes: str) -> Micrograph:
        """Same calibration and source, other pixels, with `notes` added to the history."""
        return replace(self, pixels=pixels, history=(*self.history, *notes))


def is_usable(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each pixel is a finite number that float32, the type of results, can hold.

    Examples
    --------
    >>> is_usable(np.array([1.0, np.nan, -np.inf, 1e300]))
    array([ True, False, False, False])
    """
    if pixels.dtype.kind != "f":
        return np.ones(pixels.shape, bool)
    with np.errstate(over="ignore"):
        return np.isfinite(pixels.astype(np.float32, copy=False))


def round_to_dtype(pixels: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Pixels as `dtype`; integers are rounded to the nearest and clipped to its range.

    NaN becomes the lowest integer.

    Examples
    --------
    >>> round_to_dtype(np.array([-0.4, 1.6, 300.0]), np.uint8)
    array([  0,   2, 255], dtype=uint8)
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return pixels.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    if pixels.dtype.kind != "f":
        own = np.iinfo(pixels.dtype)
        low, high = max(limits.min, own.min), min(limits.max, own.max)
        return np.asarray(np.clip(pixels, low, high), dtype)
    kind = np.result_type(pixels.dtype, np.float32)
    highest = np.asarray(limits.max, kind)
    if int(highest) > limits.max:  # 2**31 - 1 is no float32, and 2**31 no int32
        highest = np.nextafter(highest, np.zeros((), kind))
    rounded = np.clip(np.rint(pixels), np.asarray(limits.min, kind), highest)
    return np.asarray(np.nan_to_num(rounded, copy=False, nan=limits.min), dtype)
