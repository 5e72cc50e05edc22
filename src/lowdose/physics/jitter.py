"""Jitter: rows that an unsteady scan displaced along themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.dose import NoiseModel
from lowdose.physics.lines import (
    LEAST_SIDE,
    common_power,
    from_neighbours,
    most_likely,
    white_part,
    without_edges,
)

# Displacements are measured in runs of so many pixels, of an image that a Gaussian of so many
# blurred along the rows, so that every second pixel tells all.
_RUN, _BLUR, _STEP = 64, 2.0, 2
# A row is compared with so many on either side.
_NEIGHBOURS = 1, 2, 4, 16
# Deviation of the displacements in pixels, and so many times what chance makes of their power: in
# one of 648 exposures of simulated truths, 64 pixels a side and more, none of 675 good images.
VISIBLE, SURE = 0.2, 4.0
# Each time rows are compared they are nearer to where they belong.
_ROUNDS = 4
# No row is moved by more pixels.
_FARTHEST = 16.0
# So many rows are transformed at a time, continued by so many pixels beyond either end.
_ROWS, _BEYOND = 128, 32
# Of the windowed sinc by which rows are moved, on either side.
_LOBES = 12


@dataclass(frozen=True)
class Jitter:
    """Displacements of rows, in pixels.

    Parameters
    ----------
    rows : ndarray, shape (H,), float64
        What lies at x in a row belongs to x + this; 0 where rows are where they belong.
    strength : float
        Deviation of the displacements; 0 without any.
    """

    rows: NDArray[np.float64]
    strength: float


def find_jitter(frame: NDArray[Any], noise: NoiseModel) -> Jitter:
    r"""Measure how far rows are displaced along themselves, against those beside them.

    A row :math:`y` that differs from the mean :math:`m` of rows on either side by a displacement
    :math:`\delta` differs by :math:`\delta\, m'`, so :math:`\delta` is the sum of
    :math:`(y - m)\, m'` over that of :math:`m'^2` [1]_, in runs of 64 pixels whose offsets are left
    out, and of which the most likely is taken. The jitter of a scan is white: the displacement of
    a row says nothing of those beside it, and all of the row has the same. An edge of the specimen
    that slants or bends is neither (`lowdose.physics.lines.white_part`). With the rows put back by
    what is found, they are compared anew. Slow displacements, which look like the shape of the
    specimen, stay.

    Parameters
    ----------
    frame : ndarray, shape (H, W)
        Pixels as stored, scanned along the rows.
    noise : NoiseModel
        Of these pixels: without noise nothing is asked.

    References
    ----------
    .. [1] B. D. Lucas, T. Kanade, Proc. 7th IJCAI, 674 (1981).
    """
    rows, power = np.zeros(len(frame)), 0.0
    none = Jitter(rows, 0.0)
    if noise.is_noise_free or min(frame.shape) < LEAST_SIDE:
        return none
    for _ in range(_ROUNDS):
        measured = _measured(frame, rows, _NEIGHBOURS)
        power, chance = _power(measured[_NEIGHBOURS[0]], rows)
        if not power > max(VISIBLE**2, SURE * chance):
            return none
        compared = []
        for apart, (displacement, weight) in measured.items():
            rest = without_edges(most_likely(displacement, weight))
            compared.append((apart, from_neighbours(rows, apart) + rest))
        rows = white_part(compared, power).clip(-_FARTHEST, _FARTHEST)
    return Jitter(rows, math.sqrt(power))


def jitter_power(frame: NDArray[Any]) -> tuple[float, float]:
    """Variance of the displacements of rows in square pixels, and what chance makes of it.

    Parameters
    ----------
    frame : ndarray, shape (H, W)
        Sides of at least `lowdose.physics.lines.LEAST_SIDE`.
    """
    rows = np.zeros(len(frame))
    return _power(_measured(frame, rows, _NEIGHBOURS[:1])[_NEIGHBOURS[0]], rows)


def put_back(frame: NDArray[Any], rows: NDArray[np.float64]) -> Iterator[NDArray[np.floating]]:
    """The rows of an image, each moved to where it belongs.

    By Lanczos' windowed sinc of twelve pixels on either side, which takes an eighteenth of the
    variance of white noise at most. Where a row is moved away from an end its pixels are mirrored.

    Parameters
    ----------
    frame : ndarray, shape (H, W)
        Pixels as stored.
    rows : ndarray, shape (H,)
        Displacements, see `Jitter`; at most 16 pixels.

    Yields
    ------
    ndarray, shape (W,)
        The next row, at least float32.
    """
    reach, width = math.ceil(_FARTHEST) + _LOBES, frame.shape[1]
    for row, displacement in zip(frame, rows, strict=True):
        whole = math.floor(-displacement)
        distance = -displacement - whole - np.arange(1 - _LOBES, _LOBES + 1)
        weight = np.sinc(distance) * np.sinc(distance / _LOBES)
        wide = np.pad(row.astype(np.result_type(row.dtype, np.float32)), reach, mode="symmetric")
        start = reach + whole + 1 - _LOBES
        seen = wide[start : start + width + 2 * _LOBES - 1]
        kernel = (weight / weight.sum())[::-1].astype(wide.dtype)
        yield np.convolve(seen, kernel, mode="valid")


def _measured(
    frame: NDArray[Any], rows: NDArray[np.float64], neighbours: tuple[int, ...]
) -> dict[int, NDArray[np.float64]]:
    """Displacement of each run against so many rows on either side, and what it weighs, of rows
    that were put back by so many pixels; shape (2, H, runs) for each of `neighbours`.
    """
    reach = max(neighbours)
    found: dict[int, list[NDArray[np.float64]]] = {each: [] for each in neighbours}
    for top in range(0, len(frame), _ROWS):
        wide = slice(max(top - reach, 0), min(top + _ROWS + reach, len(frame)))
        inner = slice(top - wide.start, min(top + _ROWS, len(frame)) - wide.start)
        smooth = _blurred(frame[wide], rows[wide])
        for apart, parts in found.items():
            difference = from_neighbours(smooth, apart)[inner]
            parts.append(_fitted(smooth[inner] - difference, difference))
    return {apart: np.concatenate(parts, axis=1) for apart, parts in found.items()}


def _fitted(around: NDArray[np.float64], difference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Displacement of runs by least squares, and the squares of the slope that it is known by.

    Beside an offset of each run, which a stripe or an unsteady beam makes.
    """
    slope, difference = map(_runs, (np.gradient(around, _STEP, axis=1), difference))
    slope -= slope.mean(axis=2, keepdims=True)
    weight, product = ((slope * each).sum(axis=2) for each in (slope, difference))
    return np.stack([product / np.maximum(weight, 1e-300), weight])


