"""Fit gain, offset and readout noise to one image, and decide how far to believe the fit.

The rule in doubt is to assume less noise: a result that keeps some noise is safe, one that has
lost detail is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.errors import NoiseModelError
from lowdose.physics.dose import NoiseModel, check_finite
from lowdose.physics.scatter import (
    BLOCK,
    CHANCE,
    Line,
    Scatter,
    fit_line,
    measure_scatter,
    scatter_beside_lattice,
)
from lowdose.physics.step import value_step

# Windows of this side are measured where an image is larger than `_WINDOWS` of them.
_WINDOW = 512
_WINDOWS = 16
# Of a stack at most so many frames.
_FRAMES = 8
# Pixels looked at for the step of values.
_SAMPLE = 1 << 15
# Noise may fall this far below that of counts before they are not taken for counts.
_LEAST_COUNT_NOISE = 0.7
# Noise so many times that of a gain that was given is remarked upon. So many times less of it is
# refused, for nothing would be left of the image.
_FAR_MORE, _ABSURD = 2.0, 100.0
# Up to here measured noise agrees with that of counts.
_MOST_COUNT_NOISE = 1.4
# Fractions of counts have more than so many times that of counts, grow by so many times the step
# an electron, and neighbours correlate: fine texture adds noise, but not with the counts. Of 852
# exposures of rescaled counts 21 were taken for fractions, of 426 of such fractions 252 were known.
_INTERPOLATED, _FRACTIONS, _SHARED = 1.6, 1.5, 0.08
# Within so much of theirs it is that of counts and nothing else.
_PLAIN_COUNT_NOISE = 0.15
# From so many electrons a pixel on, a blur is told by less noise than there must be.
_LEAST_SEEN = 5
# Noise below this fraction of the image's range is none: no network would see it.
_INVISIBLE = 1e-4
# Fine texture of a specimen stays below this fraction of the image's range; noise above is noise.
_TEXTURE = 0.1
# Photon transfer is believed where the bins keep this close to their line, or to what chance
# makes, and its slope is known to this fraction. Bins of 128 blocks are 0.02 to 0.066 away in 500
# images of a camera, and 0.1 where texture in counts happens to be white.
_TIGHT, _CERTAIN = 0.07, 0.15
# So many standard errors a slope may be off by chance.
_BY_CHANCE = 2.5
# A clear line refutes counts of at least so many electrons; of fewer the noise is too skewed.
_FEW = 0.5
# One intensity in ten of true counts, or so many of the darkest together, are up to this much
# quieter than they must be, and three in four are this near; or so many times what chance makes of
# the blocks behind each.
_QUIETER, _NEAR, _DARKEST = (0.2, 3.0), (0.1, 2.0), 3
# A slope this many times the step is a gain of more than one step: fine texture of fracture
# surfaces makes lines of a slope of 2, in one of 954 exposures of 3. These types are what cameras
# store; of others the second holds, and where the noise is above this fraction of the image's
# range, for counts simulated from good micrographs bring the noise that these hold themselves, of
# any slope at high doses but below that.
_STEEP, _STEEPER, _CAMERA = 2.5, 3.1, 0.055
_OF_CAMERAS = "u2", "i2", "i4"


def estimate_noise(pixels: NDArray[Any]) -> NoiseModel:
    """Estimate how the pixels of an image came from electrons.

    Values on a grid are taken for counts, the step being the gain, as long as the homogeneous
    parts of the image are at least as noisy as counts must be, at all intensities. If they are
    noisier, either the specimen has fine texture or an electron gives more than one step; the
    photon-transfer fit then wins only where it is clear, of white noise that grows along a line
    steeper than that of counts, or where the noise is above 10 % of the image's range, which no
    texture is. So it does for fractions of counts, as interpolation leaves them. Values on no grid
    are judged by the fit alone, taken at the lower end of its uncertainty. Where there is a
    lattice, which leaves no homogeneous parts, the fit is to what is left without it.

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
    windows, sample = _windows_and_sample(pixels)
    step = value_step(sample)
    plain = None
    if step is not None:
        white = measure_scatter(windows, as_if_white=True)
        plain = _counts(step) if _are_plain_counts(step, sample, white) else None
        if plain is not None and _are_whole(step, sample):
            return plain
    scatter = measure_scatter(windows)
    if scatter is None or not scatter.variance.any():
        return NoiseModel(
            0.0,
            basis="nothing to measure",
            remark="the image is too small or too flat to measure its noise, so it is left as it "
            "is; pass --gain (and --offset) if you know them",
        )
    if _relative_noise(scatter, sample) < _INVISIBLE:
        return NoiseModel(0.0, basis="the noise is below 1/10 000 of the image's range")
    if plain is not None and not any(scatter.correlation):
        return plain
    if step is None:
        model = _from_line(fit_line(scatter), scatter)
    else:
        model = _from_counts(step, sample, scatter)
        if model.is_noise_free:
            return model
    return _beside_lattice(pixels, sample, model, step=step)


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
    windows, sample = _windows_and_sample(pixels)
    scatter = measure_scatter(windows)
    if scatter is None or not scatter.variance.any():
        raise NoiseModelError(
            "the image is too small or too flat to fit its noise; pass --gain with a number"
        )
    return _beside_lattice(pixels, sample, _from_line(fit_line(scatter), scatter), step=None)


