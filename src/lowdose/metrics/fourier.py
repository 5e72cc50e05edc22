"""Fourier ring correlation: up to which spatial frequency two images agree."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lowdose.metrics.pixelwise import comparable


@dataclass(frozen=True)
class RingCorrelation:
    """Correlation of two images, ring by ring in Fourier space.

    Parameters
    ----------
    frequency : ndarray, shape (R,)
        Centres of the rings, in cycles per pixel, from one ring width up to 0.5 (Nyquist).
    correlation : ndarray, shape (R,)
        Between -1 and 1; 0 where a ring holds no signal at all.
    """

    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]


def frc(estimate: ArrayLike, reference: ArrayLike, *, window: bool = True) -> RingCorrelation:
    r"""Return the Fourier ring correlation of two images [1]_.

    .. math:: \mathrm{FRC}(q) = \frac{\sum \mathrm{Re}(F G^*)}
                                     {\sqrt{\sum |F|^2 \sum |G|^2}}

    with the sums over a ring of mean radius q and of width 1 / min(H, W).

    Parameters
    ----------
    estimate, reference : array_like, shape (H, W)
        Real images of the same field, at least 4×4 pixels; offset and scale do not matter. As a
        measure of resolution their noise must be independent: two exposures, or an estimate and
        a truth.
    window : bool
        Multiply by a Hann window first. Without it the step between opposite edges makes a cross
        in Fourier space that correlates whatever the images hold.

    Returns
    -------
    RingCorrelation
        The curve, without the ring at zero frequency.

    Raises
    ------
    ValueError
        If the images cannot be compared, are too small or not two-dimensional.

    References
    ----------
    .. [1] W. O. Saxton and W. Baumeister, J. Microsc. 127, 127 (1982).

    Examples
    --------
    >>> image = np.random.default_rng(0).normal(size=(32, 32))
    >>> frc(image, 2 * image + 5).correlation.min().round(6)
    np.float64(1.0)
    """
    images = comparable(estimate, reference)
    if images[0].ndim != 2 or min(images[0].shape) < 4:
        raise ValueError(
            f"images have shape {images[0].shape}; FRC needs (H, W) of at least 4 x 4."
        )
    f, g = (np.fft.fft2(under_hann(image) if window else image) for image in images)
    width, ring = 1 / min(f.shape), rings(f.shape)

    def per_ring(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.bincount(ring, values.ravel()).astype(np.float64)
        return sums[1 : min(f.shape) // 2 + 1]

    shared = per_ring((f * g.conj()).real)
    power = np.sqrt(per_ring(np.abs(f) ** 2) * per_ring(np.abs(g) ** 2))
    correlation = np.divide(shared, power, out=np.zeros_like(shared), where=power > 0)
    return RingCorrelation(width * np.arange(1, len(shared) + 1), correlation)


def rings(shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Ring of each frequency of a transform of this shape, as `frc` numbers them; flat.

    Parameters
    ----------
    shape : (int, int)
        Of the image; ring n is n / min(H, W) cycles per pixel.
    """
    radius = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij"))
    return np.asarray(np.rint(radius * min(shape)), np.intp).ravel()


def frc_resolution(curve: RingCorrelation, *, threshold: float = 1 / 7) -> float:
    """Return the resolution: the period at which a curve first falls below a threshold.

    Parameters
    ----------
    curve : RingCorrelation
        As from `frc`.
    threshold : float
        1/7 (written 0.143 in cryo-EM) for two independent noisy halves [1]_; for an estimate
        against a noise-free truth 0.5 marks equal signal and error.

    Returns
    -------
    float
        In pixels; multiply by the pixel size. 2.0 (Nyquist) if the curve stays above the
        threshold, infinite if it starts below. Linear between rings.

    References
    ----------
    .. [1] P. B. Rosenthal and R. Henderson, J. Mol. Biol. 333, 721 (2003).

    Examples
    --------
    >>> curve = RingCorrelation(np.array([0.1, 0.2, 0.3]), np.array([1.0, 0.75, 0.25]))
    >>> frc_resolution(curve, threshold=0.5)  # halfway between 0.2 and 0.3 cycles per pixel
    4.0
    """
    below = np.flatnonzero(curve.correlation < threshold)
    if below.size == 0:
        return 2.0
    last = int(below[0])
    if last == 0:
        return math.inf
    ends = slice(last, last - 2 if last > 1 else None, -1)  # np.interp wants rising correlation
    return 1 / float(np.interp(threshold, curve.correlation[ends], curve.frequency[ends]))


def radial_profile(image: ArrayLike) -> NDArray[np.float64]:
    """Return the mean Fourier magnitude by radius, scaled to sum 1, as the paper plots it [1]_.

    Parameters
    ----------
    image : array_like, shape (H, W)
        Real and not zero everywhere; its unit does not matter.

    Returns
    -------
    ndarray, shape (R,)
        Element r is the mean over all frequencies whose distance from zero, in steps of
        1 / min(H, W) and rounded down, is r. No window: the mean of the image is element 0.

    Raises
    ------
    ValueError
        If the image is not two-dimensional, not finite, or zero everywhere.

    References
    ----------
    .. [1] J. M. Ede, Ultramicroscopy 202, 18 (2019), script ``apply_filters.py``.

    Examples
    --------
    >>> radial_profile(np.ones((4, 4)))  # nothing but a mean
    array([1., 0., 0.])
    """
    profile = radial_amplitude(image)
    if not profile.any():
        raise ValueError("image is zero everywhere; its profile has no sum to scale by.")
    return np.asarray(profile / profile.sum(), dtype=np.float64)


def radial_amplitude(image: ArrayLike) -> NDArray[np.float64]:
    """Return the mean Fourier magnitude by radius, see `radial_profile`, unscaled.

    Parameters
    ----------
    image : array_like, shape (H, W)
        Real.

    Returns
    -------
    ndarray, shape (R,)
        By radius, rounded down; R steps of 1 / min(H, W) cycles per pixel.

    Raises
    ------
    ValueError
        If the image is not two-dimensional or not finite.

    Examples
    --------
    >>> radial_amplitude(np.ones((4, 4)))
    array([16.,  0.,  0.])
    """
    image, _ = comparable(image, image)
    if image.ndim != 2:
        raise ValueError(f"image has shape {image.shape}; a radial profile needs (H, W).")
    # Multiplied first: whole numbers of steps must come out whole.
    steps = [np.fft.fftfreq(side, 1 / side) * min(image.shape) / side for side in image.shape]
    radius = np.hypot(*np.meshgrid(*steps, indexing="ij")).astype(np.intp).ravel()
    magnitude = np.abs(np.fft.fft2(image)).ravel()
    return np.asarray(np.bincount(radius, magnitude) / np.bincount(radius), dtype=np.float64)


def under_hann(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """An image (H, W) without its mean, under a Hann window."""
    # One longer, last sample left out: the periodic window, whose transform has three terms.
    hann_y, hann_x = (np.hanning(side + 1)[:-1] for side in image.shape)
    return np.asarray((image - image.mean()) * np.outer(hann_y, hann_x))
