"""Stripes: offsets of whole rows or columns, as scans and readout electronics leave them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.dose import NoiseModel

# Pixels of a line that are averaged before robust estimates over what is left of it.
_RUN = 32
# Smaller images do not tell stripes from structure.
LEAST_SIDE = 48
# Deviation of the offsets, in those of the noise of a pixel. In 270 good images they measure 0.11
# at most; offsets of 0.5 measure 0.37 at least.
_VISIBLE = 0.15
# The median of exponentially distributed powers is this share of their mean.
_MEDIAN_OF_POWERS = math.log(2)
# A line is compared with so many on either side: few, over which structure changes little, and
# more, which let slower offsets be seen.
_NEIGHBOURS = 1, 4, 16
# Power is averaged over frequencies within this factor of each, and over three at least.
_BAND = 1.25
_ROUNDS = 8
# A line that differs by more than so many deviations is at an edge along all of it, and left alone.
_EDGE = 4.0


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
    r"""Measure how much brighter or darker whole rows and columns are than those beside them.

    Offsets are white: those of a line say nothing of those beside it. Structure is not, and few
    parts of a line have the same. So each run of 32 pixels is compared with those before and after
    it, and of all runs of a line the most likely difference :math:`d` is taken (of a Cauchy
    distribution, so that edges count little). A Wiener filter makes offsets of them: at each
    frequency along the lines :math:`\hat o = h d / (h^2 + n / s)`, where :math:`h` is what
    comparing makes of an offset, :math:`s` the power that the two halves of lines have in common,
    and :math:`n` all power of :math:`d` beyond it. Lines are compared with one, four and sixteen
    on either side, and for each frequency the best of these is taken. Slow offsets, which look
    like structure, stay.

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
        variance = float(noise.noise_std(np.array(np.median(means)))) ** 2
        halves = np.array_split(noise.noise_std(means) ** 2, 2, axis=1)
        uneven = math.sqrt(halves[0].mean() * halves[1].mean()) / max(variance, 1e-300)
        least = least_power(len(means), frame.size // len(means), uneven=uneven)
        power = common_power(means)
        if power > least * variance > 0:
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


def common_power(means: NDArray[np.float64]) -> float:
    """Variance of what the left and the right half of lines have in common, at its least.

    Second differences between lines let nothing slow pass, and their outliers are cut off, which
    leaves little of edges along the lines. Offsets are white: they have the same power at every
    frequency, so the median over the fast half of them ignores the peaks of a lattice.

    Parameters
    ----------
    means : ndarray, shape (lines, runs)
        As of `line_means`.
    """
    bent = means[:-2] - 2 * means[1:-1] + means[2:]
    window = np.hanning(len(bent))
    halves = np.array_split(bent, 2, axis=1)
    left, right = (np.fft.rfft(_typical(half) * window) for half in halves)
    frequency = np.fft.rfftfreq(len(bent))
    passed = (2 - 2 * np.cos(2 * np.pi * frequency)) ** 2 * np.square(window).sum()
    fast = frequency >= 0.25
    common = (left * right.conj()).real
    return float(np.median(common[fast] / passed[fast])) / _MEDIAN_OF_POWERS


def least_power(lines: int, length: int, *, images: int = 1, uneven: float = 1.0) -> float:
    """Power of offsets that can be seen and is not due to chance, in variances of the noise.

    Parameters
    ----------
    lines, length : int
        Lines of an image and pixels of each.
    images : int
        Alike, of which the median power is taken.
    uneven : float
        Mean variance of the noise of either half of the lines, over that at the median.
    """
    # Two halves of so many pixels, the median over a quarter of all frequencies: the chance that
    # they agree.
    chance = 2.5 / (length * math.sqrt(lines / 4 * images))
    return max(_VISIBLE**2, 4 * chance * uneven)


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


def _typical(runs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of each line's runs, without outliers."""
    profile = np.median(runs, axis=1)
    most = 3 * _deviation(profile)
    return np.asarray(np.clip(profile, -most, most))


def _deviation(values: NDArray[np.float64]) -> float:
    """Of normal numbers around 0, whatever a few outliers do."""
    return 1.4826 * float(np.median(np.abs(values)))


def _offsets(means: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """The part of the offsets, of this power, that is no structure; shape (lines,)."""
    lines = len(means)
    seen, weight = np.zeros(lines + 1), np.zeros(lines + 1)
    for apart in _NEIGHBOURS:
        middle, error = _most_likely(_from_neighbours(means, apart))
        middle[np.abs(middle) > _EDGE * _deviation(middle)] = 0
        spectrum = _cosines(middle)
        passed = _passed(lines, apart)
        beyond = _smooth(spectrum**2) - power * passed**2
        other = np.maximum(beyond, max(error**2, 1e-6 * power))
        better = passed**2 / other > weight
        seen = np.where(better, passed * spectrum / other, seen)
        weight = np.where(better, passed**2 / other, weight)
    return _from_cosines(seen / (weight + 1 / power))


def _from_neighbours(means: NDArray[np.float64], apart: int) -> NDArray[np.float64]:
    """Each line less the mean of so many on either side of it."""
    wide = np.pad(means, ((apart, apart), (0, 0)), mode="symmetric")
    total = np.cumsum(np.pad(wide, ((1, 0), (0, 0))), axis=0)
    around = total[2 * apart + 1 :] - total[: -2 * apart - 1] - means
    difference: NDArray[np.float64] = means - around / (2 * apart)
    return difference


def _passed(lines: int, apart: int) -> NDArray[np.float64]:
    """What is left of cosines by `_from_neighbours`."""
    angle = np.pi * np.arange(lines + 1) / lines
    return np.asarray(1 - sum(np.cos(angle * (n + 1)) for n in range(apart)) / apart)


def _most_likely(runs: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Location of each line's runs if they are spread like Cauchy's, and its error."""
    middle = np.median(runs, axis=1)
    # The quieter half of all runs holds no edges: it tells the noise.
    width = float(np.quantile(np.abs(runs - middle[:, None]), 0.25)) / 0.3186
    for _ in range(_ROUNDS if width else 0):
        weight = 1 / (1 + ((runs - middle[:, None]) / width) ** 2)
        middle = (weight * runs).sum(axis=1) / weight.sum(axis=1)
    return middle, width / math.sqrt(runs.shape[1])


def _cosines(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine transform that keeps sums of squares, of values mirrored beyond both ends."""
    both = np.concatenate([values, values[::-1]])
    turned = np.exp(-0.5j * np.pi * np.arange(len(values) + 1) / len(values))
    return np.asarray((np.fft.rfft(both) * turned).real / math.sqrt(2 * len(values)))


def _from_cosines(spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
    lines = len(spectrum) - 1
    turned = np.exp(0.5j * np.pi * np.arange(lines + 1) / lines)
    return np.fft.irfft(spectrum * turned, 2 * lines)[:lines] * math.sqrt(2 * lines)


def _smooth(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over a band around each frequency."""
    total = np.cumsum(np.pad(power, (1, 0)))
    place = np.arange(len(power))
    first = np.minimum((place / _BAND).astype(int), len(power) - 3).clip(0)
    last = np.maximum(first + 3, np.ceil(place * _BAND).astype(int) + 1).clip(max=len(power))
    return np.asarray((total[last] - total[first]) / (last - first))
