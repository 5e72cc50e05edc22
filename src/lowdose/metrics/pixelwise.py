"""Differences counted pixel by pixel, and the check that two images can be compared at all."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def comparable(estimate: ArrayLike, reference: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    """Return both images as float64, once they are known to have the same pixels.

    Parameters
    ----------
    estimate, reference : array_like, same shape
        Real images in the same unit.

    Returns
    -------
    tuple of two ndarrays
        The same images; copied only where they were not float64.

    Raises
    ------
    ValueError
        If the shapes differ, there is no pixel, or a pixel is not finite.
    """
    images = np.asarray(estimate, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    shapes = [image.shape for image in images]
    if shapes[0] != shapes[1]:
        raise ValueError(f"estimate has shape {shapes[0]} and reference {shapes[1]}; crop one.")
    if images[0].size == 0:
        raise ValueError(f"images of shape {shapes[0]} have no pixel to compare.")
    for name, image in zip(("estimate", "reference"), images, strict=True):
        bad = image.size - np.count_nonzero(np.isfinite(image))
        if bad:
            raise ValueError(f"{bad} pixels of the {name} are NaN or infinite; replace them first.")
    return images


def mse(estimate: ArrayLike, reference: ArrayLike) -> float:
    """Return the mean squared error.

    Parameters
    ----------
    estimate, reference : array_like, same shape
        Real images in the same unit.

    Returns
    -------
    float
        In that unit, squared; never negative.

    Raises
    ------
    ValueError
        If the images cannot be compared: see `comparable`.

    Examples
    --------
    >>> mse([[1, 2], [3, 4]], [[1, 2], [3, 6]])
    1.0
    """
    estimate, reference = comparable(estimate, reference)
    return float(np.mean((estimate - reference) ** 2))


def psnr(estimate: ArrayLike, reference: ArrayLike, *, data_range: float | None = None) -> float:
    """Return the peak signal-to-noise ratio, ``10 log10(data_range**2 / mse)``.

    Parameters
    ----------
    estimate, reference : array_like, same shape
        Real images in the same unit.
    data_range : float, optional
        The peak, in the images' unit, above 0. Without it: maximum minus minimum of `reference`.

    Returns
    -------
    float
        In dB; infinite for equal images.

    Raises
    ------
    ValueError
        If the images cannot be compared, or the range is not positive.

    Examples
    --------
    >>> psnr([[0, 9]], [[0, 10]], data_range=10) == 10 * math.log10(10**2 / 0.5)
    True
    """
    estimate, reference = comparable(estimate, reference)
    peak = positive_range(np.ptp(reference) if data_range is None else data_range)
    error = mse(estimate, reference)
    return 10 * math.log10(peak**2 / error) if error else math.inf


def positive_range(data_range: float) -> float:
    """Return `data_range`, or raise ValueError if nothing can be measured against it."""
    if not 0 < data_range < math.inf:
        raise ValueError(
            f"data range is {data_range:g}; it must be positive and finite."
            " A constant image has none: pass data_range."
        )
    return float(data_range)