def allow_for_blur(model: NoiseModel, pixels: NDArray[Any]) -> NoiseModel:
    """Noise of known electrons as an image has it whose detector or interpolation blurred it.

    How the noise of neighbours correlates is measured. A Gaussian blur that leaves it so takes
    from the variance of single pixels, and as much from gain and readout noise. Noise of which
    second differences see all that there must be was not blurred, whatever correlates with it.
    Noise that is far more, and white noise that is less, as readout noise on a blurred signal, is
    remarked upon.

    Parameters
    ----------
    model : NoiseModel
        Its gain is what one electron adds to an image.
    pixels : ndarray, shape (H, W) or (N, H, W)
        One image, or frames of one detector that are judged together.

    Returns
    -------
    NoiseModel
        The same where the noise is white, or the image too small or too flat to tell.

    Raises
    ------
    NoiseModelError
        If the image holds NaN or infinite pixels, or next to none of that noise.
    """
    windows, _ = _windows_and_sample(pixels)
    scatter = measure_scatter(windows)
    if model.is_noise_free or scatter is None:
        return model
    correlation, seen = scatter.correlation, (scatter.if_white or scatter).variance
    expected = float(np.median(model.noise_std(scatter.mean) ** 2))
    ratio = float(np.median(seen)) / max(expected, 1e-300)
    if ratio > _FAR_MORE:
        return replace(
            model,
            remark=f"homogeneous parts vary {ratio:.3g} times more than that: either fine texture, "
            "which is kept, or the gain is higher and the dose lower (--dose is that of one frame)",
        )
    if ratio > _LEAST_COUNT_NOISE:
        return model
    # Of fewer electrons too little of a blur is seen.
    are_few = np.median(scatter.mean) < model.offset + _LEAST_SEEN * model.gain
    if are_few or not any(correlation):
        less = 1 / max(ratio, 1e-300)
        why = (
            "the gain is lower, the pixel value without electrons is another (--offset), or what "
            "is noise there came after a blur; without --gain and --dose it is measured"
        )
        if less > _ABSURD:
            raise NoiseModelError(
                f"homogeneous parts vary {less:.3g} times less than a gain of {model.gain:.4g} and "
                f"an offset of {model.offset:.4g} make them: {why}"
            )
        return replace(
            model, remark=f"homogeneous parts vary {less:.3g} times less than that: {why}"
        )
    # torch takes a second to import, and most images are judged before.
    from lowdose.physics.correlation import kept_variance, taps_of

    down, across = map(taps_of, correlation)
    kept = kept_variance(down, across)
    basis = f"{model.basis} as {model.gain:.4g}; blur leaves {kept:.2g} of it to single pixels"
    return replace(
        model,
        gain=kept * model.gain,
        readout_std=math.sqrt(kept) * model.readout_std,
        correlation=correlation,
        basis=basis,
    )


