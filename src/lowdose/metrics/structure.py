"""Structural similarity."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lowdose.metrics.pixelwise import comparable, positive_range

SIDE = 7  # of the uniform window, as the paper's benchmark takes it


def ssim(estimate: ArrayLike, reference: ArrayLike, *, data_range: float) -> float:
    r"""Return the mean structural similarity of two images [1]_.

    Over every 7×7 window that lies inside the image, with its means, variances and covariance:

    .. math:: \frac{(2\mu_x\mu_y + c_1)(2\sigma_{xy} + c_2)}
                   {(\mu_x^2 + \mu_y^2 + c_1)(\sigma_x^2 + \sigma_y^2 + c_2)}

    Parameters
    ----------
    estimate, reference : array_like, shape (H, W)
        Real images in the same unit, at least 7×7 pixels.
    data_range : float
        Span of possible values in that unit, above 0: c₁ = (0.01 range)², c₂ = (0.03 range)².

    Returns
    -------
    float
        At most 1, and 1 for equal images only. Symmetric in the two images.

    Raises
    ------
    ValueError
        If the images cannot be compared, are smaller than the window or not two-dimensional, or
        the range is not positive.

    Notes
    -----
    Uniform window and sample (N - 1) covariance: the defaults of scikit-image, not Wang's own
    Gaussian window of deviation 1.5.

    References
    ----------
    .. [1] Z. Wang et al., IEEE Trans. Image Process. 13, 600 (2004), eq. 13.

    Examples
    --------
    >>> ramp = np.arange(64.0).reshape(8, 8)
    >>> ssim(ramp, ramp, data_range=63)
    1.0
    """
    x, y = comparable(estimate, reference)
    if x.ndim != 2 or min(x.shape) < SIDE:
        raise ValueError(
            f"images have shape {x.shape}; SSIM needs (H, W) of at least {SIDE} x {SIDE}."
        )
    c1, c2 = (k * positive_range(data_range) for k in (0.01, 0.03))
    mean_x, mean_y = box_mean(x), box_mean(y)
    sample = SIDE**2 / (SIDE**2 - 1)
    variances = sample * (box_mean(x * x) - mean_x**2 + box_mean(y * y) - mean_y**2)
    covariance = sample * (box_mean(x * y) - mean_x * mean_y)
    luminance = (2 * mean_x * mean_y + c1**2) / (mean_x**2 + mean_y**2 + c1**2)
    return float(np.mean(luminance * (2 * covariance + c2**2) / (variances + c2**2)))


def box_mean(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of every 7×7 window inside `image`: shape (H - 6, W - 6).

    Shifted sums rather than cumulative ones, whose rounding grows with the image.
    """
    height, width = (side - SIDE + 1 for side in image.shape)
    rows = np.sum([image[k : k + height] for k in range(SIDE)], axis=0)
    means: NDArray[np.float64] = np.sum([rows[:, k : k + width] for k in range(SIDE)], axis=0)
    return means / SIDE**2
