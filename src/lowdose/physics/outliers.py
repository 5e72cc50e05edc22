"""Single pixels far above or below all around them: defects of a detector, X-rays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.dose import NoiseModel

# Deviations of the noise from the median of the neighbours, and from all of them.
_FROM_MEDIAN = 8.0
_FROM_ALL = 5.0
# Pixels that stick out by less, beyond what noise does: sharp specimens have many of them.
_SHARP = 3.5
# Pixels that are looked at together.
_STRIP = 1 << 22
_NOWHERE = np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0)

Deviation = Callable[[NDArray[Any]], NDArray[np.float64]]


class Outliers(NamedTuple):
    """Pixels that stick out.

    Parameters
    ----------
    y, x : ndarray of int, shape (N,)
        Where.
    middle : ndarray, shape (N,)
        Median of the eight neighbours of each.
    sharp : int
        Pixels that stick out by less, yet more than noise does.
    """

    y: NDArray[np.intp]
    x: NDArray[np.intp]
    middle: NDArray[np.float64]
    sharp: int


def outliers(pixels: NDArray[Any], deviation: Deviation, *, sign: int) -> Outliers:
    """Find pixels far above (sign 1) or below (-1) all eight neighbours, but at the border.

    Parameters
    ----------
    pixels : ndarray, shape (H, W)
        In any unit.
    deviation : callable
        Deviation of the noise of pixels of these means, in the same unit.
    sign : {1, -1}
        Above or below.
    """
    pixels = np.asarray(pixels, np.result_type(pixels, np.float32))
    inner = pixels[1:-1, 1:-1]
    if not inner.size:
        return Outliers(*_NOWHERE, 0)
    farthest = np.maximum if sign > 0 else np.minimum
    beside = farthest(
        farthest(pixels[1:-1, :-2], pixels[1:-1, 2:]), farthest(pixels[:-2, 1:-1], pixels[2:, 1:-1])
    )
    least = float(deviation(np.linspace(pixels.min(), pixels.max(), 32)).min())
    y, x = np.nonzero(sign * (inner - beside) > _SHARP * least)
    around = np.stack(
        [pixels[y + i, x + j] for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    )
    here, middle = inner[y, x].astype(np.float64), np.median(around, axis=0).astype(np.float64)
    # Half-way, as the root of counts has it: noise of brighter pixels is stronger.
    spread = np.maximum(deviation((here + middle) / 2), 1e-300)
    from_all = sign * (here - farthest.reduce(around, axis=0)) / spread
    is_far = (sign * (here - middle) > _FROM_MEDIAN * spread) & (from_all > _FROM_ALL)
    sharp = int(((from_all > _SHARP) & ~is_far).sum())
    return Outliers(y[is_far] + 1, x[is_far] + 1, middle[is_far], sharp)


def find_outliers(frame: NDArray[Any], noise: NoiseModel) -> Outliers:
    """Find pixels that stick out of all their neighbours, those at the border included.

    Parameters
    ----------
    frame : ndarray, shape (H, W)
        Pixels as stored, perhaps a memory map.
    noise : NoiseModel
        Of these pixels.
    """
    height, width = frame.shape
    found = [Outliers(*_NOWHERE, 0)]
    is_told = not noise.is_noise_free and min(frame.shape) >= 3
    rows = max(1, _STRIP // width)

    def deviation(level: NDArray[Any]) -> NDArray[np.float64]:
        """Never less than an electron, which pixels below the offset seem to have."""
        return np.maximum(noise.noise_std(level), noise.gain)

    for top in range(0, height if is_told else 0, rows):
        first, last = max(top - 1, 0), min(top + rows + 1, height)
        # Beyond the border of the image lies what is beside it.
        beyond = (int(first == top), int(last == min(top + rows, height)))
        strip = np.pad(frame[first:last], (beyond, (1, 1)), mode="reflect")
        for sign in (1, -1):
            each = outliers(strip, deviation, sign=sign)
            found.append(each._replace(y=each.y + (top - 1), x=each.x - 1))
    y, x, middle, sharp = zip(*found, strict=True)
    return Outliers(np.concatenate(y), np.concatenate(x), np.concatenate(middle), sum(sharp))
