"""Photon transfer from one image: how the noise variance grows with the mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
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
# Of the curvatures of neighbours in the quietest 30 % of the blocks, in the 10 % of intensities
# where it is least: the correlation for noise of each correlation, by simulation of 512 x 512
# pixels blurred by Gaussians (tests/physics/test_scatter.py repeats it).
_QUIET = 0.3
_LEAST = 0.1
# By so much over the root of the blocks behind an intensity the least is below the mean by chance,
# 1.28 deviations; the tables are of so many blocks.
_CHANCE, _OF_BLOCKS = 0.342, 128
_OF_CURVATURE = (
    -0.591, -0.571, -0.547, -0.513, -0.466, -0.413, -0.350, -0.282, -0.210, -0.137, 0.0, 0.113,
    0.213, 0.292, 0.422, 0.512,
)  # fmt: skip
_OF_NOISE = (
    0.0, 0.088, 0.167, 0.261, 0.357, 0.445, 0.520, 0.582, 0.631, 0.672, 0.733, 0.779,
    0.813, 0.841, 0.880, 0.907,
)  # fmt: skip
# Variance of noise that second differences along an axis see, of 1, for noise of each
# correlation, those of neighbours and those of every second pixel: by the same simulation.
_CORRELATED = (
    0.0, 0.088, 0.167, 0.261, 0.357, 0.445, 0.520, 0.582, 0.631, 0.672, 0.705, 0.733, 0.779,
    0.813, 0.841, 0.872, 0.895,
)  # fmt: skip
_SEEN = (
    1.0, 0.895, 0.796, 0.680, 0.561, 0.451, 0.359, 0.285, 0.227, 0.184, 0.149, 0.124, 0.086,
    0.062, 0.045, 0.029, 0.020,
)  # fmt: skip
_SEEN_COARSE = (
    1.0, 1.0, 1.0, 0.984, 0.963, 0.933, 0.891, 0.849, 0.797, 0.748, 0.695, 0.644, 0.545,
    0.456, 0.378, 0.284, 0.212,
)  # fmt: skip
# Variance within blocks, a plane taken off, along an axis likewise.
_WITHIN = (
    1.141, 1.132, 1.120, 1.100, 1.077, 1.048, 1.018, 0.989, 0.963, 0.937, 0.913, 0.887, 0.840,
    0.794, 0.749, 0.686, 0.625,
)  # fmt: skip
# Relative deviation by chance of what blocks show over what neighbours do, times the root of the
# blocks behind each intensity.
_DEVIATION = 0.6
# Correlation below this is taken for none: images of white noise measure up to that, times the
# root of the blocks that the tables are of over those there are, and no less than the second.
_LEAST_CORRELATION = 0.12, 0.05
# From here on next to nothing of the noise is left in differences of neighbours, rounding matters
# and an error of the correlation too, and those of every second pixel are taken. Before that
# they would see the more of the specimen.
_COARSE = 0.75
# Standard deviations of Gaussian blurs, in pixels, by which correlation is told from curvatures.
_WIDTHS = tuple(0.1 * step for step in range(16))
_BINS = 32
_PIXELS_AT_A_TIME = 1 << 17
_LEAST_BLOCKS = 24
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
    if_white : Scatter, optional
        The same had the noise no correlation; None where none was found.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    blocks: NDArray[np.int64]
    correlation: tuple[float, float] = (0.0, 0.0)
    if_white: Scatter | None = None

    @property
    def is_white(self) -> bool:
        """Whether neighbours were seen to have noise of their own: smaller images do not tell."""
        return not any(self.correlation) and len(self.mean) == _BINS


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


def measure_scatter(windows: Iterable[NDArray[Any]]) -> Scatter | None:
    """Measure block means and variances and reduce them to one point per intensity.

    The variance of a block is that of its second differences both ways [1]_, which no ramp or
    straight edge along an axis disturbs; per intensity the 20 % quantile is taken, so that
    structure in most blocks does not matter, and corrected to the mean of pure noise.

    Where an image was blurred or interpolated after its noise arose, second differences see
    too little of it. How the differences of neighbours correlate in the quietest blocks tells by
    how much: structure is ever smoother than noise, so the least that is found counts.

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
    windows = list(windows)
    bins = _bins(windows)
    if not bins.shape[1]:
        return None
    if_white = _scatter(bins)
    correlation = _correlation(bins)
    if not any(correlation):
        return if_white
    coarse = _scatter(_bins([window[::2, ::2] for window in windows]))
    blocks = _scatter(_bins(windows, _block_variances))
    fine, coarse, blocks = (
        replace(seen, variance=seen.variance / np.interp(correlation, _CORRELATED, of_one).prod())
        for seen, of_one in ((if_white, _SEEN), (coarse, _SEEN_COARSE), (blocks, _WITHIN))
    )
    found = coarse if max(correlation) > _COARSE else fine
    found = replace(found, correlation=correlation, if_white=if_white)
    if not len(fine.mean) == len(coarse.mean) == len(blocks.mean):
        return found
    return replace(found, variance=found.variance * _beyond_a_blur(found, coarse, blocks))


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
    known = (_correlation_of(float(each.mean()) / energy) for each in products)
    down, across = known
    seen = float(np.interp((down, across), _CORRELATED, _SEEN).prod())
    intensity = _as_curvature_sees(lattice).ravel()
    order = np.array_split(np.argsort(intensity, kind="stable"), _BINS)
    squares = np.square(curvature).ravel() / seen
    return Scatter(
        np.array([intensity[some].mean() for some in order]),
        np.array([squares[some].mean() for some in order]),
        np.array([len(some) // BLOCK**2 for some in order]),
        (down, across),
    )


def _correlation_of(ratio: float) -> float:
    """Correlation of neighbours whose second differences correlate so; 0 where it may be chance.

    That of white noise is -2/3; Gaussian blur changes it to what convolution says.
    """
    # With torch, which whoever knows of a lattice has imported.
    from lowdose.physics.correlation import gaussian_taps, neighbour_correlation

    blurs = [gaussian_taps(width) for width in _WIDTHS]
    curved = [blur.new_tensor(np.convolve(blur, (1, -2, 1))) for blur in blurs]
    of_curvature, of_noise = (list(map(neighbour_correlation, each)) for each in (curved, blurs))
    correlation = float(np.interp(ratio, of_curvature, of_noise))
    return correlation if correlation > _LEAST_CORRELATION[0] else 0.0


def _as_curvature_sees(lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intensities of which the noise is that of second differences: squares of (1, -2, 1) apart."""
    rows = lattice[:, :-2] + 4 * lattice[:, 1:-1] + lattice[:, 2:]
    both: NDArray[np.float64] = (rows[..., :-2] + 4 * rows[..., 1:-1] + rows[..., 2:]) / 36
    return both


def _beyond_a_blur(found: Scatter, coarse: Scatter, blocks: Scatter) -> float:
    """Factor on noise that was measured as if a Gaussian had blurred it.

    What took the finest noise away alone, as enlarging does, makes an image look more blurred than
    it is, so that every second pixel has more noise than was found, or a block less in all. That
    is so at all intensities, while structure adds to both here and there: the least ratios count.
    """
    noisy = found.variance > 0  # where nothing arrived there is none
    if not noisy.any():
        return 1.0
    least = float(np.quantile(coarse.variance[noisy] / found.variance[noisy], _LEAST))
    more = max(1.0, least)
    chance = 1.28 * _DEVIATION * float(np.median(found.blocks)) ** -0.5
    most = float(np.quantile(blocks.variance[noisy] / found.variance[noisy], _LEAST))
    most /= 1 - chance
    return float(min(more, most))


def _scatter(bins: NDArray[np.float64]) -> Scatter:
    return Scatter(
        bins[0].mean(axis=1),
        _quantile(bins[1], QUANTILE) / QUANTILE_OF_UNIT_NOISE,
        np.full(bins.shape[1], bins.shape[2]),
    )


def _bins(
    windows: list[NDArray[Any]],
    statistics: Callable[[NDArray[Any]], NDArray[np.float64]] | None = None,
) -> NDArray[np.float64]:
    """Statistics of the blocks of all windows, by intensity, darkest first.

    Shape (statistics, intensities, blocks): intensities of as many blocks each, maybe none.
    """
    of_strip = statistics or _block_statistics
    parts = [of_strip(strip) for window in windows for strip in _strips(window)]
    parts = parts or [np.empty((4, 0))]
    blocks = np.concatenate(parts, axis=1)
    # A constant block is a mask, a border or a clipped area, unless nothing arrived there.
    blocks = blocks[:, (blocks[1] > 0) | (blocks[0] == 0)]
    found = blocks.shape[1]
    count = min(_BINS, found // _LEAST_BLOCKS)
    taken = found - found % count if count else 0  # the few beyond are left out, here and there
    order = np.argsort(blocks[0], kind="stable")[np.arange(taken) * found // max(taken, 1)]
    return blocks[:, order].reshape(len(blocks), count, taken // count if count else 0)


def _correlation(bins: NDArray[np.float64]) -> tuple[float, float]:
    """Correlation of neighbours along y and along x; none where there is little to measure."""
    if bins.shape[1] < _BINS:
        return 0.0, 0.0
    energy, products = bins[1], bins[2:]
    quiet = energy <= _quantile(energy, _QUIET)[:, None]
    total = np.maximum((energy * quiet).sum(axis=1), 1e-300)
    found = (products * quiet).sum(axis=2) / total
    blocks = bins.shape[2]
    least = _quantile(found, _LEAST) - _CHANCE * (_OF_BLOCKS**-0.5 - blocks**-0.5)
    down, across = np.interp(least, _OF_CURVATURE, _OF_NOISE)
    by_chance, least_known = _LEAST_CORRELATION
    threshold = max(by_chance * (_OF_BLOCKS / blocks) ** 0.5, least_known)
    known = (float(value) if value > threshold else 0.0 for value in (down, across))
    return next(known), next(known)


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
        distance = float(_quantile(np.abs(excess), 0.5))
        trust = 1 / (1 + (excess / (2 * max(1.48 * distance, 0.01))) ** 2)
        if np.abs(line - expected).max() < _SETTLED * line.max():
            break
        expected = line
    residual = float(np.average(excess**2, weights=trust)) * float(scatter.blocks.mean())
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


def _quantile(values: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """numpy.quantile along the last axis, which takes six times as long for a few hundred."""
    place = share * (values.shape[-1] - 1)
    below = int(place)
    above = min(below + 1, values.shape[-1] - 1)
    ends = np.partition(values, (below, above), axis=-1)
    low, high = ends[..., below], ends[..., above]
    between: NDArray[np.float64] = low + (high - low) * (place - below)
    return between


def _strips(window: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Runs of whole rows of blocks, few enough to stay in the processor's cache in float64."""
    height, width = (length - length % BLOCK for length in window.shape)
    step = BLOCK * max(1, _PIXELS_AT_A_TIME // (BLOCK * max(width, 1)))
    for top in range(0, height if width else 0, step):
        yield window[top : min(top + step, height), :width]


def _block_statistics(strip: NDArray[Any]) -> NDArray[np.float64]:
    """Mean, noise variance, and its products with neighbours down and across, per whole block."""
    height, width = strip.shape
    rows = strip.astype(np.float64).reshape(height // BLOCK, BLOCK, width)
    curvature = _curvature(rows)
    left, right = curvature[..., :-1], curvature[..., 1:]
    return np.stack(
        [
            rows.sum(axis=1).reshape(-1, BLOCK).mean(axis=1) / BLOCK,
            _block_means(curvature, curvature, width),
            _block_means(curvature[:, :-1], curvature[:, 1:], width),
            _block_means(left, right, width),
        ]
    )


def _curvature(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Second differences both ways, of the variance of white noise."""
    down = blocks[:, :-2] - 2 * blocks[:, 1:-1] + blocks[:, 2:]
    # The squares of (1, -2, 1) x (1, -2, 1) add up to 36.
    both: NDArray[np.float64] = (down[..., :-2] - 2 * down[..., 1:-1] + down[..., 2:]) / 6
    return both


def _block_variances(strip: NDArray[Any]) -> NDArray[np.float64]:
    """Mean, and variance around a plane, per whole block."""
    height, width = strip.shape
    blocks = strip.astype(np.float64).reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    mean = blocks.mean(axis=(1, 3))
    ramp = np.arange(BLOCK) - (BLOCK - 1) / 2
    slopes = [np.einsum(f"bycx,{axis}->bc", blocks, ramp) for axis in "yx"]
    planes = sum(slope**2 for slope in slopes) / (BLOCK * (ramp**2).sum())
    squares = np.einsum("bycx,bycx->bc", blocks, blocks) - BLOCK**2 * mean**2 - planes
    return np.stack([mean.ravel(), squares.ravel() / (BLOCK**2 - 3)])


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
