"""Self-ensemble: the mean of what a network says of an image turned and mirrored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

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
        return torch.stack(list(self._said(self.network, image, facts))).mean(dim=0)

    def with_deviation(self, image: Tensor, *facts: Tensor) -> tuple[Tensor, Tensor]:
        """Average over the orientations, of the network's own errors as well.

        They are a little above those of the average.
        """

        def ask(*given: Tensor) -> Tensor:
            return torch.cat(cast(Any, self.network).with_deviation(*given), dim=1)

        both = torch.stack(list(self._said(ask, image, facts))).mean(dim=0)
        return both[:, :1], both[:, 1:]

    def _said(
        self, network: Callable[..., Tensor], image: Tensor, facts: tuple[Tensor, ...]
    ) -> Iterator[Tensor]:
        """What a network says of each orientation, turned back."""
        for number in range(_ORIENTATIONS):
            turns, is_mirrored = number % 4, number >= 4
            seen = image.flip(-1) if is_mirrored else image
            told = tuple(fact.flip(1) if turns % 2 and fact.ndim == 2 else fact for fact in facts)
            said = network(torch.rot90(seen, turns, (-2, -1)), *told)
            back = torch.rot90(said, -turns, (-2, -1))
            yield back.flip(-1) if is_mirrored else back
