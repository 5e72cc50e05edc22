"""How far a network's prediction of the noise is off, pixel by pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lowdose.models.shuffle import pixels_of_blocks

# Deviations beyond these powers of e are no measurement: a hundredth and ten times the noise.
_SMALLEST, _LARGEST = -4.6, 2.3


class Spread(nn.Module):
    """Deviation of a predicted noise from the true one, in noise deviations [1]_.

    Three convolutions on the last features of the network that predicted the noise. Unlike that
    network it has biases, and it sees features over the noise level, so that the scale of an image
    does not matter.

    Parameters
    ----------
    features : int
        Channels of the network's last features.
    unshuffle : int
        Side of the pixel blocks that are channels there.
    hidden : int
        Channels in between.

    References
    ----------
    .. [1] A. Kendall, Y. Gal, NeurIPS 30 (2017): aleatoric uncertainty.
    """

    def __init__(self, features: int, unshuffle: int, hidden: int = 16) -> None:
        super().__init__()
        self.unshuffle = unshuffle
        self.layers = nn.Sequential(
            nn.Conv2d(features + unshuffle**2 + 1, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, unshuffle**2, 1),
        )

    @property
    def reach(self) -> int:
        """Radius in pixels of what an output pixel depends on, beyond features and noise."""
        return 2 * self.unshuffle

    def forward(self, features: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """Estimate the deviation.

        Parameters
        ----------
        features : Tensor, shape (B, C, H / s, W / s)
            Last ones of the network, s being `unshuffle`.
        noise : Tensor, shape (B, 1, H, W)
            Predicted, in noise deviations.
        level : Tensor, shape (B, 1, 1, 1)
            Deviation of the noise in the scale of the image.

        Returns
        -------
        Tensor, shape (B, 1, H, W), float32
            Root of the expected squared error, in noise deviations.
        """
        # Edges of a bright image reach hundreds of deviations; in the logarithm all fits.
        seen = _asinh(features.float() / level)
        depth = level.log().expand(-1, -1, *seen.shape[-2:])
        layout = torch.channels_last
        facts = torch.cat([F.pixel_unshuffle(noise, self.unshuffle), depth], dim=1)
        first: Tensor = self.layers[0].weight  # type: ignore[assignment]
        told = (each.to(first.dtype, memory_format=layout) for each in (seen, facts))
        logarithm = self.layers(torch.cat(list(told), dim=1).contiguous(memory_format=layout))
        pixels = pixels_of_blocks(logarithm.float(), self.unshuffle)
        return pixels.clamp(_SMALLEST, _LARGEST).exp()


def _asinh(values: Tensor) -> Tensor:
    """Inverse hyperbolic sine; torch's takes numbers one by one on a CPU, twice as long."""
    if values.requires_grad:
        return torch.asinh(values)
    # In place: memory that is not asked for does not have to be found.
    size = values.abs()
    return size.square().add_(1).sqrt_().add_(size).log_().copysign_(values)
