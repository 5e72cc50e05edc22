"""Photon transfer from one image: how the noise variance grows with the mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 8
# Of the block variances at one intensity this fraction is from homogeneous places, even in
# images full of structure.
QUANTILE = 0.2
# That quantile of the block variance of white Gaussian noise of variance 1, by simulation of
# 2e6 blocks (tests/physics/test_scatter.py repeats it with fewer).
QUANTILE_OF_UNIT_NOISE = 0.6499
_BINS = 32
_LEAST_BLOCKS = 24


@dataclass(frozen=True)
class Scatter:
    """Noise variance against mean over the homogeneous parts of an image.

    Parameters
    ----------
    mean, variance : ndarray, shape (K,)
        Per bin of intensity, in pixel units and their square; darkest first.
    blocks : ndarray of int, shape (K,)
        Blocks of 8 x 8 pixels behind each.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    blocks: NDArray[np.int64]


@dataclass(frozen=True)
class Line:
    """``variance = slope * mean + intercept`` with the standard error of the slope."""

    slope: float
    intercept: float
    slope_std: float

    def at(self, mean: NDArray[np.float64]) -> NDArray[np.float64]:
        """Variance on the line."""
        return self.slope * mean + self.intercept


def measure_scatter(windows: Iterable[NDArray[Any]]) -> Scatter | None:
    """Measure block means and variances and reduce them to one point per intensity.

    The variance of a block is that of its second differences both ways [1]_, which no ramp or
    straight edge along an axis disturbs; per intensity the 20 % quantile is taken, so that
    structure in most blocks does not matter, and corrected to the mean of pure noise.

    Parameters
    ----------
    windows : iterable of ndarray, shape (H, W)
        Parts of the image.

    Returns
    -------
    Scatter or None
        None where there are too few blocks to tell.

    References
    ----------
    .. [1] J. Immerkær, Comput. Vis. Image Underst. 64, 300 (1996).
    """
    pairs = [_block_statistics(window) for window in windows]
    mean = np.concatenate([m for m, _ in pairs] or [np.empty(0)])
    variance = np.concatenate([v for _, v in pairs] or [np.empty(0)])
    # A constant block is a mask, a border or a clipped area, unless nothing arrived there.
    alive = (variance > 0) | (mean == 0)
    mean, variance = mean[alive], variance[alive]
    bins = min(_BINS, len(mean) // _LEAST_BLOCKS)
    if bins == 0:
        return None
    order = np.array_split(np.argsort(mean, kind="stable"), bins)
    return Scatter(
        np.array([mean[i].mean() for i in order]),
        np.array([np.quantile(variance[i], QUANTILE) for i in order]) / QUANTILE_OF_UNIT_NOISE,
        np.array([len(i) for i in order]),
    )


def fit_line(scatter: Scatter) -> Line:
    """Fit the photon-transfer line, robustly: bins far above it count little.

    The weights follow the line itself, since a variance is known to a fixed fraction of its
    value, and fade for bins beyond the typical residual (Cauchy).
    """
    mean, variance = scatter.mean, scatter.variance
    # Around their centre and over their width, so that the unit of the pixels does not matter.
    centre, width = float(mean.mean()), float(np.ptp(mean)) or 1.0
    design = np.stack([(mean - centre) / width, np.ones_like(mean)], axis=1)
    expected = np.maximum(variance, variance.mean() * 1e-3)
    trust = np.ones_like(mean)
    for _ in range(20):
        weight = np.sqrt(scatter.blocks * trust) / expected
        (slope, intercept), *_ = np.linalg.lstsq(design * weight[:, None], variance * weight, None)
        line = np.maximum(design @ (slope, intercept), variance.mean() * 1e-3)
        excess = (variance - line) / line
        spread = max(1.48 * float(np.median(np.abs(excess))), 0.01)
        trust = 1 / (1 + (excess / (2 * spread)) ** 2)
        expected = line
    normal = (design * weight[:, None]).T @ (design * weight[:, None])
    residual = np.average(excess**2, weights=trust) * scatter.blocks.mean()
    covariance = np.linalg.pinv(normal) * residual
    slope, slope_std = float(slope) / width, float(np.sqrt(max(covariance[0, 0], 0))) / width
    return Line(slope, float(intercept) - slope * centre, slope_std)


def _block_statistics(window: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and noise variance of each whole block, flattened."""
    rows, columns = (length // BLOCK for length in window.shape)
    image = window[: rows * BLOCK, : columns * BLOCK].astype(np.float64)
    blocks = image.reshape(rows, BLOCK, columns, BLOCK)
    down = blocks[:, :-2] - 2 * blocks[:, 1:-1] + blocks[:, 2:]
    curvature = down[..., :-2] - 2 * down[..., 1:-1] + down[..., 2:]
    # The squares of (1, -2, 1) x (1, -2, 1) add up to 36.
    variance = np.square(curvature, out=curvature).mean(axis=(1, 3)) / 36
    return blocks.mean(axis=(1, 3)).ravel(), variance.ravel()
