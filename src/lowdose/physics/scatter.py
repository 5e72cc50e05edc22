"""Photon transfer from one image: how the noise variance grows with the mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.scatter_network import (
    ENERGY,
    FEWEST_INTENSITIES,
    INTENSITIES,
    MEAN,
    allow_for,
    quantile,
    seems_white,
)

BLOCK = 8
# Of the block variances at one intensity this fraction is from homogeneous places, even in
# images full of structure.
QUANTILE = 0.2
# That quantile of the block variance of white Gaussian noise of variance 1, by simulation of
# 2e6 blocks (tests/physics/test_scatter.py repeats it with fewer).
QUANTILE_OF_UNIT_NOISE = 0.6499
# Correlation below this is taken for none beside a lattice.
_LEAST_CORRELATION = 0.12
# Standard deviations of Gaussian blurs, in pixels, by which correlation is told from curvatures.
_WIDTHS = tuple(0.1 * step for step in range(16))
_PIXELS_AT_A_TIME = 1 << 17
_LEAST_BLOCKS = 24
# White noise of which second differences see all but so much is left as it is measured, which is
# more exact.
_PLAIN = 0.05
# Relative deviation of a bin's variance of white noise, times the root of its blocks.
CHANCE = 0.6
# Fewer bins may be near a line by chance, as two always are.
_MANY_BINS = 8
# A line is fitted again with the weights of the one before, until it changes by less than this.
_MOST_STEPS, _SETTLED = 20, 1e-6


@dataclass(frozen=True)
class Scatter:
    """Noise variance against mean over the homogeneous parts of an image.

    Parameters
    ----------
    mean, variance : ndarray, shape (K,)
        Per bin of intensity, in pixel units and their square; darkest first.
    blocks : ndarray of int, shape (K,)
        Blocks of 8 x 8 pixels behind each.
    correlation : (float, float)
        Of the noise of neighbours along y and along x; the variance allows for it.
    is_white : bool
        Whether neighbours were seen to have noise of their own; small images do not tell.
    if_white : Scatter, optional
        As it was before blur and texture were allowed for; None where too little was seen to.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    blocks: NDArray[np.int64]
    correlation: tuple[float, float] = (0.0, 0.0)
    is_white: bool = False
    if_white: Scatter | None = None


@dataclass(frozen=True)
class Line:
    """``variance = slope * mean + intercept``.

    Parameters
    ----------
    slope, intercept : float
        In pixel units and their square.
    slope_std : float
        Standard error of the slope.
    spread : float
        Median distance of the bins from the line, as a fraction of its variance.
    """

    slope: float
    intercept: float
    slope_std: float
    spread: float = 0.0

    @property
    def least(self) -> float:
        """Lower end of the slope's uncertainty."""
        return self.slope - self.slope_std

    def at(self, mean: NDArray[np.float64]) -> NDArray[np.float64]:
        """Variance on the line."""
        return self.slope * mean + self.intercept


def measure_scatter(
    windows: Iterable[NDArray[Any]], *, as_if_white: bool = False
) -> Scatter | None:
    """Measure block means and variances, and what blur and fine texture make of the latter.

    The variance of a block is that of its second differences both ways [1]_, which no ramp or
    straight edge along an axis disturbs; per intensity the 20 % quantile is taken, so that
    structure in most blocks does not matter, and corrected to the mean of pure noise. Where an
    image was blurred or interpolated after its noise arose, second differences see too little of
    it: how much, a network reads from more statistics of the same blocks, see
    `lowdose.physics.scatter_network`.

    Parameters
    ----------
    windows : iterable of ndarray, shape (H, W)
        Parts of the image.
    as_if_white : bool
        Leave out what the network says, which takes three quarters of the time.

    Returns
    -------
    Scatter or None
        None where there are too few blocks to tell.

    References
    ----------
    .. [1] J. Immerkær, Comput. Vis. Image Underst. 64, 300 (1996).
    """
    bins = _bins(windows, _means_and_energies if as_if_white else _block_statistics)
    if not bins.shape[1]:
        return None
    white = _scatter(bins)
    noisy = white.variance > 0  # where nothing arrived there is none
    if as_if_white or noisy.sum() < FEWEST_INTENSITIES:
        return white
    factor, correlation = allow_for(bins[:, noisy], white.variance[noisy])
    is_white = (
        not any(correlation) and len(white.mean) == INTENSITIES and seems_white(bins[:, noisy])
    )
    variance = white.variance.copy()
    if any(correlation) or abs(np.log(np.median(factor))) > _PLAIN:
        variance[noisy] *= factor
    return Scatter(white.mean, variance, white.blocks, correlation, is_white, white)