def _from_counts(step: float, sample: NDArray[Any], scatter: Scatter) -> NoiseModel:
    """Choose between counts of the given step, rounded values without noise, and the fit."""
    # Whole counts are known by their noise being white and that of counts.
    line, white = fit_line(scatter), scatter.if_white or scatter
    relative = _relative_noise(white, sample)
    is_clear, is_noise = _is_clear(line, scatter), relative > _TEXTURE
    agrees = is_clear and abs(line.slope - step) < max(_CERTAIN * step, _BY_CHANCE * line.slope_std)
    offset = _count_offset(step, float(sample[0]), white, is_noise=is_noise or agrees)
    ratios = _ratios_to_counts(step, offset, white)
    if not len(ratios):  # the sample missed all that is dark
        return _from_line(line, scatter)
    ratio = float(np.median(ratios))
    # Rounding to whole steps alone has a variance of 1/12.
    if ratio < _LEAST_COUNT_NOISE and np.median(white.variance) < 0.1 * step**2:
        return NoiseModel(0.0, basis="no noise but rounding")
    is_grey = _is_grey(sample)
    is_steep = line.least > step * _steps_of_a_camera(sample, relative)
    are_fractions = not _are_whole(step, sample) and _are_interpolated(line, step, offset, scatter)
    are_no_counts = ratio < _LEAST_COUNT_NOISE or are_fractions
    if are_no_counts or (
        is_clear and _is_refuted(ratios, white, is_steep=is_steep, is_grey=is_grey)
    ):
        return _from_line(line, scatter)
    counts = _counts(step, offset)
    if ratio <= _MOST_COUNT_NOISE:
        return counts
    fit = _from_line(line, scatter)
    if is_grey or is_noise:
        return fit
    return replace(
        counts,
        remark=f"homogeneous parts look {ratio:.3g} times as noisy as such counts: either fine "
        f"texture, which is kept, or a camera with a gain of about {fit.gain:.3g}; if so, pass "
        "--gain fit",
    )


def _counts(step: float, offset: float = 0.0) -> NoiseModel:
    return NoiseModel(step, offset, basis=f"values are counts of step {step:.4g}")


def _are_whole(step: float, sample: NDArray[Any]) -> bool:
    """Whether pixels are whole numbers: of a detector, as far as one can tell."""
    return sample.dtype.kind in "ui" or (step > 0.5 and _is_whole(step))


def _are_interpolated(line: Line, step: float, offset: float, scatter: Scatter) -> bool:
    """Whether steps are fractions of counts, as in means of neighbours with simple weights."""
    is_shared = min(scatter.correlation) >= _SHARED and line.slope > _FRACTIONS * step
    if not (is_shared and _is_sharp(line, scatter)):
        return False
    return float(np.median(_ratios_to_counts(step, offset, scatter))) > _INTERPOLATED


def _steps_of_a_camera(sample: NDArray[Any], relative: float) -> float:
    """From how many steps an electron on whole numbers are a camera's, by type and noise."""
    kind = f"{sample.dtype.kind}{sample.dtype.itemsize}"  # in any order of bytes
    return _STEEP if kind in _OF_CAMERAS else _STEEPER if relative > _CAMERA else math.inf


def _are_plain_counts(step: float, sample: NDArray[Any], white: Scatter | None) -> bool:
    """Whether white noise is that of raw counts at all intensities; of whole ones that will do."""
    lowest = float(sample[0])
    if white is None or lowest < 0 or not _is_whole(lowest / step):
        return False
    ratios = _ratios_to_counts(step, 0.0, white)
    if _relative_noise(white, sample) < _INVISIBLE or not len(ratios):
        return False
    is_like = not _are_quieter(ratios, white) and abs(np.median(ratios) - 1) < _PLAIN_COUNT_NOISE
    return bool(is_like and not (_is_grey(sample) and _are_off_counts(ratios, white)))


