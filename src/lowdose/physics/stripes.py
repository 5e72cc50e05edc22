"""Stripes: offsets of whole rows or columns, as scans and readout electronics leave them."""

from __future__ import annotations

import math
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

# Pixels of a line that are averaged before robust estimates over what is left of it.
_RUN = 32
# Deviation of the offsets, in those of the noise of a pixel. In 270 good images they measure 0.11
# at most; offsets of 0.5 measure 0.37 at least.
VISIBLE = 0.15
# So many times what chance makes of their power is seen: halves of lines may differ in noise.
SURE = 4.5
# A line is compared with so many on either side.
_NEIGHBOURS = 1, 4, 16


@dataclass(frozen=True)
class Stripes:
    """Offsets of lines, in pixel units.

    Parameters
    ----------
    rows : ndarray, shape (H, 1), float32
        Of each row; 0 where rows have none.
    columns : ndarray, shape (1, W), float32
        Of each column.
    strength : float
        Deviation of the stronger ones, in deviations of the noise of a pixel; 0 without any.
    """

    rows: NDArray[np.float32]
    columns: NDArray[np.float32]
    strength: float


def find_stripes(frame: NDArray[Any], noise: NoiseModel) -> Stripes:
    """Measure how much brighter or darker whole rows and columns are than those beside them.

    Offsets are white: those of a line say nothing of those beside it. Structure is not, and few
    parts of a line have the same. So each run of 32 pixels is compared with those before and after
    it, and of all runs of a line the most likely difference is taken (of a Cauchy
    distribution, so that edges count little). A Wiener filter makes offsets of them, whose power is
    what the two halves of lines have in common (`lowdose.physics.lines.white_part`). Slow offsets,
    which look like structure, stay.

    Parameters
    ----------
    frame : ndarray, shape (H, W)
        Pixels as stored.
    noise : NoiseModel
        Of these pixels: offsets below 0.15 of its deviation, or that chance would make, are none.

    Returns
    -------
    Stripes
    """
    height, width = frame.shape
    rows, columns = np.zeros((height, 1), np.float32), np.zeros((1, width), np.float32)
    if noise.is_noise_free or min(frame.shape) < LEAST_SIDE:
        return Stripes(rows, columns, 0.0)
    strengths = [0.0]
    for means, offsets in zip(_means_of_lines(frame), (rows[:, 0], columns[0]), strict=True):
        # Never less than that of an electron, which pixels below the offset seem to have.
        variance = max(float(noise.noise_std(np.array(np.median(means)))), noise.gain) ** 2
        power, chance = stripe_power(means)
        if power > max(VISIBLE**2 * variance, SURE * chance):
            offsets[...] = _offsets(means, power)
            strengths.append(math.sqrt(power / variance))
    return Stripes(rows, columns, max(strengths))


def line_means(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Mean of each run of up to 32 pixels along the rows, two or more a row; shape (H, runs)."""
    run = _run(pixels.shape[1])
    count = pixels.shape[1] // run
    runs = pixels[:, : count * run].reshape(len(pixels), count, run)
    means: NDArray[np.float64] = runs.mean(axis=2, dtype=np.float64)
    return means


def stripe_power(means: NDArray[np.float64]) -> tuple[float, float]:
    """Variance of the offsets of lines, and what chance makes of it.

    Parameters
    ----------
    means : ndarray, shape (lines, runs)
        As of `line_means`.
    """
    bent = means[1:-1] - (means[:-2] + means[2:]) / 2
    return common_power(*(np.median(half, axis=1) for half in np.array_split(bent, 2, axis=1)))


def _run(length: int) -> int:
    return min(_RUN, length // 2)


def _means_of_lines(frame: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of runs along rows, and along columns, reading a few rows at a time."""
    run = _run(len(frame))
    strips = [frame[top : top + run] for top in range(0, len(frame), run)]
    along_rows, along_columns = [], []
    for strip in strips:
        along_rows.append(line_means(strip))
        if len(strip) == run:
            along_columns.append(strip.mean(axis=0, dtype=np.float64))
    return np.concatenate(along_rows), np.stack(along_columns, axis=1)


def _offsets(means: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """The part of the offsets, of this power, that is no structure; shape (lines,)."""
    differences = (most_likely(from_neighbours(means, apart)) for apart in _NEIGHBOURS)
    return white_part(zip(_NEIGHBOURS, map(without_edges, differences), strict=True), power)
