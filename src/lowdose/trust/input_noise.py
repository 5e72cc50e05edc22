"""Does the noise follow its law, and is it independent from pixel to pixel?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.scatter import Scatter
from lowdose.trust.finding import Finding, judged
from lowdose.trust.input_view import View

# Factor between the measured variance and that of the noise model.
_FACTOR = 1.5
# Below this the noise of counts is too skewed for the quantile that measures it.
_LEAST_ELECTRONS = 2.0
# Neighbours that correlate by less share a hundredth of their variance.
_CORRELATION = 0.12
# A variance of second differences in this range of that of the noise model is that of white
# noise: blurred by as little as a correlation of 0.12, it would fall below.
_WHITE = 0.75, 1.5
# Equal neighbours, against what neighbours that differ by little make expect: 1.26 at most in 270
# good images, 1.7 at least after a median filter.
_REPEATED = 1.5
_INTENSITIES = 8
_LEAST_BLOCKS = 200
# Of equal neighbours where values are on no grid, one in a thousand is too many.
_EQUAL = 1e-3


def photon_transfer(view: View) -> Finding | None:
    """Compare the noise of the homogeneous parts with the noise model."""
    name = "photon transfer"
    if view.scatter is None:
        return None
    if view.noise.is_noise_free:
        meaning = "Next to no noise was found, so there is nothing to take off."
        action = "If the image is noisy, it was filtered or clipped: start from the raw data."
        return Finding(name, "note", 0.0, _FACTOR, meaning, action)
    ratios = _ratios(view, view.scatter)
    if not len(ratios):
        return None
    more, less = _excess(ratios)
    value = max(more, less)
    if value <= _FACTOR:
        meaning = "The noise grows with the signal as the noise model says."
        return Finding(name, "fine", value, _FACTOR, meaning)
    if more >= less:
        return Finding(
            name,
            "warning",
            value,
            _FACTOR,
            f"Even homogeneous parts vary {more:.2g} times as much as the noise model says: the "
            "gain is higher than assumed, or fine texture is everywhere.",
            "Compare with the gain of the camera; pass --gain NUMBER, or --gain fit to measure it.",
        )
    return Finding(
        name,
        "warning",
        value,
        _FACTOR,
        f"Homogeneous parts vary {less:.2g} times less than the noise model says: the gain is "
        "lower than assumed, or the image was filtered or averaged.",
        "With too much noise assumed detail is lost: pass --gain NUMBER, or --gain fit.",
    )


def _ratios(view: View, scatter: Scatter) -> NDArray[np.float64]:
    """Measured variance over that of the model, per intensity, darkest first."""
    noise = view.noise
    if not any(noise.correlation):
        scatter = scatter.if_white or scatter
    expected = noise.noise_std(scatter.mean) ** 2
    electrons = (scatter.mean - noise.offset) / noise.gain + noise.readout_electrons**2
    use = (electrons > _LEAST_ELECTRONS) & (expected > 0)
    return np.maximum(scatter.variance[use], 1e-300) / expected[use]


def _excess(ratios: NDArray[np.float64]) -> tuple[float, float]:
    """Factors by which there is more, and less, noise than expected, in the worse half.

    Structure only ever adds: more noise is believed only if the quieter intensities show it.
    """
    halves = np.array_split(ratios, 2) if len(ratios) > 8 else [ratios]
    more = max(float(np.quantile(half, 0.25)) for half in halves)
    less = max(1 / float(np.median(half)) for half in halves)
    return more, less


def correlation(view: View) -> Finding | None:
    """Tell whether the noise of neighbours correlates."""
    scatter = view.scatter
    if scatter is None or view.noise.is_noise_free:
        return None
    down, across = (0.0, 0.0) if _is_white(view, scatter) else scatter.correlation
    return judged(
        "correlated noise",
        max(down, across),
        _CORRELATION,
        fine="Neighbouring pixels have noise of their own.",
        fault=f"The noise of neighbours correlates, {down:.2g} down and {across:.2g} across: a "
        "detector that blurs, or an image that was interpolated, smoothed or denoised before.",
        action="Denoise before any resampling, alignment or filter, if the raw data exist.",
        level="note",
    )


def _is_white(view: View, scatter: Scatter) -> bool:
    """Whether counts have all the noise that uncorrelated ones must have."""
    if any(view.noise.correlation):
        return False
    ratios = _ratios(view, scatter)
    return len(ratios) > 0 and _WHITE[0] < float(np.median(ratios)) < _WHITE[1]


def repeated_values(view: View) -> Finding | None:
    """Find values that neighbours share more often than noise makes them: a median filter's."""
    counted = _equal_neighbours(view)
    if counted is None:
        return None
    return judged(
        "repeated values",
        counted,
        _REPEATED,
        fine="Neighbouring pixels are equal as often as chance has it.",
        fault=f"Neighbouring pixels are equal {min(counted, 1e4):.2g} times as often as noise "
        "makes them: a median filter went over the image, or pixels were doubled to enlarge it.",
        action="Start from the data before that step: their noise can no longer be told from "
        "specimen.",
    )


def _equal_neighbours(view: View) -> float | None:
    """How many times as many neighbours are equal as should be; the median over intensities."""
    # A million pixels tell.
    parts = [block for block in view.blocks() if block.size][:: max(1, len(view.tiles) // 4)]
    if sum(block.size for block in parts) < _LEAST_BLOCKS * 64 or view.scatter is None:
        return None
    found: list[float] = []
    for part in parts:
        means = part.mean(axis=(1, 3)).ravel()
        order = np.argsort(means, kind="stable")
        count = max(1, min(_INTENSITIES, len(order) // _LEAST_BLOCKS))
        for differences in (np.diff(part, axis=1), np.diff(part, axis=3)):
            each = np.abs(differences).transpose(0, 2, 1, 3).reshape(len(order), -1)
            found += [_excess_of_zeros(each[of], view.step) for of in np.array_split(order, count)]
    known = [ratio for ratio in found if not math.isnan(ratio)]
    return float(np.median(known)) if known else None


def _excess_of_zeros(differences: NDArray[np.float32], step: float | None) -> float:
    """Zeros among absolute differences, of which the small ones tell how many there should be.

    NaN where the noise is finer than the steps. Values on no grid are never equal by chance.
    """
    if step is None:
        return float(np.mean(differences == 0)) / _EQUAL * _REPEATED
    ticks = np.minimum(np.rint(differences / step), 1e6).astype(np.int64).ravel()
    middle = float(np.median(ticks))
    reach = max(2, int(middle / 2))
    counts = np.bincount(ticks[ticks <= reach], minlength=reach + 1)
    if counts[2] < 0.2 * counts[1] or not counts[1]:
        return math.nan
    if middle < 4:  # log p of a bell curve falls with the square
        return float(counts[0] / (counts[1] / 2 * (counts[1] / counts[2]) ** (1 / 3)))
    near = np.exp(-((np.arange(1, reach + 1) * 0.6745 / middle) ** 2) / 2).mean()
    return float(counts[0] * near / (counts[1:].sum() / (2 * reach)))
