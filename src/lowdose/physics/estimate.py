"""Fit gain, offset and readout noise to one image, and decide how far to believe the fit.

The rule in doubt is to assume less noise: a result that keeps some noise is safe, one that has
lost detail is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.errors import NoiseModelError
from lowdose.physics.dose import NoiseModel, check_finite
from lowdose.physics.scatter import BLOCK, Line, Scatter, fit_line, measure_scatter
from lowdose.physics.step import value_step

# Windows of this side are measured where an image is larger than `_WINDOWS` of them.
_WINDOW = 512
_WINDOWS = 16
# Pixels looked at for the step of values.
_SAMPLE = 1 << 15
# Noise may fall this far below that of counts before they are not taken for counts.
_LEAST_COUNT_NOISE = 0.7
# Up to here measured noise agrees with that of counts.
_MOST_COUNT_NOISE = 1.4
# Noise below this fraction of the image's range is none: no network would see it.
_INVISIBLE = 1e-4
# Fine texture of a specimen stays below this fraction of the image's range; noise above is noise.
_TEXTURE = 0.1


def estimate_noise(pixels: NDArray[Any]) -> NoiseModel:
    """Estimate how the pixels of an image came from electrons.

    Values on a grid are taken for counts, the step being the gain, as long as the homogeneous
    parts of the image are at least as noisy as counts must be. If they are noisier, either the
    specimen has fine texture or an electron gives more than one step; the photon-transfer fit
    then wins only where the noise is above 10 % of the image's range, which no texture is. Values
    on no grid are judged by the fit alone, taken at the lower end of its uncertainty.

    Parameters
    ----------
    pixels : ndarray, shape (H, W) or (N, H, W)
        One image, or frames of one detector that are judged together.

    Returns
    -------
    NoiseModel
        With `basis` saying how it was found and `remark` what to do if it looks wrong. It is
        noise-free where the image is too small or too flat to tell.

    Raises
    ------
    NoiseModelError
        If the image holds NaN or infinite pixels.
    """
    scatter = _scatter(pixels)
    if scatter is None:
        return NoiseModel(
            0.0,
            basis="nothing to measure",
            remark="the image is too small or too flat to measure its noise, so it is left as it "
            "is; pass --gain (and --offset) if you know them",
        )
    sample = _spread_sample(_stack(pixels))
    noise = math.sqrt(float(np.median(scatter.variance)))
    if noise < _INVISIBLE * _range(sample):
        return NoiseModel(0.0, basis="the noise is below 1/10 000 of the image's range")

    def fit() -> NoiseModel:
        return _from_line(fit_line(scatter), scatter)

    step = value_step(sample)
    if step is None:
        return fit()
    # Whole counts are known by their noise being white and that of counts.
    return _from_counts(step, sample, scatter.if_white or scatter, fit)


def fit_noise(pixels: NDArray[Any]) -> NoiseModel:
    """Estimate noise by the photon-transfer fit alone, even if the values look like counts.

    Parameters
    ----------
    pixels : ndarray, shape (H, W) or (N, H, W)
        One image, or frames of one detector that are judged together.

    Raises
    ------
    NoiseModelError
        If the image is too small or too flat to fit anything, or holds NaN or infinite pixels.
    """
    scatter = _scatter(pixels)
    if scatter is None:
        raise NoiseModelError(
            "the image is too small or too flat to fit its noise; pass --gain with a number"
        )
    return _from_line(fit_line(scatter), scatter)


def _from_counts(
    step: float, sample: NDArray[Any], scatter: Scatter, fit: Callable[[], NoiseModel]
) -> NoiseModel:
    """Choose between counts of the given step, rounded values without noise, and the fit."""
    noise = math.sqrt(float(np.median(scatter.variance)))
    is_noise = noise > _TEXTURE * _range(sample)
    offset = _count_offset(step, float(sample.min()), scatter, is_noise=is_noise)
    counts = NoiseModel(step, offset, basis=f"values are counts of step {step:.4g}")
    expected = step * (scatter.mean - offset)
    bright = expected > 0.1 * max(expected.max(), 0)
    if not bright.any():  # the sample missed all that is dark
        return fit()
    ratio = float(np.median(scatter.variance[bright] / expected[bright]))
    if ratio < _LEAST_COUNT_NOISE:
        # Rounding to whole steps alone has a variance of 1/12.
        is_rounding = noise**2 < 0.1 * step**2
        return NoiseModel(0.0, basis="no noise but rounding") if is_rounding else fit()
    if ratio <= _MOST_COUNT_NOISE:
        return counts
    is_grey = sample.dtype.itemsize == 1  # 8-bit files hold grey levels as often as counts
    if is_grey or is_noise:
        return fit()
    return NoiseModel(
        step,
        offset,
        basis=counts.basis,
        remark=f"homogeneous parts look {ratio:.3g} times as noisy as such counts: either fine "
        f"texture, which is kept, or a camera with a gain of about {fit().gain:.3g}; if so, pass "
        "--gain fit",
    )


def _count_offset(step: float, lowest: float, scatter: Scatter, *, is_noise: bool) -> float:
    """Pixel value of zero counts.

    Raw counts have it at 0. Rescaled ones have lost it: it follows from how noisy they are where
    that is noise beyond doubt, else the lowest pixel is taken for it, the least noise there can be.
    """
    if lowest >= 0 and _is_whole(lowest / step):
        return 0.0
    if not is_noise:
        return lowest
    return min(lowest, float(np.median(scatter.mean - scatter.variance / step)))


def _from_line(line: Line, scatter: Scatter) -> NoiseModel:
    """Noise model of the photon-transfer line, at the lower end of its uncertainty."""
    middle = float(np.median(scatter.mean))
    level = float(line.at(np.array(middle)))
    on_line = np.maximum(line.at(scatter.mean), 1e-3 * scatter.variance.mean())
    spread = float(np.median(np.abs(scatter.variance / on_line - 1)))
    gain = line.slope - line.slope_std
    if gain <= 0 or gain * (middle - float(scatter.mean.min())) <= 0.05 * level:
        return _signal_independent(scatter)
    intercept = level - gain * middle
    offset, readout = (0.0, math.sqrt(intercept)) if intercept > 0 else (-intercept / gain, 0.0)
    return NoiseModel(
        gain,
        offset,
        readout,
        line.slope_std,
        basis="fitted to the homogeneous parts of the image",
        remark="the fit is uncertain and its lower end is taken; pass --gain if you know it"
        if line.slope_std > 0.3 * line.slope or spread > 0.5
        else "",
        correlation=scatter.correlation,
    )


def _signal_independent(scatter: Scatter) -> NoiseModel:
    """Constant noise, as readout noise that drowns the shot noise; the quieter parts decide."""
    variance = float(np.quantile(scatter.variance, 0.25))
    deviation = math.sqrt(variance)
    # Shot noise adds at most a tenth to the variance, up to the brightest parts.
    return NoiseModel(
        min(deviation / 1000, 0.1 * variance / max(float(np.ptp(scatter.mean)), deviation)),
        float(scatter.mean.min()),
        deviation,
        basis="noise does not grow with the signal: taken as constant",
        remark="the image may have been filtered, clipped or inverted; pass --gain if you know it",
        correlation=scatter.correlation,
    )


def _scatter(pixels: NDArray[Any]) -> Scatter | None:
    """Measure noise against mean; None where there is nothing to measure."""
    windows = list(spread_windows(pixels))
    for window in windows:
        check_finite(window)
    scatter = measure_scatter(windows)
    return scatter if scatter is not None and scatter.variance.any() else None


def _stack(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels if pixels.ndim == 3 else pixels[None]


def spread_windows(pixels: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Whole frames where they are small, else windows evenly spread over frames and area.

    Parameters
    ----------
    pixels : ndarray, shape (H, W) or (N, H, W)
        Perhaps a memory map; only what is yielded is read.

    Yields
    ------
    ndarray, shape (H, W)
        A view; its corner lies on multiples of 8 pixels.
    """
    stack = _stack(pixels)
    frames = stack[:: max(1, len(stack) // 8)][:8]
    height, width = stack.shape[1:]
    if height * width <= _WINDOWS * _WINDOW**2:
        yield from frames
        return
    per_side = math.isqrt(_WINDOWS)
    for index in range(_WINDOWS):
        top = _place(index // per_side, per_side, height)
        left = _place(index % per_side, per_side, width)
        yield frames[index % len(frames), top : top + _WINDOW, left : left + _WINDOW]


def _place(index: int, count: int, length: int) -> int:
    start = max(length - _WINDOW, 0) * index // (count - 1)
    return start - start % BLOCK


def _spread_sample(stack: NDArray[Any]) -> NDArray[Any]:
    """Pixels on a coarse grid over up to eight frames."""
    frames = stack[:: max(1, len(stack) // 8)][:8]
    skip = max(1, math.isqrt(frames.size // _SAMPLE))
    sample = np.ascontiguousarray(frames[:, ::skip, ::skip]).ravel()
    check_finite(sample)
    return sample


def _range(sample: NDArray[Any]) -> float:
    low, high = np.quantile(sample, [0.005, 0.995])
    return float(high - low)


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-3
