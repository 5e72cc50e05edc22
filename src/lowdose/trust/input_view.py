"""What the checks of an image look at: tiles of it in units of its noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.dose import NoiseModel, check_finite
from lowdose.physics.estimate import spread_windows
from lowdose.physics.scatter import BLOCK, Scatter, measure_scatter
from lowdose.physics.step import value_step

_SIDE = 512
# Of a grid of 4 x 4 windows these lie in all rows and columns.
_TILES = 9
_SAMPLE = 1 << 15
# No part of an image is taken to be less noisy than this share of the typical noise.
_LEAST_NOISE = 1e-3
# Pixels are cut off here, in deviations of the noise, so that their squares fit float32.
_FARTHEST = 1e15


@dataclass(frozen=True)
class View:
    """Tiles of an image, and how its noise was measured.

    Parameters
    ----------
    tiles : list of ndarray, shape (h, w), float32
        ``(pixels - base) / unit``; sides up to 512, corners on multiples of 8 pixels.
    base, unit : float
        The median pixel, and the typical deviation of the noise, in pixel units.
    step : float or None
        Of the pixel values, in `unit`; None where they lie on no grid.
    noise : NoiseModel
        What is believed of the noise.
    scatter : Scatter or None
        What is measured of it, in pixel units; None where the image is too small or too flat.
    """

    tiles: list[NDArray[np.float32]]
    base: float
    unit: float
    step: float | None
    noise: NoiseModel
    scatter: Scatter | None

    @property
    def is_counts(self) -> bool:
        """Whether each step of the values is taken for one electron."""
        step = self.step
        return step is not None and abs(self.noise.gain / (step * self.unit) - 1) < 0.01

    def deviation(self, level: NDArray[Any]) -> NDArray[np.float64]:
        """Measured deviation of the noise at these levels, both in units of `unit`.

        Beyond the range that was measured it stays what it is at the end; never 0. Of so few
        electrons that most blocks hold none too little would be measured: counts have their own.
        """
        if self.scatter is None:
            return np.ones(np.shape(level))
        mean = (self.scatter.mean - self.base) / self.unit
        deviation = np.sqrt(np.interp(level, mean, self.scatter.variance)) / self.unit
        if self.is_counts:
            known = self.noise.noise_std(np.asarray(level) * self.unit + self.base) / self.unit
            deviation = np.maximum(deviation, known)
        return np.asarray(np.maximum(deviation, _LEAST_NOISE))

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Pixels of the whole blocks of each tile, shape (rows, 8, columns, 8)."""
        for tile in self.tiles:
            height, width = (length - length % BLOCK for length in tile.shape)
            yield tile[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)


def look(pixels: NDArray[Any], noise: NoiseModel) -> View:
    """Read the parts of an image that the checks look at.

    Raises
    ------
    NoiseModelError
        If they hold NaN or infinite pixels.
    """
    parts = [tile for window in spread_windows(pixels) for tile in _cut(window)]
    if len(parts) > _TILES:
        parts = [parts[round(i * (len(parts) - 1) / (_TILES - 1))] for i in range(_TILES)]
    for part in parts:
        check_finite(part)
    skip = max(1, math.isqrt(sum(part.size for part in parts) // _SAMPLE))
    sample = np.concatenate([part[::skip, ::skip].ravel() for part in parts])
    scatter, step = measure_scatter(parts), value_step(sample)
    if scatter is not None and not scatter.variance.any():
        scatter = None
    base = float(np.median(sample))
    unit = _unit(sample.astype(np.float64), scatter)
    tiles = [_in_units(part, base, unit) for part in parts]
    return View(tiles, base, unit, step / unit if step else None, noise, scatter)


def _cut(window: NDArray[Any]) -> Iterator[NDArray[Any]]:
    height, width = window.shape
    for top in range(0, height, _SIDE):
        for left in range(0, width, _SIDE):
            yield window[top : top + _SIDE, left : left + _SIDE]


def _unit(sample: NDArray[np.float64], scatter: Scatter | None) -> float:
    """Deviation of the noise; without any, the range of the image."""
    noise = math.sqrt(float(np.median(scatter.variance))) if scatter is not None else 0.0
    return noise or float(np.ptp(sample)) or 1.0


def _in_units(part: NDArray[Any], base: float, unit: float) -> NDArray[np.float32]:
    far = np.subtract(part, base, dtype=np.float64)
    far /= unit
    return np.asarray(np.clip(far, -_FARTHEST, _FARTHEST, out=far), np.float32)
