"""The compact U-Net for every day: dense 3×3 convolutions on a pixel-unshuffled image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lowdose.models.counts import MOST_DEVIATIONS, faded
from lowdose.models.shuffle import pixels_of_blocks
from lowdose.models.spread import Spread


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions around a ReLU, added to their input; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        change: Tensor = self.second(F.relu(self.first(x)))
        return x + change


class UNet(nn.Module):
    r"""Predict the noise of a variance-stabilised micrograph, in its own deviations.

    The image :math:`u = (z - c) / R` and its noise level :math:`\ell = 1 / R` go through a
    U-Net :math:`f` without biases or normalisation layers, so that :math:`f` scales with its
    input, and come out as

    .. math:: \hat n = f(u, \ell) \, \frac{\ell}{\ell^2 + \ell_0^2}

    clipped to ±6. For :math:`\ell \gg \ell_0` that is :math:`f / \ell`, which does not depend
    on the scaling `R` at all; as the noise vanishes it fades to zero, whatever the weights are.

    Parameters
    ----------
    widths : sequence of int
        Channels at 1/s, 1/2s, 1/4s, ... of the resolution, s = `unshuffle`.
    depths : sequence of int
        Residual blocks per level, on the way down and again on the way up; at the last level once.
    unshuffle : int
        Side of the pixel blocks that become channels at the input.
    correlated : bool
        Told how the noise of neighbours correlates, along y and along x: as two more channels,
        each times :math:`\ell`, so that the network still scales with its input.
    spread : int
        Channels of `Spread`, which says how far the predicted noise is off; 0 for none.

    Notes
    -----
    The first convolution stays in float32 whatever the rest runs in: it takes differences of
    neighbouring pixels, where eight bits would drown the noise.
    """

    def __init__(
        self,
        widths: Sequence[int] = (24, 48, 96, 192),
        depths: Sequence[int] = (1, 1, 1, 2),
        unshuffle: int = 2,
        *,
        correlated: bool = False,
        spread: int = 0,
    ) -> None:
        super().__init__()
        if len(widths) != len(depths) or not widths:
            raise ValueError(f"{len(widths)} widths and {len(depths)} depths; expected as many")
        self.unshuffle, self.depths, self.correlated = unshuffle, tuple(depths), correlated
        facts = 3 if correlated else 1
        self.head = nn.Conv2d(unshuffle**2 + facts, widths[0], 3, padding=1, bias=False)
        pairs = list(itertools.pairwise(widths))
        self.down_blocks = nn.ModuleList(map(_blocks, widths, depths))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2, bias=False) for a, b in pairs)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, stride=2, bias=False) for a, b in pairs
        )
        self.up_blocks = nn.ModuleList(map(_blocks, widths[:-1], depths))
        self.tail = nn.Conv2d(widths[0], unshuffle**2, 3, padding=1, bias=False)
        nn.init.zeros_(self.tail.weight)  # an untrained network leaves images alone
        self.spread = Spread(widths[0], unshuffle, spread) if spread else None

    @property
    def stride(self) -> int:
        """Height and width of an input must be multiples of this."""
        return int(self.unshuffle * 2 ** len(self.downs))

    @property
    def window(self) -> None:
        """Windows of any size do: nothing in the network knows where an image ends."""

    @property
    def halo(self) -> int:
        """Pixels around a tile that it must see: with all of `reach` tiled equals untiled."""
        return self.reach

    @property
    def reach(self) -> int:
        """Radius in pixels of what an output pixel depends on, rounded up to the stride."""
        scales = [self.unshuffle * 2**n for n in range(len(self.depths))]
        passes = [2] * len(self.up_blocks) + [1]
        # Two 3×3 convolutions per block, on the way down and up; first and last convolution; and
        # the blocks of pixels that became one.
        levels = zip(scales, self.depths, passes, strict=True)
        radius: int = sum(2 * scale * depth * count for scale, depth, count in levels)
        radius += 2 * self.unshuffle + self.stride - 1
        radius += self.spread.reach if self.spread else 0
        return -(-radius // self.stride) * self.stride

    def run_body_in(self, dtype: torch.dtype) -> None:
        """Run all but the first convolution in another precision."""
        self.to(dtype)
        self.head.float()

    def forward(self, image: Tensor, level: Tensor, correlation: Tensor | None = None) -> Tensor:
        """Predict the noise.

        Parameters
        ----------
        image : Tensor, shape (B, 1, H, W), float32
            Stabilised pixels, shifted and scaled to about [-0.5, 0.5]; sides are multiples of
            `stride`.
        level : Tensor, shape (B,), float32
            Deviation of the noise in the scale of `image`.
        correlation : Tensor, shape (B, 2), float32, optional
            Of the noise of neighbours along y and along x, by default none; not looked at by a
            network that was not built for it.

        Returns
        -------
        Tensor, shape (B, 1, H, W), float32
            Noise in units of its deviation, within ±6.

        Raises
        ------
        ValueError
            If a side is not a multiple of the stride.
        """
        return self._noise(self._features(image, level, correlation), level)

    def with_deviation(
        self, image: Tensor, level: Tensor, correlation: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predict the noise, and how far that is off.

        Parameters
        ----------
        image, level, correlation : Tensor
            As those of the network itself.

        Returns
        -------
        (Tensor, Tensor), shape (B, 1, H, W), float32
            Noise and root of its expected squared error, both in units of its deviation.

        Raises
        ------
        ValueError
            If a side is not a multiple of the stride, or the network was built without `spread`.
        """
        if self.spread is None:
            raise ValueError("this network was built without a layer that tells its errors")
        features = self._features(image, level, correlation)
        noise = self._noise(features, level)
        # What is learnt here changes nothing of the prediction itself.
        told = features.detach(), noise.detach(), level.view(-1, 1, 1, 1)
        return noise, self.spread(*told)

    def _features(self, image: Tensor, level: Tensor, correlation: Tensor | None) -> Tensor:
        """Everything but the last convolution."""
        if image.shape[-2] % self.stride or image.shape[-1] % self.stride:
            raise ValueError(
                f"image is {image.shape[-2]} x {image.shape[-1]} px; this network needs sides "
                f"that are multiples of {self.stride}"
            )
        level = level.view(-1, 1, 1, 1)
        facts = level
        if self.correlated:
            if correlation is None:
                correlation = level.new_zeros(len(level), 2)
            facts = torch.cat([level, level * correlation.view(-1, 2, 1, 1)], dim=1)
        x = F.pixel_unshuffle(image, self.unshuffle)
        x = torch.cat([x, facts.expand(-1, -1, *x.shape[-2:])], dim=1)
        with torch.autocast(image.device.type, enabled=False):
            x = self.head(x.contiguous(memory_format=torch.channels_last))
        return self._body(x.to(next(self.down_blocks.parameters()).dtype))

    def _noise(self, features: Tensor, level: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            blocks = self.tail(features.to(self.tail.weight.dtype)).float()
        noise = pixels_of_blocks(blocks, self.unshuffle)
        level = level.view(-1, 1, 1, 1)
        noise = noise * faded(level)
        return noise.clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)

    def _body(self, x: Tensor) -> Tensor:
        skips = []
        for blocks, down in zip(self.down_blocks, self.downs, strict=False):
            x = blocks(x)
            skips.append(x)
            x = down(x)
        x = self.down_blocks[-1](x)
        for up, blocks in zip(reversed(self.ups), reversed(self.up_blocks), strict=True):
            x = blocks(up(x) + skips.pop())
        return x


def _blocks(width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(depth)))