def scatter_beside_lattice(lattice: NDArray[np.float64], rest: NDArray[np.float64]) -> Scatter:
    """Reduce what is left of an image without its lattice to one point per intensity.

    Where an image is all lattice it has no homogeneous parts; but the lattice known, each of its
    pixels has an intensity of its own, from the dark between atoms to their bright middles. How
    second differences of the rest correlate tells how much of the noise they see.

    Parameters
    ----------
    lattice, rest : ndarray, shape (N, H, W)
        As of `lowdose.physics.lattice.apart_from_lattice`.
    """
    curvature = _curvature(rest)
    energy = float(np.square(curvature).mean())
    products = (curvature[:, :-1] * curvature[:, 1:]), (curvature[..., :-1] * curvature[..., 1:])
    (down, of_down), (across, of_across) = (
        _correlation_of(float(each.mean()) / energy) for each in products
    )
    seen = of_down * of_across
    intensity = _as_curvature_sees(lattice).ravel()
    order = np.array_split(np.argsort(intensity, kind="stable"), INTENSITIES)
    squares = np.square(curvature).ravel() / seen
    return Scatter(
        np.array([intensity[some].mean() for some in order]),
        np.array([squares[some].mean() for some in order]),
        np.array([len(some) // BLOCK**2 for some in order]),
        (down, across),
        is_white=not (down or across),
    )


def _correlation_of(ratio: float) -> tuple[float, float]:
    """Correlation of neighbours whose second differences correlate so, and the part these see.

    0 and 1 where it may be chance. That of second differences of white noise is -2/3; Gaussian
    blur changes it to what convolution says.
    """
    # With torch, which whoever knows of a lattice has imported.
    from lowdose.physics.correlation import gaussian_taps, neighbour_correlation

    blurs = [gaussian_taps(width) for width in _WIDTHS]
    curved = [blur.new_tensor(np.convolve(blur, (1, -2, 1))) for blur in blurs]
    of_curvature, of_noise = (list(map(neighbour_correlation, each)) for each in (curved, blurs))
    correlation = float(np.interp(ratio, of_curvature, of_noise))
    if correlation <= _LEAST_CORRELATION:
        return 0.0, 1.0
    pairs = zip(curved, blurs, strict=True)
    seen = [float(bend.square().sum() / blur.square().sum()) / 6 for bend, blur in pairs]
    return correlation, float(np.interp(ratio, of_curvature, seen))


def _as_curvature_sees(lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intensities of which the noise is that of second differences: squares of (1, -2, 1) apart."""
    rows = lattice[:, :-2] + 4 * lattice[:, 1:-1] + lattice[:, 2:]
    both: NDArray[np.float64] = (rows[..., :-2] + 4 * rows[..., 1:-1] + rows[..., 2:]) / 36
    return both


def _scatter(bins: NDArray[np.float64]) -> Scatter:
    return Scatter(
        bins[MEAN].mean(axis=1),
        quantile(bins[ENERGY], QUANTILE) / QUANTILE_OF_UNIT_NOISE,
        np.full(bins.shape[1], bins.shape[2]),
    )


def _bins(
    windows: Iterable[NDArray[Any]], statistics: Callable[[NDArray[Any]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Statistics of the blocks of all windows, by intensity, darkest first.

    Shape (statistics, intensities, blocks): intensities of as many blocks each, maybe none.
    """
    parts = [statistics(strip) for window in windows for strip in _strips(window)]
    parts = parts or [np.empty((2, 0))]
    blocks = np.concatenate(parts, axis=1)
    # A constant block is a mask, a border or a clipped area, unless nothing arrived there.
    blocks = blocks[:, (blocks[1] > 0) | (blocks[0] == 0)]
    found = blocks.shape[1]
    count = min(INTENSITIES, found // _LEAST_BLOCKS)
    taken = found - found % count if count else 0  # the few beyond are left out, here and there
    order = np.argsort(blocks[0], kind="stable")[np.arange(taken) * found // max(taken, 1)]
    return blocks[:, order].reshape(len(blocks), count, taken // count if count else 0)


def fit_line(scatter: Scatter) -> Line:
    """Fit the photon-transfer line, robustly: bins far above it count little.

    The weights follow the line itself, since a variance is known to a fixed fraction of its
    value, and fade for bins beyond the typical residual (Cauchy).
    """
    mean, variance = scatter.mean, scatter.variance
    # Around their centre and over their width, so that the unit of the pixels does not matter.
    centre, width = float(mean.mean()), float(np.ptp(mean)) or 1.0
    place = (mean - centre) / width
    expected = np.maximum(variance, variance.mean() * 1e-3)
    trust = np.ones_like(mean)
    for _ in range(_MOST_STEPS):
        slope, intercept, unit_variance = _weighted_line(
            place, variance, scatter.blocks * trust / expected**2
        )
        line = np.maximum(slope * place + intercept, variance.mean() * 1e-3)
        excess = (variance - line) / line
        distance = float(quantile(np.abs(excess), 0.5))
        trust = 1 / (1 + (excess / (2 * max(1.48 * distance, 0.01))) ** 2)
        if np.abs(line - expected).max() < _SETTLED * line.max():
            break
        expected = line
    residual = float(np.average(excess**2, weights=trust)) * float(scatter.blocks.mean())
    if len(mean) < _MANY_BINS:
        residual = max(residual, CHANCE**2)
    slope, slope_std = slope / width, (unit_variance * residual) ** 0.5 / width
    return Line(slope, intercept - slope * centre, slope_std, distance)


def _weighted_line(
    x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Slope, intercept, and variance of the slope for values of variance 1 / weight.

    By sums: numpy's linear algebra takes ten times as long for so little, and its threads spin on.
    """
    total, sum_x, sum_y = (float(np.sum(weight * of)) for of in (1, x, y))
    middle_x, middle_y = sum_x / total, sum_y / total
    spread = float(np.sum(weight * (x - middle_x) ** 2))
    if spread <= 1e-12 * total:  # all at one intensity
        return 0.0, middle_y, 0.0
    slope = float(np.sum(weight * (x - middle_x) * (y - middle_y))) / spread
    return slope, middle_y - slope * middle_x, 1 / spread


def _strips(window: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Runs of whole rows of blocks, few enough to stay in the processor's cache in float64."""
    height, width = (length - length % BLOCK for length in window.shape)
    step = BLOCK * max(1, _PIXELS_AT_A_TIME // (BLOCK * max(width, 1)))
    for top in range(0, height if width else 0, step):
        yield window[top : min(top + step, height), :width]


def _means_and_energies(strip: NDArray[Any]) -> NDArray[np.float64]:
    """Mean and noise variance per whole block."""
    rows = _rows_of_blocks(strip)
    curvature = _curvature(rows)
    return np.stack([_means(rows), _block_means(curvature, curvature, strip.shape[1])])


def _block_statistics(strip: NDArray[Any]) -> NDArray[np.float64]:
    """Per whole block: mean, and of second differences their square, products of neighbours one
    pixel and two down and across, and the square of those of every second pixel; and the variance
    around a plane.
    """
    rows, width = _rows_of_blocks(strip), strip.shape[1]
    curvature, coarse = _curvature(rows), _curvature(rows, apart=2)
    return np.stack(
        [
            _means(rows),
            _block_means(curvature, curvature, width),
            _block_means(curvature[:, :-1], curvature[:, 1:], width),
            _block_means(curvature[..., :-1], curvature[..., 1:], width),
            _block_means(curvature[:, :-2], curvature[:, 2:], width),
            _block_means(curvature[..., :-2], curvature[..., 2:], width),
            _block_means(coarse, coarse, width),
            _variances_around_planes(rows),
        ]
    )


def _rows_of_blocks(strip: NDArray[Any]) -> NDArray[np.float64]:
    height, width = strip.shape
    return strip.astype(np.float64).reshape(height // BLOCK, BLOCK, width)


def _means(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = rows.sum(axis=1).reshape(-1, BLOCK).mean(axis=1) / BLOCK
    return mean


def _curvature(blocks: NDArray[np.float64], apart: int = 1) -> NDArray[np.float64]:
    """Second differences both ways, over so many pixels, of the variance of white noise."""
    ends = slice(None, -2 * apart), slice(apart, -apart), slice(2 * apart, None)
    above, middle, below = (blocks[:, rows] for rows in ends)
    down = above - 2 * middle + below
    left, middle, right = (down[..., columns] for columns in ends)
    # The squares of (1, -2, 1) x (1, -2, 1) add up to 36.
    both: NDArray[np.float64] = (left - 2 * middle + right) / 6
    return both


def _variances_around_planes(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    blocks = rows.reshape(len(rows), BLOCK, -1, BLOCK)
    blocks = blocks - blocks.mean(axis=(1, 3), keepdims=True)  # or digits would be lost
    ramp = np.arange(BLOCK) - (BLOCK - 1) / 2
    slopes = [np.einsum(f"bycx,{axis}->bc", blocks, ramp) for axis in "yx"]
    planes = sum(slope**2 for slope in slopes) / (BLOCK * (ramp**2).sum())
    squares = np.einsum("bycx,bycx->bc", blocks, blocks) - planes
    variances: NDArray[np.float64] = squares.ravel() / (BLOCK**2 - 3)
    return variances


def _block_means(
    one: NDArray[np.float64], other: NDArray[np.float64], width: int
) -> NDArray[np.float64]:
    """Mean product over each block, without what reaches over the border of two blocks.

    Along whole rows, which is fast; that is left out afterwards.
    """
    columns = np.zeros((len(one), width))
    lost = width - one.shape[2]
    np.einsum("byx,byx->bx", one, other, out=columns[:, : width - lost])
    inside = columns.reshape(-1, BLOCK)[:, : BLOCK - lost]
    mean: NDArray[np.float64] = inside.mean(axis=1) / one.shape[1]
    return mean
