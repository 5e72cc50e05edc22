"""Values that pile up: saturated, clipped, rounded or masked pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.scatter import BLOCK
from lowdose.trust.finding import Finding, judged
from lowdose.trust.input_view import View

_LEAST_PIXELS = 1024
# Share of the pixels at the end of the range.
_SHARE = 1e-3
# Likewise more than chance brings to the lowest value: structure within four pixels does that for
# up to 0.003 of them in simulated truths, and 0.008 in real ones, at 5 electrons a pixel.
_CLIPPED = 0.01
# A pile is this many times as high as the values beside it.
_PILE = 2.0
# Share of pixels that noise should have brought beyond the highest one; one in a good image.
_BEYOND = 3e-4
# Where values lie on no grid, these many deviations of the noise are taken for a step.
_FINE = 0.05
# Steps of this many deviations of the noise hide it: rounding to them adds a fifth to its variance.
_COARSE = 1.5
# Share of the blocks of 8 x 8 pixels.
_CONSTANT = 0.01
# Electrons in a block that is as dark as one without any.
_FEW = 5.5


def top_value(view: View) -> Finding | None:
    """Find saturated pixels: many at the highest value, where noise would have gone beyond."""
    if _size(view) < _LEAST_PIXELS:
        return None
    share, beside = _pile(view.tiles, view)
    is_cut = share > _PILE * beside or _beyond_top(view) > _BEYOND
    value = share if is_cut else 0.0
    return judged(
        "saturation",
        value,
        _SHARE,
        fine="No pixels pile up at the highest value.",
        fault=f"{value:.2%} of the pixels have the highest value: the detector or the file format "
        "was saturated there.",
        action="Lower the exposure or the contrast; do not read intensities off these places.",
    )


def lowest_value(view: View) -> Finding | None:
    """Find clipped pixels: more at the lowest value than the noise brings there."""
    if _size(view) < _LEAST_PIXELS:
        return None
    share, beside = _pile([-tile for tile in view.tiles], view)
    by_chance = _expected_lowest(view)
    if by_chance is None:
        value, threshold = share if share > _PILE * beside else 0.0, _CLIPPED
    else:
        value = max(share - by_chance, 0.0)
        threshold = max(_CLIPPED, 4 * math.sqrt(by_chance / _size(view)))
    return judged(
        "clipped values",
        value,
        threshold,
        fine="No pixels pile up at the lowest value.",
        fault=f"{value:.2%} more pixels have the lowest value than the noise brings there: the "
        "detector's offset (brightness) was set too low, or an offset was taken off and negative "
        "values cut.",
        action="Raise the offset, or export without clipping: means there are too high.",
    )


def _size(view: View) -> int:
    return sum(tile.size for tile in view.tiles)


def _pile(tiles: list[NDArray[np.float32]], view: View) -> tuple[float, float]:
    """Share of pixels at the highest value, and at each of the four values right below."""
    step = view.step or _FINE
    top = max(float(tile.max()) for tile in tiles)
    at_top, below = 0, 0
    for tile in tiles:
        ends = tile[tile > top - 4.5 * step]
        pile = int(np.count_nonzero(ends > top - 0.01 * step))
        at_top += pile
        below += len(ends) - pile
    return at_top / _size(view), below / 4 / _size(view)


def _beyond_top(view: View) -> float:
    """Share of the pixels that noise should have brought beyond the highest value that there is."""
    if view.scatter is None or view.noise.is_noise_free:
        return 0.0
    top = max(float(tile.max()) for tile in view.tiles)
    means = np.concatenate([mean.ravel() for mean in _fours(view)])
    if not len(means):
        return 0.0
    # Noise grows with the signal: half-way, as the root of counts has it.
    deviation = view.deviation((means + top) / 2) * math.sqrt(3 / 4)
    return float(_normal_below((means - top - (view.step or 0.0) / 2) / deviation).mean())


def _expected_lowest(view: View) -> float | None:
    """Share of pixels that the noise brings to the lowest value; None without a noise to go by.

    Of n pixels of one mean, the share that would be below a bound is estimated without bias from
    their own mean by a law with the variance of a pixel's distance to it, 1 - 1/n of the noise's;
    for electrons that is the chance that none of all n pixels' fell on one of them [1]_.

    References
    ----------
    .. [1] E. L. Lehmann and G. Casella, Theory of Point Estimation, 2nd ed. (1998), Sec. 2.3.
    """
    if view.scatter is None or view.noise.is_noise_free:
        return None
    low = min(float(tile.min()) for tile in view.tiles)
    zero = (view.noise.offset - view.base) / view.unit
    means, step = np.concatenate([mean.ravel() for mean in _fours(view)]), view.step or 0.0
    if not len(means):
        return None
    if view.is_counts and abs(low - zero) < 0.01 * step:
        return float(np.exp(math.log(3 / 4) * 4 * (means - low) / step).mean())
    deviation = view.deviation(means) * math.sqrt(3 / 4)
    return float(_normal_below((low + step / 2 - means) / deviation).mean())


def _fours(view: View) -> list[NDArray[np.float64]]:
    """Means of 2 x 2 pixels: over so few hardly any structure matters. A third of many will do."""
    every = 6 if len(view.tiles) > 3 else 2
    means = []
    for tile in view.tiles:
        upper, lower = tile[::every], tile[1::every]
        pairs = upper[: len(lower)] + lower
        width = tile.shape[1] - tile.shape[1] % 2
        means.append((pairs[:, :width:2] + pairs[:, 1:width:2]).astype(np.float64) / 4)
    return means


def _normal_below(deviations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of a normal distribution below; to 3e-4, by a tanh (D. Hendrycks, 1606.08415)."""
    z = np.clip(deviations, -9, 9)
    return np.asarray(0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))))


def coarse_steps(view: View) -> Finding | None:
    """Find values that were rounded to steps coarser than the noise."""
    if view.step is None or view.scatter is None or view.is_counts:
        return None
    return judged(
        "rounding",
        view.step,
        _COARSE,
        fine="The steps of the values are finer than the noise.",
        fault=f"The values are rounded to steps of {view.step * view.unit:.3g}, {view.step:.2g} "
        "times the noise that is left: the image was stored with too few grey levels.",
        action="Export with 16 bits or as floating point.",
        level="note",
    )


def constant_areas(view: View) -> Finding | None:
    """Find masks and borders: blocks whose pixels are all equal."""
    alike, dark, few, total = 0, 0, 0, 0
    zero = (view.noise.offset - view.base) / view.unit
    for block in view.blocks():
        low, high = (
            end(end(block, axis=1), axis=2) for end in (np.minimum.reduce, np.maximum.reduce)
        )
        is_alike = low == high
        alike, total = alike + int(is_alike.sum()), total + is_alike.size
        if view.is_counts and view.step:
            electrons = (block.mean(axis=(1, 3)) - zero) / view.step * BLOCK**2
            few += int(np.count_nonzero((electrons > 0.5) & (electrons < _FEW)))
            dark += int(np.count_nonzero(is_alike & (electrons < 0.5)))
    if not total:
        return None
    # Where blocks with a few electrons are as frequent, those without are just as dark.
    value = (alike - min(dark, 2 * few)) / total
    return judged(
        "constant areas",
        value,
        _CONSTANT,
        fine="No part of the image is constant.",
        fault=f"{value:.1%} of the image is exactly constant: a mask, a border, or clipped areas.",
        action="Crop borders away: what is masked tells nothing, and its edges look like specimen.",
        level="note",
    )