def _runs(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Runs along the rows, shape (H, runs, length)."""
    run = min(_RUN // _STEP, pixels.shape[1] // 2)
    count = pixels.shape[1] // run
    return pixels[:, : count * run].reshape(len(pixels), count, run)


def _power(measured: NDArray[np.float64], rows: NDArray[np.float64]) -> tuple[float, float]:
    """Variance of the displacements, and what chance makes of it."""
    before = from_neighbours(rows, _NEIGHBOURS[0])
    halves = (most_likely(*half) for half in np.array_split(measured, 2, axis=2))
    return common_power(*(before + rest for rest in halves))


def _blurred(part: NDArray[Any], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every second pixel of rows put back, of which a Gaussian leaves nothing finer."""
    pixels = part.astype(np.result_type(part.dtype, np.float32))
    right = _BEYOND + -part.shape[1] % (2 * _STEP)
    wide = np.pad(pixels, ((0, 0), (_BEYOND, right)), mode="symmetric")
    length = wide.shape[1]
    frequency = np.arange(length // (2 * _STEP) + 1) / length
    kept = np.exp(-2j * np.pi * frequency * rows[:, None] - 2 * (np.pi * _BLUR * frequency) ** 2)
    spectrum = np.fft.rfft(wide, axis=1)[:, : len(frequency)]
    spectrum *= kept.astype(spectrum.dtype) / _STEP
    left = _BEYOND // _STEP
    blurred = np.fft.irfft(spectrum, length // _STEP, axis=1)[:, left:]
    return np.asarray(blurred[:, : part.shape[1] // _STEP], np.float64)
