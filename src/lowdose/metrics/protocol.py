"""Two ways to score a denoiser of counts: as Ede (2018) did, and without that way's oddities."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lowdose.metrics.fourier import frc, frc_resolution
from lowdose.metrics.pixelwise import comparable, mse, positive_range, psnr
from lowdose.metrics.structure import ssim


@dataclass(frozen=True)
class PaperScores:
    """Mean squared error in units of the noisy image's range, and SSIM, by the paper's protocol."""

    mse: float
    ssim: float


@dataclass(frozen=True)
class CleanScores:
    """An estimate in counts against the truth in counts.

    Parameters
    ----------
    mse : float
        Mean squared error in counts².
    psnr, ssim : float
        In dB, and at most 1; both with the truth's range.
    bias : float
        Mean of the estimate over that of the truth, less 1: intensity gained or lost. NaN where
        the truth's mean is not positive.
    frc_cutoff : float
        Spatial frequency in cycles per pixel at which the Fourier ring correlation with the truth
        first falls below 1/2, where signal and error are equal: 0.5 at best, 0 at worst.
    """

    mse: float
    psnr: float
    ssim: float
    bias: float
    frc_cutoff: float


def paper_images(
    estimate_counts: ArrayLike, truth: ArrayLike, noisy_counts: ArrayLike, *, clip: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bring an estimate and its target to the scale on which the reference paper compares them.

    Parameters
    ----------
    estimate_counts, truth, noisy_counts, clip
        As for `paper_protocol`.

    Returns
    -------
    (ndarray, ndarray), shape (H, W)
        The estimate in units of the noisy image's range, and the target.

    Raises
    ------
    ValueError
        If the images cannot be compared, the noisy image is constant, or the truth is zero
        everywhere.

    Examples
    --------
    >>> paper_images([[0, 8]], [[0.0, 1.0]], [[0, 4]], clip=False)
    (array([[0., 2.]]), array([[0., 1.]]))
    """
    estimate, noisy = comparable(estimate_counts, noisy_counts)
    truth, noisy = comparable(truth, noisy)
    low, span = noisy.min(), positive_range(np.ptp(noisy))
    scaled = (estimate - low) / span
    target = truth * (((noisy - low) / span).mean() / positive_range(truth.mean()))
    return np.clip(scaled, 0, 1) if clip else scaled, target


def paper_protocol(
    estimate_counts: ArrayLike, truth: ArrayLike, noisy_counts: ArrayLike, *, clip: bool = True
) -> PaperScores:
    """Score an estimate as the reference paper does [1]_.

    The noisy image is scaled to [0, 1] by its own minimum and maximum. An estimate in counts
    follows by the same map. The target is the truth times ``mean(noisy) / mean(truth)``.

    Parameters
    ----------
    estimate_counts : array_like, shape (H, W)
        The denoised image, in the unit of `noisy_counts`.
    truth : array_like, shape (H, W)
        The noise-free image scaled to [0, 1] by its own minimum and maximum.
    noisy_counts : array_like, shape (H, W)
        ``Poisson(s * truth)``.
    clip : bool
        Clip the scaled estimate to [0, 1] first. The released benchmark does so with the output
        of its network and of no other method.

    Returns
    -------
    PaperScores
        SSIM takes the range of the *estimate*; the error is not capped: see `paper_capped`.

    Raises
    ------
    ValueError
        If the images cannot be compared, the noisy image or the estimate is constant, or the
        truth is zero everywhere.

    Notes
    -----
    The truth's minimum is 0 and Poisson(0) is 0, so the noisy image's minimum is 0 as well: the
    map is a mere division by its maximum. With readout noise it would not be, and a perfect
    estimate would no longer score 0: this protocol is for Poisson noise alone.

    References
    ----------
    .. [1] J. M. Ede, Ultramicroscopy 202, 18 (2019); arXiv:1807.11234.
    """
    scaled, target = paper_images(estimate_counts, truth, noisy_counts, clip=clip)
    return PaperScores(mse(scaled, target), ssim(scaled, target, data_range=float(np.ptp(scaled))))


def paper_capped(score: PaperScores) -> PaperScores:
    """Cap a score as the paper does before it averages: error at 0.012, similarity in [0, 1].

    Examples
    --------
    >>> paper_capped(PaperScores(0.5, -0.5))
    PaperScores(mse=0.012, ssim=0.0)
    """
    return PaperScores(min(score.mse, 0.012), min(max(score.ssim, 0.0), 1.0))


def clean_protocol(estimate_counts: ArrayLike, truth_counts: ArrayLike) -> CleanScores:
    """Score an estimate in counts against the truth in counts: nothing clipped or rescaled.

    Parameters
    ----------
    estimate_counts, truth_counts : array_like, shape (H, W)
        Denoised and noise-free image (``s * truth``), in the same unit, at least 7×7 pixels.

    Returns
    -------
    CleanScores
        PSNR and SSIM take maximum minus minimum of the truth as their range.

    Raises
    ------
    ValueError
        If the images cannot be compared, or the truth is constant.

    Examples
    --------
    >>> truth = np.arange(64.0).reshape(8, 8)
    >>> clean_protocol(truth + 1, truth).mse
    1.0
    """
    estimate, truth = comparable(estimate_counts, truth_counts)
    span, level = float(np.ptp(truth)), float(truth.mean())
    return CleanScores(
        mse=mse(estimate, truth),
        psnr=psnr(estimate, truth, data_range=span),
        ssim=ssim(estimate, truth, data_range=span),
        bias=float(estimate.mean()) / level - 1 if level > 0 else math.nan,
        frc_cutoff=1 / frc_resolution(frc(estimate, truth), threshold=0.5),
    )
