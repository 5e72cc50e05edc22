"""What a denoiser took away: if it is the noise, it is white and has the noise's variance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lowdose.metrics.pixelwise import comparable


@dataclass(frozen=True)
class ResidualStatistics:
    """Moments of a standardised residual.

    Parameters
    ----------
    mean : float
        In noise deviations; 0 if no intensity is gained or lost.
    variance_ratio : float
        Variance of what was removed over that of the noise. Near 1 for a good denoiser (a little
        below: it keeps what it cannot tell from signal); above 1 it removed signal as well.
    lag1_y, lag1_x : float
        Correlation of neighbours along y and x, between -1 and 1: 0 for white noise, positive
        where structure was removed.
    """

    mean: float
    variance_ratio: float
    lag1_y: float
    lag1_x: float


def residual_statistics(
    estimate: ArrayLike, noisy: ArrayLike, *, noise_std: ArrayLike
) -> ResidualStatistics:
    """Return the moments of (noisy - estimate) / noise_std. Needs no truth.

    Parameters
    ----------
    estimate, noisy : array_like, shape (H, W)
        Denoised and recorded image in the same unit, at least 2×2 pixels.
    noise_std : float or array_like, broadcast to (H, W)
        Deviation of the noise in that unit, above 0: for electrons about ``sqrt(estimate)``.

    Returns
    -------
    ResidualStatistics
        Its correlations are 0 where the residual is constant.

    Raises
    ------
    ValueError
        If the images cannot be compared, are too small or not two-dimensional, or a deviation is
        not positive.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noisy = 50 + 3 * rng.normal(size=(256, 256))
    >>> round(residual_statistics(np.full((256, 256), 50.0), noisy, noise_std=3).variance_ratio, 1)
    1.0
    """
    estimate, noisy = comparable(estimate, noisy)
    if noisy.ndim != 2 or min(noisy.shape) < 2:
        raise ValueError(f"images have shape {noisy.shape}; need (H, W) of at least 2 x 2.")
    deviation = np.asarray(noise_std, dtype=np.float64)
    if not np.all(deviation > 0):
        raise ValueError(
            f"smallest noise_std is {deviation.min():g}; it must be above 0 everywhere."
        )
    residual = (noisy - estimate) / deviation
    centred = residual - residual.mean()
    return ResidualStatistics(
        mean=float(residual.mean()),
        variance_ratio=float(centred.var()),
        lag1_y=_correlation(centred[1:], centred[:-1]),
        lag1_x=_correlation(centred[:, 1:], centred[:, :-1]),
    )


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the correlation of two centred samples; 0 if either has no variance."""
    power = np.sqrt(np.sum(a * a) * np.sum(b * b))
    return float(np.sum(a * b) / power) if power > 0 else 0.0
