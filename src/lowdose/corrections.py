"""What is put right in the pixels of a micrograph before it is denoised, where asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.memory import allocate
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.physics.jitter import Jitter, find_jitter, put_back
from lowdose.physics.outliers import find_outliers
from lowdose.physics.stripes import Stripes, find_stripes

# Where stripes are only to be told, they are looked for in a square of this side.
_MIDDLE = 1024


@dataclass(frozen=True)
class Corrected:
    """A micrograph to denoise, and what was put right in it.

    Parameters
    ----------
    micrograph : Micrograph
        The one given, where there was nothing to put right.
    repaired : int
        Single pixels that were replaced, in all frames.
    stripes : float
        Deviation of the offsets of rows or columns that were taken off, in deviations of the noise
        of a pixel; of the frame with the strongest. 0 without any.
    jitter : float
        Deviation of the displacements of rows that were put back, in pixels; likewise.
    """

    micrograph: Micrograph
    repaired: int = 0
    stripes: float = 0.0
    jitter: float = 0.0

    def __str__(self) -> str:
        parts = [f"pixels repaired: {self.repaired}"] if self.repaired else []
        if self.stripes:
            parts.append(f"stripes of {self.stripes:.2g} of the noise taken off")
        if self.jitter:
            parts.append(f"rows displaced by {self.jitter:.2g} px put back")
        return ", ".join(parts)


def correct(
    micrograph: Micrograph,
    noise: NoiseModel,
    *,
    repair: bool = False,
    destripe: bool = False,
    dejitter: bool = False,
) -> Corrected:
    """Put right what was asked for, frame by frame.

    Parameters
    ----------
    micrograph : Micrograph
        An image or a stack; not changed.
    noise : NoiseModel
        Of its pixels as they are: estimated before, since integers are no longer any afterwards.
    repair : bool
        Put the median of their neighbours in the place of single pixels that stick out of all of
        them by far, see `lowdose.physics.outliers.find_outliers`.
    destripe : bool
        Take off by how much whole rows and columns are brighter or darker than those beside them,
        see `lowdose.physics.stripes.find_stripes`.
    dejitter : bool
        Put rows back that an unsteady scan displaced along themselves, see
        `lowdose.physics.jitter.find_jitter`. Pixels that stick out ring along their row.

    Returns
    -------
    Corrected
        The pixels are in a temporary file of their own where memory is short.
    """
    repaired, stripes, jitter = 0, 0.0, 0.0
    if destripe:  # first, for stripes make pixels of the dark stick out
        of_stripes = [find_stripes(frame, noise) for frame in micrograph.frames()]
        micrograph, stripes = _put_right(micrograph, of_stripes, _take_off)
    if repair:  # before a row is moved by fractions of a pixel, which such a pixel would ring at
        micrograph, repaired = _repaired(micrograph, noise)
    if dejitter:
        of_jitter = [find_jitter(frame, noise) for frame in micrograph.frames()]
        micrograph, jitter = _put_right(micrograph, of_jitter, _straighten)
    found = Corrected(micrograph, repaired, stripes, jitter)
    if not str(found):
        return found
    return replace(found, micrograph=micrograph.with_pixels(micrograph.pixels, str(found)))


def stripes_in(micrograph: Micrograph, noise: NoiseModel) -> float:
    """How strong stripes are in the middles of some frames, as `Corrected.stripes` has it.

    Parameters
    ----------
    micrograph, noise
        As `correct` takes them.
    """
    frames = micrograph.pixels if micrograph.is_stack else micrograph.pixels[None]
    middle = tuple(slice(max((n - _MIDDLE) // 2, 0), (n + _MIDDLE) // 2) for n in frames.shape[1:])
    some = sorted({0, len(frames) // 2, len(frames) - 1})
    return max(find_stripes(frames[number][middle], noise).strength for number in some)


def _repaired(micrograph: Micrograph, noise: NoiseModel) -> tuple[Micrograph, int]:
    found = [find_outliers(frame, noise) for frame in micrograph.frames()]
    count = sum(len(each.y) for each in found)
    if not count:
        return micrograph, 0
    pixels = allocate(micrograph.shape, micrograph.pixels.dtype)
    whole = micrograph.with_pixels(pixels)
    for frame, source, each in zip(whole.frames(), micrograph.frames(), found, strict=True):
        frame[...] = source
        frame[each.y, each.x] = each.middle if pixels.dtype.kind == "f" else np.rint(each.middle)
    return whole, count


def _put_right(
    micrograph: Micrograph,
    found: Sequence[Stripes] | Sequence[Jitter],
    fill: Callable[[NDArray[Any], NDArray[Any], Any], None],
) -> tuple[Micrograph, float]:
    """A copy whose frames are filled from the recorded ones, if any has a fault of its lines."""
    strength = max(each.strength for each in found)
    if not strength:
        return micrograph, 0.0
    # With fractions, and without losing a digit.
    dtype = np.result_type(micrograph.pixels.dtype, np.float32)
    whole = micrograph.with_pixels(allocate(micrograph.shape, dtype))
    for frame, source, each in zip(whole.frames(), micrograph.frames(), found, strict=True):
        fill(frame, source, each)
    return whole, strength


def _take_off(frame: NDArray[Any], source: NDArray[Any], stripes: Stripes) -> None:
    np.subtract(source, stripes.rows, out=frame)
    np.subtract(frame, stripes.columns, out=frame)


def _straighten(frame: NDArray[Any], source: NDArray[Any], jitter: Jitter) -> None:
    if not jitter.strength:
        frame[...] = source
        return
    for row, moved in zip(frame, put_back(source, jitter.rows), strict=True):
        row[...] = moved
