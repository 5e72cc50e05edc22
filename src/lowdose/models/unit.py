"""From electrons to electrons through a network that maps an image in [0, 1] to an image.

As Ede (2018) does: the noisy image is scaled by its own minimum and maximum, so that the network
must judge the dose from the noise it sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class UnitRange:
    """What maps images to [0, 1], one for a whole image however it is tiled.

    Parameters
    ----------
    low, span : Tensor, shape (B,)
        Smallest pixel, and largest minus smallest, in electrons.
    """

    low: Tensor
    span: Tensor

    def apply(self, electrons: Tensor) -> Tensor:
        """Scale (B, 1, H, W) to [0, 1]; a constant image to 0."""
        low, span = self.low.view(-1, 1, 1, 1), self.span.view(-1, 1, 1, 1)
        return (electrons - low) / torch.where(span > 0, span, 1.0)

    def undo(self, scaled: Tensor) -> Tensor:
        """Scale (B, 1, H, W) back to electrons."""
        low, span = self.low.view(-1, 1, 1, 1), self.span.view(-1, 1, 1, 1)
        return low + span * scaled


def fit_range(noisy: Tensor) -> UnitRange:
    """Scale by the extremes of each image.

    Parameters
    ----------
    noisy : Tensor, shape (B, ...)
        Recorded electrons.
    """
    low, high = noisy.flatten(1).aminmax(dim=1)
    return UnitRange(low, high - low)


def target(noisy: Tensor, clean: Tensor) -> Tensor:
    """Return what the network should make of a scaled image: the truth at the image's mean.

    Parameters
    ----------
    noisy, clean : Tensor, shape (B, 1, H, W)
        The noisy image scaled to [0, 1], and the truth in any unit, never negative.

    Returns
    -------
    Tensor, shape (B, 1, H, W)
        ``clean * mean(noisy) / mean(clean)``; zeros where the truth is.
    """
    own = clean.mean(dim=(1, 2, 3), keepdim=True)
    return clean * (noisy.mean(dim=(1, 2, 3), keepdim=True) / own.clamp_min(1e-12))


def estimate_in_range(network: nn.Module, noisy: Tensor, limits: UnitRange) -> Tensor:
    """Estimate the expected electrons behind recorded ones.

    Parameters
    ----------
    network : Module
        Maps (B, 1, H, W) in [0, 1] to the same; what it puts outside is clipped.
    noisy : Tensor, shape (B, 1, H, W), float32
        Recorded electrons.
    limits : UnitRange
        Of the images that `noisy` was cut from.

    Returns
    -------
    Tensor, shape (B, 1, H, W), float32
        Expected electrons within the range of the noisy image.
    """
    estimate = network(limits.apply(noisy).contiguous(memory_format=torch.channels_last))
    return limits.undo(estimate.float().clamp(0, 1))
