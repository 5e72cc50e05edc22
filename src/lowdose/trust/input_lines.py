"""Line noise: offsets of whole rows or columns, as scans and readout electronics leave them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lowdose.trust.finding import Finding, judged
from lowdose.trust.input_view import View

# Deviation of the offsets, in those of the noise of a pixel. In 270 good images they measure 0.11
# at most; offsets of 0.5 measure 0.37 at least.
_THRESHOLD = 0.15
# Columns that are averaged before the median over them.
_BLOCK = 32
_LEAST_SIDE = 48
# Every second tile tells enough.
_EVERY = 2
# The median of exponentially distributed powers is this share of their mean.
_MEDIAN_OF_POWERS = math.log(2)


def rows(view: View) -> Finding | None:
    """Find offsets of rows."""
    return _finding("row noise", "rows", "scan line", _offsets(view.tiles, view), view)


def columns(view: View) -> Finding | None:
    """Find offsets of columns."""
    turned = [tile.T for tile in view.tiles]
    return _finding("column noise", "columns", "readout column", _offsets(turned, view), view)


def _finding(
    name: str, lines: str, cause: str, offsets: tuple[float, float] | None, view: View
) -> Finding | None:
    if offsets is None:
        return None
    value, threshold = offsets
    return judged(
        name,
        value,
        threshold,
        fine=f"{lines.capitalize()} have no offsets of their own.",
        fault=f"Whole {lines} are brighter or darker than their neighbours, by {value:.2g} times "
        f"the noise of a pixel: {cause} noise, which no electron made.",
        action=f"Take the {lines}' offsets off first (destripe); denoising keeps them as if they "
        "were specimen.",
    )


def _offsets(tiles: list[NDArray[np.float32]], view: View) -> tuple[float, float] | None:
    """Deviation of the lines' offsets in that of the noise, and what counts as none."""
    tiles = [tile for tile in tiles[::_EVERY] if min(tile.shape) >= _LEAST_SIDE]
    if view.scatter is None or not tiles:
        return None
    powers = [
        _common_power(tile) / float(view.deviation(np.array(np.median(tile)))) ** 2
        for tile in tiles
    ]
    power = float(np.median(powers)) / _MEDIAN_OF_POWERS
    # Two halves of w/2 pixels each, the median over h/4 frequencies: the chance of agreement.
    height, width = tiles[0].shape
    chance = 2.5 / (width * math.sqrt(height / 4 * len(tiles)))
    return math.sqrt(max(power, 0.0)), math.sqrt(max(_THRESHOLD**2, 4 * chance))


def _common_power(tile: NDArray[np.float32]) -> float:
    """Power per row of what the left and the right half's rows have in common, at its least.

    Second differences between rows let nothing slow pass, and their outliers are cut off, which
    leaves little of edges along the rows. Offsets of rows are white: they have the same power at
    every frequency, so the median over the fast half of them ignores the peaks of a lattice.
    """
    bent = tile[:-2] - 2 * tile[1:-1] + tile[2:]
    left, right = (_profile(half) for half in np.array_split(bent, 2, axis=1))
    window = np.hanning(len(left))
    spectra = [np.fft.rfft(side * window) for side in (left, right)]
    frequency = np.fft.rfftfreq(len(left))
    passed = (2 - 2 * np.cos(2 * np.pi * frequency)) ** 2 * np.square(window).sum()
    fast = frequency >= 0.25
    common = (spectra[0] * spectra[1].conj()).real
    return float(np.median(common[fast] / passed[fast]))


def _profile(half: NDArray[np.float32]) -> NDArray[np.float64]:
    """One value per row: the median over blocks of columns, without outliers."""
    count = max(1, half.shape[1] // _BLOCK)
    width = half.shape[1] // count
    blocks = half[:, : count * width].reshape(len(half), count, width).mean(axis=2)
    profile = np.median(blocks, axis=1).astype(np.float64)
    most = 3 * 1.4826 * float(np.median(np.abs(profile)))
    return np.asarray(np.clip(profile, -most, most))
