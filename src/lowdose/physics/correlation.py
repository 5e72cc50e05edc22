"""Noise of which neighbouring pixels share a part: detectors that blur, images interpolated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# Taps on either side of the middle; a blur of 1.5 pixels leaves less than 1 % beyond.
_REACH = 4
# Blur beyond which a noise is called unknown: neighbours share nine tenths.
_WIDEST = 1.6


def gaussian_taps(width: float) -> Tensor:
    """Weights of a blur with this standard deviation in pixels, adding up to 1; shape (9,)."""
    place = torch.arange(-_REACH, _REACH + 1, dtype=torch.double)
    taps = torch.exp(-0.5 * (place / max(width, 1e-3)) ** 2)
    return (taps / taps.sum()).float()


def shift_taps(fraction: float) -> Tensor:
    """Weights of linear interpolation this fraction of a pixel away; shape (9,)."""
    taps = torch.zeros(2 * _REACH + 1)
    taps[_REACH], taps[_REACH + 1] = 1 - fraction, fraction
    return taps


def neighbour_correlation(taps: Tensor) -> float:
    """Correlation of neighbours after a blur of white noise.

    Examples
    --------
    >>> import torch
    >>> neighbour_correlation(torch.tensor([0.5, 0.5]))  # interpolated half-way
    0.5
    """
    return float((taps[1:] * taps[:-1]).sum() / taps.square().sum())


@lru_cache
def taps_of(correlation: float) -> Tensor:
    """Blur, a Gaussian, after which neighbours of white noise correlate so; shape (9,)."""
    low, high = 0.0, _WIDEST
    for _ in range(40):
        middle = (low + high) / 2
        if neighbour_correlation(gaussian_taps(middle)) < correlation:
            low = middle
        else:
            high = middle
    return gaussian_taps(high)


def kept_variance(down: Tensor, across: Tensor) -> float:
    """Variance of white noise of variance 1 after a blur with these weights along y and x."""
    return float(down.square().sum() * across.square().sum())


def blur(image: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Blur along y and along x, mirrored at the borders.

    Parameters
    ----------
    image : Tensor, shape (B, 1, H, W)
        Sides of at least 5 pixels.
    down, across : Tensor, shape (9,) or (B, 9)
        Weights along y and x, the same for all images or of each.
    """
    count = len(image) if down.ndim == 2 else 1
    padded = F.pad(image, (_REACH,) * 4, mode="reflect")
    down, across = down.to(image).view(count, 1, -1, 1), across.to(image).view(count, 1, 1, -1)
    # Images with weights of their own are channels of one.
    apart = padded.transpose(0, 1) if count > 1 else padded
    blurred = F.conv2d(F.conv2d(apart, down, groups=count), across, groups=count)
    return blurred.transpose(0, 1) if count > 1 else blurred


def correlated(white: Tensor, correlation: tuple[float, float]) -> Tensor:
    """Blur white noise, shape (B, 1, H, W), so that neighbours correlate; keep its variance."""
    if not any(correlation):
        return white
    down, across = map(taps_of, correlation)
    return blur(white, down, across) / math.sqrt(kept_variance(down, across))


def correlated_signs(
    shape: Sequence[int], correlation: tuple[float, float], *, rng: torch.Generator
) -> Tensor:
    """Draw noise of variance 1 out of pluses and minuses.

    White, each pixel is 1 or -1: of normal numbers the squares would scatter, and a mean of
    products with them ask for twice as many pixels.

    Parameters
    ----------
    shape : (B, 1, H, W)
        Of the noise.
    correlation : (float, float)
        Of neighbours along y and along x.
    rng : torch.Generator
        Random source, on the device of the result.
    """
    return correlated(
        torch.randn(tuple(shape), generator=rng, device=rng.device).sign(), correlation
    )
