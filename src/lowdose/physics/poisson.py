"""Poisson numbers, each of its own mean: on a CPU several times as fast as torch draws them."""

from __future__ import annotations

import torch
from torch import Tensor

# From this mean on the expansion of the quantile holds.
_LEAST_MEAN = 4.0
# Pixels worked on at once: what a core's own cache holds.
_BLOCK = 1 << 16


def poisson(mean: Tensor, *, rng: torch.Generator) -> Tensor:
    """Draw Poisson numbers.

    Parameters
    ----------
    mean : Tensor, any shape, float32
        Expected numbers, never negative.
    rng : torch.Generator
        Random source on the device of `mean`; the same state draws the same numbers.

    Returns
    -------
    Tensor, like `mean`
        Whole numbers. On a CPU the distribution is inverted: a normal number is turned into
        the Poisson number of the same quantile, by the expansion of [1]_ where it is sure of
        the integer and by the distribution itself elsewhere. Below a mean of 4, and on other
        devices, torch draws them.

    References
    ----------
    .. [1] M. B. Giles, ACM Trans. Math. Softw. 42, 7 (2016), algorithm 955.
    """
    if mean.device.type != "cpu":
        return torch.poisson(mean, generator=rng)
    means = mean.reshape(-1)
    drawn = torch.empty_like(means)
    for start in range(0, len(means), _BLOCK):
        part = slice(start, start + _BLOCK)
        drawn[part] = _draw(means[part], rng)
    return drawn.view_as(mean)


def _draw(mean: Tensor, rng: torch.Generator) -> Tensor:
    normal = torch.randn(mean.shape, generator=rng)
    quantile, error = _expansion(mean.clamp_min(_LEAST_MEAN), normal)
    drawn = quantile.floor()
    doubtful = ((quantile - quantile.round()).abs() < error).nonzero().squeeze(1)
    border = quantile[doubtful].round()
    drawn[doubtful] = _lookup(mean[doubtful], normal[doubtful], border)
    small = (mean < _LEAST_MEAN).nonzero().squeeze(1)
    drawn[small] = torch.poisson(mean[small], generator=rng)
    return drawn.clamp_(min=0)


def _expansion(mean: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """Quantile of a Poisson law made continuous, and at most how wrong it is.

    The floor of the first is the Poisson number. The bound was fitted to the inverse of
    scipy.special.gammaincc: means from 4 to 1000, within 5.6 deviations.
    """
    square = normal * normal
    root = mean.rsqrt()
    third = torch.add(-8 / 405, square, alpha=7 / 810).addcmul_(square, square, value=1 / 270)
    second = torch.add(1 / 36, square, alpha=1 / 72).mul_(normal)
    quantile = third.mul_(root).sub_(second).mul_(root)
    quantile.add_(square, alpha=1 / 6).add_(1 / 3).addcdiv_(normal, root).add_(mean)
    error = (square * square).mul_(square).mul_(0.0011).add_(0.02).mul_(root * root * root)
    return quantile, error


def _lookup(mean: Tensor, normal: Tensor, border: Tensor) -> Tensor:
    """The border, or one less where the number of a quantile is below it, told exactly."""
    least = torch.special.gammaincc(border.clamp_min(1).double(), mean.double())
    is_below: Tensor = torch.special.ndtr(normal.double()) < least
    return border - is_below.to(border.dtype)