def _beside_lattice(
    pixels: NDArray[Any], sample: NDArray[Any], model: NoiseModel, *, step: float | None
) -> NoiseModel:
    """Correct what homogeneous parts seemed to say of an image, where it holds a lattice.

    Its noise beside the lattice counts where it is on a line; else only if there is less of it, so
    that a lattice without noise, which leaves no homogeneous parts, is not taken for noise.
    """
    for scatter in _scatters_beside_lattice(pixels, sample):
        line = fit_line(scatter)
        if line.spread < _TIGHT and 0 < line.slope_std < _CERTAIN * line.slope:
            return _from_line_beside_lattice(line, scatter, sample, model, step)
        if np.median(scatter.variance) < 0.5 * np.median(model.noise_std(scatter.mean)) ** 2:
            model = _from_line(line, scatter)
    return model


def _from_line_beside_lattice(
    line: Line, scatter: Scatter, sample: NDArray[Any], model: NoiseModel, step: float | None
) -> NoiseModel:
    """Choose between counts, what was thought before, and a clear line."""
    if step is not None and abs(line.slope / step - 1) < _CERTAIN:
        offset = _count_offset(step, float(sample[0]), scatter, is_noise=True)
        ratios = _ratios_to_counts(step, offset, scatter)
        if len(ratios) and abs(float(np.median(ratios)) - 1) < _CERTAIN:
            return _counts(step, offset)
    steps = _steps_of_a_camera(sample, _relative_noise(scatter, sample))
    is_camera = scatter.is_white and step is not None and line.least > steps * step
    were_counts = step == model.gain
    return model if were_counts and not is_camera else _from_line(line, scatter)


def _scatters_beside_lattice(pixels: NDArray[Any], sample: NDArray[Any]) -> Iterator[Scatter]:
    """Noise against intensity, the lattice looked for in smaller blocks and then in larger ones."""
    # torch takes a second to import, and most images are judged before.
    import torch

    from lowdose.physics.lattice import SIDES, apart_from_lattice

    # In units of their own, so that single precision does.
    middle, unit = float(np.median(sample)), _range(sample) or 1.0
    windows = [
        torch.from_numpy(((window.astype(np.float64) - middle) / unit).astype(np.float32))
        for window in spread_windows(pixels)
    ]
    for side in sorted(SIDES):
        found = [parts for window in windows if (parts := apart_from_lattice(window, side=side))]
        if found:
            lattice, rest = (
                torch.cat(parts).double().numpy() * unit for parts in zip(*found, strict=True)
            )
            yield scatter_beside_lattice(lattice + middle, rest)


def _ratios_to_counts(step: float, offset: float, scatter: Scatter) -> NDArray[np.float64]:
    """Noise variance over that of counts, per intensity, the darkest left out."""
    expected = step * (scatter.mean - offset)
    bright = expected > 0.1 * max(expected.max(), 0)
    ratios: NDArray[np.float64] = scatter.variance[bright] / expected[bright]
    return ratios


def _is_clear(line: Line, scatter: Scatter) -> bool:
    """Whether the noise can only be that of electrons: white, and growing along a line.

    Fine texture is smoother than noise, or differs from place to place.
    """
    level = float(line.at(np.array(np.median(scatter.mean))))
    return scatter.is_white and _is_sharp(line, scatter) and level > _FEW * line.slope**2


def _is_sharp(line: Line, scatter: Scatter) -> bool:
    """Whether the variances are on a line, which is known well."""
    is_near = line.spread < max(_TIGHT, _chance(scatter))
    return is_near and 0 < line.slope_std < _CERTAIN * line.slope


def _chance(scatter: Scatter) -> float:
    """Relative deviation of the variances of white noise from their line."""
    return CHANCE / math.sqrt(float(np.median(scatter.blocks)))


def _are_quieter(ratios: NDArray[np.float64], scatter: Scatter) -> bool:
    """Whether some intensities, or the darkest, are too quiet: texture takes nothing away."""
    least = min(float(np.quantile(ratios, 0.1)), float(ratios[:_DARKEST].mean()))
    return least < 1 - max(_QUIETER[0], _QUIETER[1] * _chance(scatter))


def _is_refuted(
    ratios: NDArray[np.float64], scatter: Scatter, *, is_steep: bool, is_grey: bool
) -> bool:
    """Whether a clear line, perhaps too steep for fine texture, shows that steps are no counts."""
    if _are_quieter(ratios, scatter) or (is_grey and _are_off_counts(ratios, scatter)):
        return True
    return is_steep and float(np.quantile(ratios, 0.75)) > _MOST_COUNT_NOISE


