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
    SURE,
    Compared,
    common_power,
    from_neighbours,
    most_likely,
    white_part,
    without_edges,
)

# Displacements are measured in runs of so many pixels, of an image that a Gaussian of so many
# blurred along the rows, so that every second pixel tells all.
_RUN, _BLUR, _STEP = 32, 2.0, 2
# A row is compared with so many on either side.
_NEIGHBOURS = 1, 2, 4, 16
# Deviation of the displacements in pixels.
VISIBLE = 0.2
# Each time rows are compared they are nearer to where they belong.
_ROUNDS = 4
# No row is moved by more pixels.
_FARTHEST = 16.0
# So many rows are transformed at a time, continued by so many pixels beyond either end.
_ROWS, _BEYOND = 128, 32


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
    :math:`(y - m)\, m'` over that of :math:`m'^2` [1]_, for runs of 32 pixels, of which the most
    likely is taken. The jitter of a scan is white: the displacement of a row says nothing of those
    beside it, and all of the row has the same. An edge of the specimen that slants or bends is
    neither (`lowdose.physics.lines.white_part`). With the rows put back by what is found, they
    are compared anew. Slow displacements, which look like the shape of the specimen, stay.

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
        if power <= max(VISIBLE**2, SURE * chance):
            return none
        compared = []
        for apart, (displacement, weight) in measured.items():
            rest, error = most_likely(displacement, weight)
            moved = from_neighbours(rows, apart) + without_edges(rest)
            compared.append(Compared(apart, moved, error))
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
    """Rows moved to where they belong, a few at a time.

    By the Fourier transform of each: noise that was white stays so. Where a row is moved away from
    an end its pixels are mirrored.

    Parameters
    ----------
    frame : ndarray, shape (H, W)
        Pixels as stored.
    rows : ndarray, shape (H,)
        Displacements, see `Jitter`.

    Yields
    ------
    ndarray, shape (h, W)
        The next rows, at least float32.
    """
    for top in range(0, len(frame), _ROWS):
        part = slice(top, top + _ROWS)
        yield _moved(frame[part], rows[part])


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
    """Displacement of runs by least squares, and the squares of the slope that it is known by."""
    slope = np.gradient(around, _STEP, axis=1)
    weight, product = (_sums_of_runs(slope * each) for each in (slope, difference))
    return np.stack([product / np.maximum(weight, 1e-300), weight])


def _sums_of_runs(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    run = min(_RUN // _STEP, pixels.shape[1] // 2)
    count = pixels.shape[1] // run
    sums: NDArray[np.float64] = pixels[:, : count * run].reshape(len(pixels), count, run).sum(2)
    return sums


def _power(measured: NDArray[np.float64], rows: NDArray[np.float64]) -> tuple[float, float]:
    """Variance of the displacements, and what chance makes of it."""
    before = from_neighbours(rows, _NEIGHBOURS[0])
    halves = (most_likely(*half)[0] for half in np.array_split(measured, 2, axis=2))
    return common_power(*(before + rest for rest in halves))


def _blurred(part: NDArray[Any], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every second pixel of rows put back, of which a Gaussian leaves nothing finer."""
    beyond = _BEYOND, _BEYOND + -part.shape[1] % (2 * _STEP)
    spectrum, length = _spectrum(part, rows, beyond)
    coarse = spectrum[:, : length // (2 * _STEP) + 1]
    coarse *= np.exp(-2 * (np.pi * _BLUR * np.arange(coarse.shape[1]) / length) ** 2)
    left = _BEYOND // _STEP
    blurred = np.fft.irfft(coarse, length // _STEP, axis=1)[:, left : left + part.shape[1] // _STEP]
    return np.asarray(blurred / _STEP, np.float64)


def _moved(part: NDArray[Any], rows: NDArray[np.float64]) -> NDArray[np.floating]:
    width = part.shape[1]
    spectrum, length = _spectrum(part, rows, (width, width))
    moved = np.fft.irfft(spectrum, length, axis=1)[:, width : 2 * width]
    return np.asarray(moved, _float_type(part))


def _spectrum(
    part: NDArray[Any], rows: NDArray[np.float64], beyond: tuple[int, int]
) -> tuple[NDArray[np.complexfloating], int]:
    """Fourier transform of rows put back, mirrored beyond either end; and of how many pixels."""
    wide = np.pad(part.astype(_float_type(part)), ((0, 0), beyond), mode="symmetric")
    length = wide.shape[1]
    turned = np.exp(-2j * np.pi * np.fft.rfftfreq(length) * rows[:, None])
    return np.fft.rfft(wide, axis=1) * turned.astype(np.result_type(wide, np.complex64)), length


def _float_type(pixels: NDArray[Any]) -> np.dtype[Any]:
    return np.result_type(pixels.dtype, np.float32)
