"""From electrons to electrons through a network that sees stabilised, scaled pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lowdose.physics.transform import stabilise, unstabilise

# A network never sees pixels further than this from the centre, in spans: one hot pixel of
# 10^5 electrons stays one pixel.
FURTHEST = 2.0
# The span is at least this many noise deviations, so a flat image is not blown up.
LEAST_SPAN = 4.0


@dataclass(frozen=True)
class Scaling:
    """Shift and scale of stabilised pixels, one for a whole image however it is tiled.

    Parameters
    ----------
    centre, span : Tensor, shape (B,)
        Middle and width of the range of stabilised pixels, in noise deviations.
    """

    centre: Tensor
    span: Tensor

    @property
    def level(self) -> Tensor:
        """Noise deviation after scaling, shape (B,)."""
        return 1 / self.span

    def apply(self, stabilised: Tensor) -> Tensor:
        """Scale (B, 1, H, W) to about [-0.5, 0.5], clipped to ±2."""
        centre, span = self.centre.view(-1, 1, 1, 1), self.span.view(-1, 1, 1, 1)
        return ((stabilised - centre) / span).clamp(-FURTHEST, FURTHEST)


def fit_scaling(noisy: Tensor, readout_std: Tensor) -> Scaling:
    """Scale by the 0.5 and 99.5 percentiles of the stabilised pixels.

    Parameters
    ----------
    noisy : Tensor, shape (B, ...)
        Recorded electrons, or an evenly spread sample of them.
    readout_std : Tensor, shape (B,)
        Readout noise in electrons.
    """
    flat = stabilise(noisy.flatten(1), readout_std[:, None])
    low, high = torch.quantile(flat, flat.new_tensor([0.005, 0.995]), dim=1)
    return Scaling((low + high) / 2, (high - low).clamp_min(LEAST_SPAN))


def estimate_electrons(
    network: nn.Module, noisy: Tensor, readout_std: Tensor, scaling: Scaling
) -> Tensor:
    """Estimate the expected electrons behind recorded ones.

    Parameters
    ----------
    network : Module
        Maps scaled pixels (B, 1, H, W) and levels (B,) to noise in its own deviations.
    noisy : Tensor, shape (B, 1, H, W), float32
        Recorded electrons.
    readout_std : Tensor, shape (B,)
        Readout noise in electrons.
    scaling : Scaling
        Of the images that `noisy` was cut from.

    Returns
    -------
    Tensor, shape (B, 1, H, W), float32
        Expected electrons; a fraction of an electron below zero where next to none arrive.
    """
    readout = readout_std.view(-1, 1, 1, 1)
    stabilised = stabilise(noisy, readout)
    noise = network(scaling.apply(stabilised), scaling.level)
    return unstabilise(stabilised - noise, readout)