def _are_off_counts(ratios: NDArray[np.float64], scatter: Scatter) -> bool:
    """Whether not even three intensities in four have the noise of counts."""
    near = max(_NEAR[0], _NEAR[1] * _chance(scatter))
    return bool(np.quantile(np.abs(ratios - 1), 0.75) > near)


def _count_offset(step: float, lowest: float, scatter: Scatter, *, is_noise: bool) -> float:
    """Pixel value of zero counts.

    Raw counts have it at 0. Rescaled ones have lost it: it follows from how noisy they are where
    that is noise beyond doubt or grows as the step says, else the lowest pixel is taken for it, the
    least noise there can be.
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
    gain = line.least
    if gain <= 0 or gain * (middle - float(scatter.mean.min())) <= 0.05 * level:
        return _signal_independent(scatter, is_even=scatter.is_white and line.spread < _TIGHT)
    intercept = level - gain * middle
    offset, readout = (0.0, math.sqrt(intercept)) if intercept > 0 else (-intercept / gain, 0.0)
    return NoiseModel(
        gain,
        offset,
        readout,
        line.slope_std,
        basis="fitted to the homogeneous parts of the image",
        remark="the fit is uncertain and its lower end is taken; pass --gain if you know it"
        if line.slope_std > 0.3 * line.slope or line.spread > 0.5
        else "",
        correlation=scatter.correlation,
    )


def _signal_independent(scatter: Scatter, *, is_even: bool) -> NoiseModel:
    """Constant noise, as readout noise that drowns the shot noise.

    The quieter parts decide, unless all are as noisy but for chance.
    """
    variance = float(np.quantile(scatter.variance, 0.5 if is_even else 0.25))
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


def _windows_and_sample(pixels: NDArray[Any]) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """What is measured of an image, and a sample of all of it, the smallest first."""
    windows, sample = list(spread_windows(pixels)), _spread_sample(_some_frames(pixels))
    for part in (*windows, sample):
        check_finite(part)
    return windows, sample


def _some_frames(pixels: NDArray[Any]) -> list[NDArray[Any]]:
    """Up to eight frames from the first to the last, or the one that there is."""
    stack = pixels if pixels.ndim == 3 else pixels[None]
    last = len(stack) - 1
    count = min(len(stack), _FRAMES)
    return [stack[last * index // max(count - 1, 1)] for index in range(count)]


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
    frames = _some_frames(pixels)
    height, width = frames[0].shape
    if height * width <= _WINDOWS * _WINDOW**2:
        yield from frames
        return
    per_side = math.isqrt(_WINDOWS)
    for index in range(_WINDOWS):
        top = _place(index // per_side, per_side, height)
        left = _place(index % per_side, per_side, width)
        yield frames[index % len(frames)][top : top + _WINDOW, left : left + _WINDOW]


def _place(index: int, count: int, length: int) -> int:
    start = max(length - _WINDOW, 0) * index // (count - 1)
    return start - start % BLOCK


def _spread_sample(frames: list[NDArray[Any]]) -> NDArray[Any]:
    """Pixels on a coarse grid over some frames, the smallest first."""
    skip = max(1, math.isqrt(len(frames) * frames[0].size // _SAMPLE))
    return np.sort([frame[::skip, ::skip] for frame in frames], axis=None)


def _range(sample: NDArray[Any]) -> float:
    """Between the 0.5 and 99.5 percentiles of sorted pixels."""
    outside = (len(sample) - 1) // 200
    return float(sample[-1 - outside]) - float(sample[outside])


def _relative_noise(scatter: Scatter, sample: NDArray[Any]) -> float:
    """Deviation at most intensities, of the image's range."""
    return math.sqrt(float(np.median(scatter.variance))) / max(_range(sample), 1e-300)


def _is_grey(sample: NDArray[Any]) -> bool:
    """Whether there are 8 bits, in which files hold grey levels as often as counts."""
    return sample.dtype.itemsize == 1


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-3
