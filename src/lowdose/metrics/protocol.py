"""Two ways to score a denoiser of counts: as Ede (2018) did, and without that way's oddities."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lowdose.metrics.pixelwise import comparable, mse, positive_range, psnr
from lowdose.metrics.structure import ssim


@dataclass(frozen=True)
class PaperScores:
    """Mean squared error in units of the noisy image's range, and SSIM, by the paper's protocol."""

    mse: float
    ssim: float


@dataclass(frozen=True)
class CleanScores:
    """Mean squared error in counts², PSNR in dB and SSIM, with the truth's range."""

    mse: float
    psnr: float
    ssim: float


def paper_protocol(
    estimate_counts: ArrayLike, truth: ArrayLike, noisy_counts: ArrayLike
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

    Returns
    -------
    PaperScores
        SSIM takes the range of the *estimate*; the error is not clipped: see `paper_mean`.

    Raises
    ------
    ValueError
        If the images cannot be compared, the noisy image or the estimate is constant, or the
        truth is zero everywhere.

    Notes
    -----
    The estimate is clipped to [0, 1] before it is scored. The released benchmark clips its
    network's output and no other method's; clipping all treats them alike, and moves the scores
    of its classical filters by less than 0.1 %.
    The truth's minimum is 0 and Poisson(0) is 0, so the noisy image's minimum is 0 as well: the
    map is a mere division by its maximum. With readout noise it would not be, and a perfect
    estimate would no longer score 0: this protocol is for Poisson noise alone.

    References
    ----------
    .. [1] J. M. Ede, Ultramicroscopy 202, 18 (2019); arXiv:1807.11234.
    """
    estimate, noisy = comparable(estimate_counts, noisy_counts)
    truth, noisy = comparable(truth, noisy)
    low, span = noisy.min(), positive_range(np.ptp(noisy))
    scaled = np.clip((estimate - low) / span, 0, 1)
    target = truth * (((noisy - low) / span).mean() / positive_range(truth.mean()))
    return PaperScores(mse(scaled, target), ssim(scaled, target, data_range=float(np.ptp(scaled))))


def paper_mean(scores: Iterable[PaperScores]) -> PaperScores:
    """Return the means over images as the paper tabulates them.

    Parameters
    ----------
    scores : iterable of PaperScores
        One an image, at least one.

    Returns
    -------
    PaperScores
        Means of the errors, each at most 0.012, and of the similarities, each in [0, 1].

    Examples
    --------
    >>> paper_mean([PaperScores(0.5, 0.5), PaperScores(0.0, -0.5)])
    PaperScores(mse=0.006, ssim=0.25)
    """
    pairs = np.array([(score.mse, score.ssim) for score in scores])
    error, similarity = np.clip(pairs, 0, (0.012, 1)).mean(axis=0)
    return PaperScores(float(error), float(similarity))


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
    span = float(np.ptp(truth))
    return CleanScores(
        mse(estimate, truth),
        psnr(estimate, truth, data_range=span),
        ssim(estimate, truth, data_range=span),
    )
