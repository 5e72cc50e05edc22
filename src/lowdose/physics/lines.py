"""Faults of whole lines, told from structure: white along the scan, and all along each line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

# Smaller images do not tell lines from structure.
LEAST_SIDE = 48
# The median of exponentially distributed powers is this share of their mean.
_MEDIAN_OF_POWERS = math.log(2)
# Faults beyond so many deviations are edges.
_EDGE, _EDGE_OF_HALVES = 4.0, 3.0
# Power is averaged over frequencies within this factor of each, and over three at least.
_BAND = 1.25
_ROUNDS = 8
# At least this part of the power of what lines differ by is no fault.
_LEAST_OTHER = 0.01


def from_neighbours(lines: NDArray[np.float64], apart: int) -> NDArray[np.float64]:
    """Each line of (lines, ...) less the mean of so many on either side of it, mirrored at ends."""
    wide = np.pad(lines, ((apart, apart), *[(0, 0)] * (lines.ndim - 1)), mode="symmetric")
    # Line by line, as np.cumsum along the first axis is not: it takes thirty times as long.
    total = np.stack(list(accumulate(wide, initial=np.zeros_like(wide[0]))))
    around = total[2 * apart + 1 :] - total[: -2 * apart - 1] - lines
    difference: NDArray[np.float64] = lines - around / (2 * apart)
    return difference


def most_likely(
    runs: NDArray[np.floating], weight: NDArray[np.floating] | float = 1.0
) -> NDArray[np.float64]:
    """Location of each line's runs if they are spread like Cauchy's, shape (lines,).

    Parameters
    ----------
    runs : ndarray, shape (lines, runs)
    weight : ndarray, like `runs`, or float
        One over the variance of each, in any unit; 0 for those that say nothing.
    """
    weight = np.broadcast_to(weight, runs.shape)
    middle, root = _middle(runs, weight), np.sqrt(weight)
    distance = root * np.abs(runs - middle[:, None])
    # The quieter half of all runs holds no edges: it tells the noise. One of a line is its middle.
    apart = distance[distance > 0]
    width = float(np.quantile(apart, 0.25)) / 0.3186 if len(apart) else 0.0
    for _ in range(_ROUNDS if width else 0):
        near = weight / (1 + (root * (runs - middle[:, None]) / width) ** 2)
        middle = (near * runs).sum(axis=1) / np.maximum(near.sum(axis=1), 1e-300)
    return np.asarray(middle, np.float64)


def common_power(left: NDArray[np.float64], right: NDArray[np.float64]) -> tuple[float, float]:
    """Variance of what the left and the right half of lines have in common, and that by chance.

    Differences between lines let nothing slow pass, and their outliers are cut off, which leaves
    little of edges along the lines. Faults are white: they have the same power at every
    frequency, so the median over the fast half of them ignores the peaks of a lattice.

    Parameters
    ----------
    left, right : ndarray, shape (lines,)
        By how much either half of each line differs from the mean of both beside it.

    Returns
    -------
    (float, float)
        Without faults the first is spread around 0 with a deviation of about the second, and is
        beyond four times that in one image of some hundred.
    """
    window = np.hanning(len(left))
    one, other = (np.fft.rfft(_cut_off(half) * window) for half in (left, right))
    frequency = np.fft.rfftfreq(len(left))
    passed = (1 - np.cos(2 * np.pi * frequency)) ** 2 * np.square(window).sum()
    fast = frequency >= 0.25
    common, of_one, of_other = (
        float(np.median((a * b.conj()).real[fast] / passed[fast])) / _MEDIAN_OF_POWERS
        for a, b in ((one, other), (one, one), (other, other))
    )
    apart = max(of_one * of_other - common**2, 0)
    return common, math.sqrt(apart / np.count_nonzero(fast))


def without_edges(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences of lines, those at an edge along all of the line put to zero."""
    is_edge = np.abs(difference) > _EDGE * _deviation(difference)
    return np.asarray(np.where(is_edge, 0, difference))


def white_part(
    compared: Iterable[tuple[int, NDArray[np.float64]]], power: float
) -> NDArray[np.float64]:
    r"""The faults of lines that are white, shape (lines,); slow ones look like structure and stay.

    A Wiener filter: at each frequency along the lines :math:`\hat o = h d / (h^2 + n / s)`, where
    :math:`h` is what comparing makes of a fault, :math:`s` its power, and :math:`n` all power of
    the difference :math:`d` beyond it. For each frequency the comparison that tells most is taken.

    Parameters
    ----------
    compared : iterable of (int, ndarray of shape (lines,))
        By how much lines differ from the mean of so many on either side: of few, over which
        structure changes little, and of more, which let slower faults be seen.
    power : float
        Variance of the faults.
    """
    seen = weight = np.zeros(1)
    for apart, difference in compared:
        spectrum, passed = _cosines(difference), _passed(len(difference), apart)
        found = _smooth(spectrum**2)
        other = np.maximum(found - power * passed**2, _LEAST_OTHER * found + 1e-12 * power)
        better = passed**2 / other > weight
        seen = np.where(better, passed * spectrum / other, seen)
        weight = np.where(better, passed**2 / other, weight)
    return _from_cosines(seen / (weight + 1 / power))


def _middle(runs: NDArray[np.floating], weight: NDArray[np.floating]) -> NDArray[np.floating]:
    """Median of each line's runs, of which some count for more."""
    order = np.argsort(runs, axis=1)
    below = np.cumsum(np.take_along_axis(weight, order, axis=1), axis=1)
    place = (below < below[:, -1:] / 2).sum(axis=1, keepdims=True)
    middle = np.take_along_axis(runs, np.take_along_axis(order, place, axis=1), axis=1)
    return np.asarray(middle[:, 0])


def _cut_off(profile: NDArray[np.float64]) -> NDArray[np.float64]:
    most = _EDGE_OF_HALVES * _deviation(profile)
    return np.asarray(np.clip(profile, -most, most))


def _deviation(values: NDArray[np.float64]) -> float:
    """Of normal numbers around 0, whatever a few outliers do."""
    some = np.abs(values[values != 0])
    return 1.4826 * float(np.median(some)) if len(some) else 0.0


def _passed(lines: int, apart: int) -> NDArray[np.float64]:
    """What is left of cosines by `from_neighbours`."""
    angle = np.pi * np.arange(lines + 1) / lines
    return np.asarray(1 - sum(np.cos(angle * (n + 1)) for n in range(apart)) / apart)


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
