"""Self-ensemble: the mean of what a network says of an image turned and mirrored."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

_ORIENTATIONS = 8


class SelfEnsemble(nn.Module):
    """A network, asked about all eight flips and rotations of an image [1]_.

    Called like the network itself, at eight times its cost.

    Parameters
    ----------
    network : Module
        Maps (B, 1, H, W), and what is known of the noise, to the same shape.

    References
    ----------
    .. [1] R. Timofte, R. Rothe, L. Van Gool, CVPR (2016), Sec. 3.5.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.stride, self.halo = cast(int, network.stride), cast(int, network.halo)
        self.window = cast("int | None", network.window)

    def run_body_in(self, dtype: torch.dtype) -> None:
        """As that of the network."""
        self.network.run_body_in(dtype)  # type: ignore[operator]

    def forward(self, image: Tensor, *facts: Tensor) -> Tensor:
        """Average over the orientations.

        Parameters
        ----------
        image : Tensor, shape (B, 1, H, W)
            Sides are multiples of `stride`.
        facts : Tensor
            Noise level (B,), and correlation of neighbours (B, 2) along y and x, as far as the
            network takes them.
        """
        total = torch.zeros_like(image)
        for number in range(_ORIENTATIONS):
            turns, is_mirrored = number % 4, number >= 4
            seen = image.flip(-1) if is_mirrored else image
            told = tuple(fact.flip(1) if turns % 2 and fact.ndim == 2 else fact for fact in facts)
            said = self.network(torch.rot90(seen, turns, (-2, -1)), *told)
            back = torch.rot90(said, -turns, (-2, -1))
            total += back.flip(-1) if is_mirrored else back
        return total / _ORIENTATIONS
