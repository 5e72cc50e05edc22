"""How electrons become pixels: Poisson arrivals, gain, offset and readout noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lowdose.physics.poisson import poisson


def expose(clean: Tensor, dose: float, *, readout_std: float = 0.0, rng: torch.Generator) -> Tensor:
    r"""Draw one noisy exposure of a noise-free micrograph.

    Electron arrivals are Poisson; the detector then adds Gaussian readout noise [1]_:

    .. math:: y \sim \mathrm{Poisson}(d\,x / \bar x) + \mathcal{N}(0, \sigma^2)

    Parameters
    ----------
    clean : Tensor, shape (..., H, W)
        Noise-free intensity in any unit, never negative. Divided by its own mean over
        (H, W), so that `dose` alone decides the electron count.
    dose : float
        Mean electrons per pixel. From D in e/Å² and a pixel of p Å: ``D * p**2``.
    readout_std : float
        Standard deviation of the readout noise, in electrons.
    rng : torch.Generator
        Random source on the device of `clean`; the same state gives the same image.

    Returns
    -------
    Tensor, shape (..., H, W)
        Recorded electrons per pixel, neither clipped nor rescaled: readout noise can
        make a pixel negative.

    Raises
    ------
    ValueError
        If `dose` is not positive, or `clean` is negative, not finite or all zero.

    References
    ----------
    .. [1] A. Foi et al., IEEE Trans. Image Process. 17, 1737 (2008), Sec. II.

    Examples
    --------
    >>> rng = torch.Generator().manual_seed(0)
    >>> noisy = expose(torch.ones(256, 256), dose=40.0, readout_std=3.0, rng=rng)
    >>> round(noisy.mean().item()), round(noisy.var().item())  # 40 and 40 + 3**2
    (40, 49)
    """
    if not 0 < dose < math.inf:
        raise ValueError(f"dose is {dose}; expected a mean number of electrons above 0")
    mean = clean.mean(dim=(-2, -1), keepdim=True)
    if not (torch.isfinite(mean).all() and (mean > 0).all() and (clean >= 0).all()):
        raise ValueError("clean holds negative, infinite or NaN values, or nothing but zeros")
    return detect(clean * (dose / mean), readout_std=readout_std, rng=rng)


def detect(electrons: Tensor, *, readout_std: float | Tensor = 0.0, rng: torch.Generator) -> Tensor:
    """Draw recorded electrons from the expected electrons per pixel.

    Parameters
    ----------
    electrons : Tensor, shape (..., H, W)
        Expected electrons per pixel, never negative.
    readout_std : float or Tensor
        Standard deviation of the Gaussian readout noise, in electrons; of each image, if it is a
        tensor that broadcasts.
    rng : torch.Generator
        Random source on the device of `electrons`.

    Returns
    -------
    Tensor, shape (..., H, W)
        Recorded electrons; whole numbers when `readout_std` is 0.
    """
    recorded = poisson(electrons, rng=rng)
    if isinstance(readout_std, Tensor) or readout_std > 0:
        noise = torch.randn(
            recorded.shape, generator=rng, device=recorded.device, dtype=recorded.dtype
        )
        recorded = recorded + readout_std * noise
    return recorded
