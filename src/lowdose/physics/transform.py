"""Variance stabilisation: the generalised Anscombe transform and its exact unbiased inverse.

Everything is in electrons; `NoiseModel` turns pixels of a file into electrons first.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Coefficients of the closed form, Mäkitalo & Foi 2011, eq. (10).
_SQRT_3_2 = 1.5**0.5
_FLOOR = 2 * 0.375**0.5  # the transform of zero electrons without readout noise


def stabilise(electrons: Tensor, readout_std: float | Tensor = 0.0) -> Tensor:
    r"""Map electrons to values whose noise has standard deviation 1 at any intensity.

    .. math:: z = 2 \sqrt{\max(y + 3/8 + \sigma^2, 0)}

    Parameters
    ----------
    electrons : Tensor
        Recorded electrons per pixel, readout noise included; may be negative.
    readout_std : float or Tensor
        Standard deviation of the readout noise in electrons.

    Returns
    -------
    Tensor, like `electrons`
        Never negative. The noise has unit deviation to 4 % above 4 electrons; without
        readout noise to 1 %, and it fades to zero below 1 electron.

    References
    ----------
    .. [1] F. Murtagh, J.-L. Starck, A. Bijaoui, Astron. Astrophys. Suppl. 112, 179 (1995).
    """
    return 2 * torch.sqrt((electrons + (0.375 + readout_std**2)).clamp_min(0))


def unstabilise(stabilised: Tensor, readout_std: float | Tensor = 0.0) -> Tensor:
    r"""Map noise-free stabilised values back to expected electrons, without bias.

    The closed form of the exact unbiased inverse [1]_, with the readout variance taken
    off as in [2]_:

    .. math::
        \hat x = \tfrac14 D^2 + \tfrac14 \sqrt{\tfrac32} D^{-1} - \tfrac{11}{8} D^{-2}
                 + \tfrac58 \sqrt{\tfrac32} D^{-3} - \tfrac18 - \sigma^2

    Below the transform of zero electrons the inverse powers are held constant, so the
    function stays smooth and rising, and turns negative.

    Parameters
    ----------
    stabilised : Tensor
        An estimate of the mean of ``stabilise(y)``; not negative.
    readout_std : float or Tensor
        As given to `stabilise`.

    Returns
    -------
    Tensor, like `stabilised`
        Expected electrons per pixel, biased by less than 0.05 electrons at any dose and
        readout noise, and by less than 1 % above 3 electrons.

    References
    ----------
    .. [1] M. Mäkitalo, A. Foi, IEEE Trans. Image Process. 20, 2697 (2011).
    .. [2] M. Mäkitalo, A. Foi, IEEE Trans. Image Process. 22, 91 (2013).

    Examples
    --------
    >>> rng = torch.Generator().manual_seed(0)
    >>> counts = torch.poisson(torch.full((1000, 1000), 5.0), generator=rng)
    >>> f"{unstabilise(stabilise(counts).mean()).item():.1f}"
    '5.0'
    """
    inverse = 1 / stabilised.clamp_min(_FLOOR)
    series = inverse * (0.25 * _SQRT_3_2 + inverse * (-1.375 + inverse * (0.625 * _SQRT_3_2)))
    return 0.25 * stabilised**2 + series - (0.125 + readout_std**2)
