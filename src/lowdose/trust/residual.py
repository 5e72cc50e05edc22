"""Is anything left in what was taken off? Tests of a result against its input, without a truth.

What a denoiser takes off is noise and nothing else, if the result is right. How an honest result
falls short of that is known in sign: it follows some of the noise and keeps some with the texture,
so that *less* than the noise is taken off, at every spatial frequency and at every brightness.
*More* than the noise means that structure went with it, or that the noise model is wrong. So most
tests here look at one side alone.

The thresholds are theory for pure noise plus a tolerance for honest results: those of the
`everyday` weights, given the right noise model, of real micrographs of 512 × 512 pixels with
Poisson noise of 5, 20, 100, 500 and 2500 electrons per pixel. Chosen on one set of specimens;
the rates of false alarms that the docstrings give are those of another. Of 525 results 3 gave a
warning of any kind. Of truths without any noise, as simulated ones, more do at high dose (1 of 6
at 500 electrons, 3 of 6 at 2500): there the network does lose a little more than the noise hides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lowdose.metrics.residual import residual_statistics
from lowdose.physics.correlation import taps_of
from lowdose.physics.dose import NoiseModel, check_finite
from lowdose.trust.finding import Finding, judged

Image = NDArray[np.float64]
T = TypeVar("T", bound=np.generic)

SIZES = (3, 5, 9, 17)
"""Sides in pixels of the windows in which a result is compared with its input."""

# A mean below is taken for this, in electrons: the residual of next to no electrons is no normal
# number, and a result of exactly 0 would make a single one impossible.
_LEAST_VARIANCE = 0.25
_LEAST_MEAN = 0.02
# The spectrum is taken of the middle, this wide at most: 1 % of accuracy a ring.
_MIDDLE = 1024
_RINGS = 12
# Frequencies at which correlated noise has less than this part of its mean power are not tested.
_LEAST_POWER = 0.1
# Blocks by whose mean brightness pixels are sorted: single ones would be sorted by their noise.
_BLOCK = 32
_BINS = 8
# So much of the image is taken for the smoothest, where texture hides no noise.
_SMOOTHEST = 0.1
# Contradictions are listed up to this many, the worst first.
_MOST = 100
# Rows in which windows are compared at a time.
_BAND = 512

# What honest results do beyond pure noise; rates in the docstrings of the tests.
_TOO_MUCH = 1.15
_LEVELS = 0.8, 1.5
_LEAST_LEVEL = 0.85
_EXCESS = 0.08
_NEIGHBOURS = 0.02
_BIAS = 0.05
_SLACK = 1.05


@dataclass(frozen=True)
class Contradiction:
    """A place where the data are unlikely, were the result true.

    Parameters
    ----------
    y, x : int
        Middle of the window, in pixels.
    size : int
        Side of the window, of `SIZES`, in which it is most unlikely.
    deviations : float
        By how many deviations the sum of the window is off; positive where the data hold more
        than the result.
    """

    y: int
    x: int
    size: int
    deviations: float


@dataclass(frozen=True)
class Evidence:
    """Where data speak against a result, and how loud.

    Parameters
    ----------
    map : ndarray of float32, shape (H, W)
        How much likelier the data are with a local offset than with the result, as the logarithm
        of the ratio: half the squared deviations, the largest of all windows around a pixel.
    threshold : float
        Of the map, which honest results pass anywhere in at most 5 % of images.
    places : tuple of Contradiction
        What passes it, the worst first, one for each neighbourhood and at most 100.
    """

    map: NDArray[np.float32]
    threshold: float
    places: tuple[Contradiction, ...]


def standardised_residual(noisy: ArrayLike, estimate: ArrayLike, noise: NoiseModel) -> Image:
    """What was taken off, in noise deviations: variance 1 if it is the noise.

    Parameters
    ----------
    noisy, estimate : array_like, shape (H, W)
        Recorded and denoised pixels, in the unit of the noise model.
    noise : NoiseModel
        That the image was denoised with, of a gain above 0.

    Returns
    -------
    ndarray, shape (H, W)
        Of next to no electrons, below a quarter each, the deviation is taken for larger than it
        is and the whole scaled so that its expected variance is 1 all the same.

    Raises
    ------
    ValueError
        If the images differ in shape, have not two axes of at least 64 pixels, or the model holds
        no noise.
    NoiseModelError
        If a pixel is no finite number.

    Examples
    --------
    >>> noisy = np.random.default_rng(0).poisson(20.0, (256, 256))
    >>> residual = standardised_residual(noisy, np.full(noisy.shape, 20.0), NoiseModel(1))
    >>> round(float(residual.var()), 1)
    1.0
    """
    noisy, estimate = _checked(noisy, estimate, noise)
    residual = noisy - estimate
    residual /= _deviation(estimate, noise)
    return residual


def residual_findings(noisy: ArrayLike, estimate: ArrayLike, noise: NoiseModel) -> list[Finding]:
    """Ask of a result all that this module asks of it, but for the map of `contradictions`.

    Parameters
    ----------
    noisy, estimate, noise
        As in `standardised_residual`, which also says what is raised.

    Returns
    -------
    list of Finding
        ``"noise removed"``, ``"spectrum removed"``, ``"neighbours removed"``,
        ``"brightness kept"`` and ``"noise against brightness"``.
    """
    noisy, estimate = _checked(noisy, estimate, noise)
    deviation = _deviation(estimate, noise)
    residual = (noisy - estimate) / deviation
    moments = residual_statistics(estimate, noisy, noise_std=deviation)
    bins = _by_brightness(estimate)
    levels = _noise_levels(noisy, estimate, noise)
    seen = levels[np.isfinite(levels)]
    smoothest = float(np.quantile(seen, _SMOOTHEST)) if seen.size else math.nan
    down, across = noise.correlation
    excess = max(moments.lag1_y - down, moments.lag1_x - across)
    return [
        noise_removed(smoothest, moments.variance_ratio),
        spectrum_removed(residual, noise),
        neighbours_removed(excess, residual.size),
        brightness_kept(residual, bins),
        noise_against_brightness(levels, bins),
    ]


def noise_removed(level: float, variance_ratio: float) -> Finding:
    """Whether what was taken off, and what could have been, has the variance of the noise.

    A result that keeps noise, as one does that cannot tell it from texture, lowers the variance of
    what was taken off to any value: that says nothing about the noise model. So its variance is
    held against the noise on one side alone. The other side is seen in the recorded image where
    it is smoothest: the finest detail there is noise, and has no less than the noise's variance.

    Parameters
    ----------
    level : float
        Variance of the finest detail in the smoothest tenth of the recorded image, over that of
        the noise at the brightness that the result says; NaN if it has too few electrons to judge.
    variance_ratio : float
        Variance of the residual in units of the noise's.

    Returns
    -------
    Finding
        Warns of a variance ratio above 1.15, and of a level below 0.8: a gain too high. Notes a
        level above 1.5: a gain too low, or texture as fine as the pixels all over the image.

    Notes
    -----
    Of 525 honest results (105 micrographs at five doses) 1 gave a warning; a note 0, 0, 24, 47 and
    74 % at 5, 20, 100, 500 and 2500 electrons: published micrographs hold noise of their own. Half
    the gain was noted and twice the gain warned of in all simulated images up to 100 electrons.
    On micrographs half the gain was always noted; twice the gain was found in all up to 20
    electrons, in 62 % at 100 and in 31 % above, where texture hides the noise that is missing.
    """
    low, high = _LEVELS
    name = "noise removed"
    if level < low:  # the recorded image says so itself, whatever was taken off
        return Finding(
            name,
            "warning",
            level,
            low,
            f"The noise of the image has {level:.2f} times the variance that the noise model says: "
            "the gain is too high, and the result is smoother than it needs to be.",
            "Give the right gain; if you gave one, let it be estimated instead.",
        )
    if variance_ratio > _TOO_MUCH:
        return Finding(
            name,
            "warning",
            variance_ratio,
            _TOO_MUCH,
            f"What was taken off has {variance_ratio:.2f} times the variance of the noise: "
            "structure went with it, or the noise is stronger than the noise model says.",
            "Look at the difference of the two images for structure; if there is none, check the "
            "gain.",
        )
    if level > high:
        return Finding(
            name,
            "note",
            level,
            high,
            f"Even the smoothest regions have {level:.1f} times the variance of the noise model: "
            "texture as fine as the pixels everywhere, or a gain too low.",
            "If the specimen has no such texture, pass --gain fit.",
        )
    meaning = f"No more than the noise was taken off: {variance_ratio:.2f} times its variance."
    return Finding(name, "fine", variance_ratio, _TOO_MUCH, meaning)


def spectrum_removed(residual: Image, noise: NoiseModel) -> Finding:
    """Whether more than the noise was taken off at any spatial frequency.

    The power of the residual, ring by ring in Fourier space, over that of the noise; correlated
    noise is allowed for by its own spectrum. The threshold is four deviations of a ring's mean and
    8 %. Warned of 1 in 525 honest results, and of 1 in 32 with noise correlated by 0.15 or 0.35.

    Parameters
    ----------
    residual : ndarray, shape (H, W)
        As from `standardised_residual`; of large ones the middle 1024 × 1024 pixels are seen.
    noise : NoiseModel
        For its correlation.
    """
    part = middle(residual)
    power = np.abs(np.fft.rfft2(part - part.mean())) ** 2 / part.size
    expected = _noise_spectrum(part.shape, noise.correlation)
    radius = np.hypot(np.fft.fftfreq(part.shape[0])[:, None], np.fft.rfftfreq(part.shape[1]))
    ring = np.minimum((radius * 2 * _RINGS).astype(np.intp), _RINGS)
    ring[expected < _LEAST_POWER] = _RINGS + 1  # not looked at
    ring[0, 0] = _RINGS + 1
    count = np.bincount(ring.ravel(), minlength=_RINGS + 2)[:-1]
    total = np.bincount(ring.ravel(), (power / expected).ravel(), _RINGS + 2)[:-1]
    excess = total / np.maximum(count, 1) - 1 - 4 / np.sqrt(np.maximum(count, 1))
    worst = int(np.argmax(excess))
    value, period = float(excess[worst]), 2 * _RINGS / (worst + 0.5)
    return judged(
        "spectrum removed",
        value,
        _EXCESS,
        fine="At no spatial frequency was more taken off than the noise.",
        fault=f"At periods about {period:.1f} px {100 * value:.0f} % more was taken off than "
        "noise: structure of that size is missing from the result.",
        action="Do not measure structure of that size in the result; use more dose or other "
        "weights.",
    )


def neighbours_removed(correlation: float, pixels: int) -> Finding:
    """Whether neighbours in what was taken off belong together, as in structure.

    Noise that a result follows makes them differ, so that only a positive correlation tells. The
    threshold is four deviations of that of white noise, and 0.02. Warned of none of 525 honest
    results.

    Parameters
    ----------
    correlation : float
        Of neighbours in the residual, less that of the noise; the larger of y and x.
    pixels : int
        In the image.
    """
    return judged(
        "neighbours removed",
        correlation,
        _NEIGHBOURS + 4 / math.sqrt(pixels),
        fine="Neighbouring pixels of what was taken off do not belong together.",
        fault=f"Neighbouring pixels of what was taken off correlate by {correlation:.2f} more than "
        "noise does: structure went with it, or the noise itself is correlated.",
        action="Look at the difference of the two images for structure.",
    )


def brightness_kept(residual: Image, bins: NDArray[np.intp]) -> Finding:
    """Whether regions of each brightness keep it: the mean of what was taken off is 0 in each.

    The threshold is four deviations of the mean of white noise, and 0.05 noise deviations a pixel.
    Warned of none of 525 honest results.

    Parameters
    ----------
    residual : ndarray, shape (H, W)
        As from `standardised_residual`.
    bins : ndarray of int, shape (H // 32, W // 32)
        Which of eight ranges of brightness each block is in.
    """
    means, count = _block_means(residual), np.bincount(bins.ravel(), minlength=_BINS)
    by_bin = np.bincount(bins.ravel(), means.ravel(), _BINS) / np.maximum(count, 1)
    beyond = np.abs(by_bin) - 4 / (_BLOCK * np.sqrt(np.maximum(count, 1)))
    worst = int(np.argmax(beyond))
    side = "darker" if by_bin[worst] > 0 else "brighter"
    return judged(
        "brightness kept",
        float(beyond[worst]),
        _BIAS,
        fine="Dark and bright regions keep their brightness.",
        fault=f"Regions in the {_ordinal(worst)} of eight ranges of brightness are {side} in the "
        f"result by {abs(by_bin[worst]):.2f} noise deviations a pixel.",
        action="Do not measure intensities in the result; check offset and gain.",
    )


def noise_against_brightness(levels: Image, bins: NDArray[np.intp]) -> Finding:
    """Whether the noise grows with the brightness as the noise model says.

    Less of it than 0.85 at any brightness is a warning; more may be texture. Warned of none of 525
    honest results.

    Parameters
    ----------
    levels : ndarray, shape (H // 32, W // 32)
        Variance of the finest detail in each block, over that of the noise; NaN where a pixel
        has less than a quarter of an electron, which is too few to judge.
    bins : ndarray of int, like `levels`
        Which of eight ranges of brightness each block is in.
    """
    low, name = _LEAST_LEVEL, "noise against brightness"
    seen = np.isfinite(levels)
    count = np.bincount(bins[seen], minlength=_BINS)
    sums = np.bincount(bins[seen], levels[seen], _BINS)
    means = np.divide(sums, count, out=np.full(_BINS, np.inf), where=count > 0)
    worst = int(np.argmin(means))
    value = float(means[worst])
    if value >= low:
        meaning = "At no brightness is there less noise than the noise model says."
        return Finding(name, "fine", value, low, meaning)
    return Finding(
        name,
        "warning",
        value,
        low,
        f"In the {_ordinal(worst)} of eight ranges of brightness, from dark, the noise has "
        f"{value:.2f} times the variance that the noise model says.",
        "Check offset and readout noise, and whether the image is linear (no gamma, not clipped).",
    )


def contradictions(noisy: ArrayLike, estimate: ArrayLike, noise: NoiseModel) -> Evidence:
    r"""Find where the data speak against a result, whatever the size of what is wrong.

    For each window around each pixel the log likelihood ratio of two Poisson means: of k, what
    was recorded there, to m, what the result says,

    .. math:: \tfrac12 z^2 = k \ln(k / m) - (k - m)

    with the variance of the readout noise added to both, which makes it right for that as well.
    Half the squared deviations of the sum, where that is many electrons. Correlated noise makes
    sums scatter more, by a factor known from the correlation, which is taken off.

    Parameters
    ----------
    noisy, estimate, noise
        As in `standardised_residual`, which also says what is raised.

    Returns
    -------
    Evidence
        Its threshold is that of as many independent normal numbers as there are windows, of which
        none passes in 95 % of images (Bonferroni: windows overlap, so it is fewer), and 5 % more
        deviations for what honest results miss. Passed by 2 of 525 honest results, both at 2500
        electrons.

    Notes
    -----
    Measured on results of the `everyday` weights: a square of 5 pixels, three noise deviations
    off, was found in all of 108 micrographs of 5 to 500 electrons, and each of 48 rows missing
    from simulated lattices of 20, 100 or 500. Blur of 1.5 or 2 pixels was found, by this or
    another test of this module, in all micrographs from 100 electrons on, in 94 % at 20 and in
    61 % at 5; of those in which it moves a pixel by more than 0.12 noise deviations, root mean
    square, in all and 93 %. Where it moves less, the noise hides what was lost.
    """
    noisy, estimate = _refused(noisy, estimate, noise)
    deviations = np.empty(noisy.shape, np.float32)
    sizes = np.empty(noisy.shape, np.uint8)
    height, reach = len(noisy), SIZES[-1] // 2
    for top in range(0, height, _BAND):  # an image of 8192 x 8192 at once would take 6 GB
        seen = slice(max(0, top - reach), top + _BAND + reach)
        own = slice(top - seen.start, min(top + _BAND, height) - seen.start)
        found, size = _worst_windows(noisy[seen], estimate[seen], noise)
        deviations[top : top + _BAND], sizes[top : top + _BAND] = found[own], size[own]
    threshold = 0.5 * (_SLACK * _normal_threshold(len(SIZES) * noisy.size)) ** 2
    likelihood = 0.5 * deviations**2
    return Evidence(likelihood, threshold, _places(likelihood, deviations, sizes, threshold))


def _worst_windows(
    noisy: NDArray[Any], estimate: NDArray[Any], noise: NoiseModel
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Deviations of the window around each pixel that is furthest off, and its side."""
    unit = 1 / noise.gain
    readout = noise.readout_electrons**2
    difference = _integral(np.subtract(noisy, estimate, dtype=np.float64) * unit)
    expected = np.subtract(estimate, noise.offset, dtype=np.float64) * unit
    mean = _integral(np.maximum(expected, _LEAST_MEAN) + readout)
    deviations = np.zeros(noisy.shape, np.float32)
    sizes = np.full(noisy.shape, SIZES[0], np.uint8)
    for size in SIZES:
        found = _deviance(_sums(difference, size), _sums(mean, size))
        found /= np.float32(_spread(size, noise.correlation))
        larger = np.abs(found) > np.abs(deviations)
        np.copyto(deviations, found, where=larger)
        sizes[larger] = size
    return deviations, sizes


def contradiction_finding(evidence: Evidence) -> Finding:
    """Say in words whether data speak against a result.

    Parameters
    ----------
    evidence : Evidence
        As from `contradictions`.
    """
    name, threshold = "contradictions", math.sqrt(2 * evidence.threshold)
    value = math.sqrt(2 * float(evidence.map.max()))
    if not evidence.places:
        meaning = "Nowhere do the data speak against the result."
        return Finding(name, "fine", value, threshold, meaning)
    worst, count = evidence.places[0], len(evidence.places)
    what = "holds less than" if worst.deviations > 0 else "holds more than"
    places = f"{count} place{'s' * (count > 1)}" if count < _MOST else f"{_MOST} places or more"
    return Finding(
        name,
        "warning",
        value,
        threshold,
        f"At {places} the data speak against the result; at the worst, around y {worst.y}, "
        f"x {worst.x} and {worst.size} px wide, it {what} was recorded, by {value:.1f} deviations.",
        "Look there before you trust a detail: something was removed, moved or added.",
    )


def middle(image: NDArray[T]) -> NDArray[T]:
    """Middle of an image, 1024 × 1024 pixels at most: all that a spectrum needs."""
    top, left = (max(0, (side - _MIDDLE) // 2) for side in image.shape)
    return image[top : top + _MIDDLE, left : left + _MIDDLE]


def _checked(noisy: ArrayLike, estimate: ArrayLike, noise: NoiseModel) -> tuple[Image, Image]:
    noisy, estimate = _refused(noisy, estimate, noise)
    return noisy.astype(np.float64, copy=False), estimate.astype(np.float64, copy=False)


def _refused(
    noisy: ArrayLike, estimate: ArrayLike, noise: NoiseModel
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images as they are, unless they cannot be compared."""
    noisy, estimate = np.asarray(noisy), np.asarray(estimate)
    if noisy.shape != estimate.shape or noisy.ndim != 2 or min(noisy.shape) < 2 * _BLOCK:
        raise ValueError(
            f"images of shape {noisy.shape} and {estimate.shape}; expected two of the same (H, W), "
            f"of at least {2 * _BLOCK} x {2 * _BLOCK} pixels"
        )
    if noise.is_noise_free:
        raise ValueError("the noise model has gain 0, which is no noise: nothing to compare with")
    for image in (noisy, estimate):
        check_finite(image)
    return noisy, estimate


def _deviation(estimate: Image, noise: NoiseModel) -> Image:
    """Noise deviation of each pixel, not below half an electron's; scaled to the right variance."""
    variance = noise.noise_std(estimate)
    variance *= variance
    least = _LEAST_VARIANCE * noise.gain**2
    expected = float(np.minimum(variance, least).mean()) / least
    np.maximum(variance, least, out=variance)
    variance *= max(expected, 0.01)
    return np.asarray(np.sqrt(variance, out=variance))


def _noise_levels(noisy: Image, estimate: Image, noise: NoiseModel) -> Image:
    """Variance of the finest detail over that of the noise in each block; NaN of next to none."""
    down, across = noise.correlation
    # White noise of variance 1 keeps 4: two differences, each of which doubles it.
    found = _block_means(_finest(noisy) ** 2) / (4 * (1 - down) * (1 - across))
    expected = _block_means(noise.noise_std(estimate) ** 2)
    least = _LEAST_VARIANCE * noise.gain**2
    return np.where(expected > least, found / np.maximum(expected, least), np.nan)


def _finest(image: Image) -> Image:
    """Differences of differences of neighbours along y and x: of all detail the finest."""
    fine = np.zeros_like(image)
    down = np.diff(image, axis=0)
    np.subtract(down[:, 1:], down[:, :-1], out=fine[:-1, :-1])
    return fine


def _by_brightness(estimate: Image) -> NDArray[np.intp]:
    """Number, from dark, of the eighth of all blocks that each block is in."""
    means = _block_means(estimate)
    edges = np.quantile(means, np.linspace(0, 1, _BINS + 1)[1:-1])
    return np.searchsorted(edges, means, side="right")


def _block_means(image: Image) -> Image:
    rows, columns = (side // _BLOCK for side in image.shape)
    whole = image[: rows * _BLOCK, : columns * _BLOCK]
    return np.asarray(whole.reshape(rows, _BLOCK, columns, _BLOCK).mean(axis=(1, 3)))


def _noise_spectrum(shape: tuple[int, ...], correlation: tuple[float, float]) -> Image:
    """Power of noise of variance 1 at each frequency of `numpy.fft.rfft2`, not below 1e-9."""
    parts = []
    for side, value in zip(shape, correlation, strict=True):
        taps = taps_of(value).double().numpy() if value else np.ones(1)
        power = np.abs(np.fft.fft(taps, side)) ** 2
        parts.append(power / power.mean())
    return np.maximum(np.outer(parts[0], parts[1][: shape[1] // 2 + 1]), 1e-9)


def _spread(size: int, correlation: tuple[float, float]) -> float:
    """Deviation of a window's sum of noise over that of as many independent pixels.

    >>> _spread(5, (0.0, 0.0))
    1.0
    >>> 1.7 < _spread(17, (0.5, 0.5)) < 3
    True
    """
    variance = 1.0
    for value in correlation:
        if value:
            window = np.convolve(taps_of(value).double().numpy(), np.ones(size))
            own = float(taps_of(value).double().square().sum())
            variance *= float(np.sum(window**2)) / (size * own)
    return math.sqrt(variance)


def _integral(image: Image) -> Image:
    """Sums of all above and left of a pixel, with edges repeated for the largest window."""
    sums = np.pad(image.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    return np.pad(sums, SIZES[-1] // 2, mode="edge")


def _sums(integral: Image, size: int) -> Image:
    """Sum of the window around each pixel, cut off at the border."""
    before, after = SIZES[-1] // 2 - size // 2, SIZES[-1] // 2 + size // 2 + 1
    height, width = (side - SIZES[-1] // 2 * 2 - 1 for side in integral.shape)
    rows = integral[after : after + height] - integral[before : before + height]
    return rows[:, after : after + width] - rows[:, before : before + width]


def _deviance(difference: Image, mean: Image) -> NDArray[np.float32]:
    """Signed root of twice the log likelihood ratio of Poisson means."""
    d, m = difference.astype(np.float32), mean.astype(np.float32)
    d = np.maximum(d, -m)  # no sum is below zero but by readout noise
    recorded = d + m
    ratio = np.maximum(d / m, np.float32(-1 + 1e-6))
    twice = 2 * (recorded * np.log1p(ratio) - d)
    root: NDArray[np.float32] = np.copysign(np.sqrt(np.maximum(twice, 0)), d)
    return root


def _normal_threshold(count: int) -> float:
    """What none of so many normal numbers passes on either side, in 95 % of trials."""
    return -NormalDist().inv_cdf(0.05 / (2 * count))


def _places(
    likelihood: NDArray[np.float32],
    deviations: NDArray[np.float32],
    sizes: NDArray[np.uint8],
    threshold: float,
) -> tuple[Contradiction, ...]:
    """The worst of each neighbourhood that passes, at most so many."""
    left, found = likelihood.copy(), list[Contradiction]()
    while len(found) < _MOST:
        y, x = divmod(int(left.argmax()), left.shape[1])
        if left[y, x] <= threshold:
            break
        found.append(Contradiction(y, x, int(sizes[y, x]), float(deviations[y, x])))
        reach = SIZES[-1]
        left[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = 0
    return tuple(found)


def _ordinal(index: int) -> str:
    return ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")[index]
