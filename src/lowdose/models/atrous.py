"""The atrous encoder-decoder of J. M. Ede, Ultramicroscopy 202, 18 (2019); arXiv:1807.11234.

A modified aligned Xception: four entry blocks halve the image to 1/16, twelve middle blocks keep
it there, a pyramid of atrous convolutions looks far around, and a decoder with two skips climbs
back. Modules are registered in the order in which the released script creates its layers, which
numbers the variables of its checkpoint: see `lowdose.models.ede2018`.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowdose.models.blocks import (
    BatchRenorm2d,
    NormReLU6,
    Residual,
    SameConv2d,
    SameConvTranspose2d,
    SeparableConv2d,
    fold_norms,
    resize_bilinear,
)

ImageLevel = Literal["released", "figure"]
Norm = Literal["batch", "frozen"]
NORMS: tuple[Norm, ...] = ("batch", "frozen")

# Widths as in the paper's architecture figure, top to bottom.
ENTRY = ((64, 64, 128), (128, 128, 128), (256, 256, 256), (728, 728, 728))  # the last at stride 2
MIDDLE_BLOCKS = 12  # of three separable convolutions, as wide as the last entry block
RATES = (6, 12, 18)  # dilations of the atrous pyramid
PYRAMID = 256
DECODER = (256, 128, 64)  # all but the last are doubled in size by a transposed convolution

# Sides must be multiples of it, and a shift by it shifts the output; the figure's pool adds a 2.
STRIDE: dict[ImageLevel, int] = {"released": 16, "figure": 32}

# Side of the crops that the paper trains on, and so of the windows that the network is run on: it
# has learnt what zeros look like beyond their border. Neighbouring windows share twice the halo.
WINDOW, HALO = 512, 64

# Farthest input pixel that an output pixel depends on: 927 before it and 951 after, because
# TensorFlow pads behind. The same for both forms of the image level: rate 18 looks farther.
REACH = 951


class Atrous(nn.Module):
    """Ede's network, at its own width or a narrower one.

    Parameters
    ----------
    width : float
        Factor on every channel count but those of input and output, which are 1.
    image_level : {"released", "figure"}
        See `atrous`.
    norm : {"batch", "frozen"}
        See `atrous`.
    """

    def __init__(self, width: float, image_level: ImageLevel, norm: Norm) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return max(1, round(width * channels))

        self.stride, self.window, self.halo = STRIDE[image_level], WINDOW, HALO
        entry = [[scaled(wide) for wide in widths] for widths in ENTRY]
        skip_a, skip_b, third, middle = (widths[-1] for widths in entry)
        self.entry = nn.ModuleList(map(_entry_block, (1, skip_a, skip_b, third), entry))
        self.middle = nn.Sequential(*(_middle_block(middle) for _ in range(MIDDLE_BLOCKS)))
        self.pyramid = Pyramid(middle, scaled(PYRAMID), image_level)
        wide, wide_a, wide_b = (scaled(wide) for wide in DECODER)
        self.decoder = nn.ModuleList(
            [
                nn.Sequential(_refine(scaled(PYRAMID) + skip_b, wide), *_rise(wide)),
                nn.Sequential(_refine(wide + skip_a, wide_a), *_rise(wide_a)),
                nn.Sequential(_refine(wide_a, wide_b)),
            ]
        )
        self.output = _plain(wide_b, 1, kernel=3)
        # A fresh network makes images of a common brightness and contrast, not black ones.
        last: Any = self.output[1]
        nn.init.constant_(last.norm.weight, 0.2)
        nn.init.constant_(last.norm.bias, 0.4)
        for module in self.modules():
            if isinstance(module, BatchRenorm2d):
                module.is_frozen = norm == "frozen"
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1, H, W), scaled to [0, 1], to (B, 1, H, W) in [0, 6]: clip it to [0, 1].

        Raises
        ------
        ValueError
            If a side is not a multiple of `stride`.
        """
        if x.shape[-2] % self.stride or x.shape[-1] % self.stride:
            raise ValueError(
                f"image is {x.shape[-2]} x {x.shape[-1]} px; this network takes multiples of"
                f" {self.stride} px. Pad it, or let lowdose.Denoiser do so."
            )
        x = x.to(next(self.entry.parameters()).dtype)
        encoded = []
        for block in self.entry:
            x = block(x)
            encoded.append(x)
        x = resize_bilinear(self.pyramid(self.middle(x)), 4)
        for block, skip in zip(self.decoder, (encoded[1], encoded[0], None), strict=True):
            x = block(x if skip is None else torch.cat((x, skip), dim=1))
        # In float32 under autocast and after `run_body_in`: eight bits are few for a result.
        with torch.autocast(x.device.type, enabled=False):
            result: Tensor = self.output(x.to(next(self.output.parameters()).dtype))
        return result

    def run_body_in(self, dtype: torch.dtype) -> None:
        """Prepare for inference: norms folded, all but the last convolution in a precision."""
        fold_norms(self)
        self.to(dtype)
        self.output.float()


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: views of several widths side by side, then mixed.

    Parameters
    ----------
    channels : int
        Of the input and of each of the five branches.
    out_channels : int
        After the 1×1 convolution that mixes them.
    image_level : {"released", "figure"}
        See `atrous`.
    """

    def __init__(self, channels: int, out_channels: int, image_level: ImageLevel) -> None:
        super().__init__()
        pool = nn.Identity() if image_level == "released" else PoolAndResize()
        self.branches = nn.ModuleList(
            [
                _plain(channels, channels),
                *(
                    nn.Sequential(
                        *_separable(channels, channels, dilation=rate), NormReLU6(channels)
                    )
                    for rate in RATES
                ),
                nn.Sequential(pool, NormReLU6(channels)),
            ]
        )
        self.mix = _plain(len(self.branches) * channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, out_channels, H, W)."""
        mixed: Tensor = self.mix(torch.cat([branch(x) for branch in self.branches], dim=1))
        return mixed


class PoolAndResize(nn.Module):
    """The image-level branch as the paper draws it: 2×2 means, then twice as large again."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) with even sides to the same shape."""
        return resize_bilinear(functional.avg_pool2d(x, 2), 2)


def atrous(
    *, width: float = 1.0, image_level: ImageLevel = "released", norm: Norm = "batch"
) -> Atrous:
    """Build the atrous encoder-decoder: 25 413 620 trainable parameters at width 1.

    Parameters
    ----------
    width : float
        Factor on the channel counts, above 0; each is rounded and at least 1.
    image_level : {"released", "figure"}
        Fifth branch of the pyramid. "released": its input as it is, the form that the published
        checkpoint was trained in (the script resizes 32×32 to 32×32 and drops its pool; here that
        is an identity at every size). "figure": 2×2 mean and bilinear ×2, as the paper's figure
        has it. Both have the same variables.
    norm : {"batch", "frozen"}
        "batch": norms that work from the first step, and with one image a batch. "frozen": as the
        released code trains, in inference mode, whose moments stay 0 and 1.

    Returns
    -------
    Atrous
        With random weights, in training mode, ready to normalise from the first step. Its
        `stride` is 16 px, or 32 with "figure".

    Raises
    ------
    ValueError
        If the width is not positive, or `image_level` or `norm` is none of the two.

    References
    ----------
    .. [1] J. M. Ede, Ultramicroscopy 202, 18 (2019); widths from its architecture figure, the
       image-level branch, padding and order of layers from the released training script.
    """
    if not width > 0:
        raise ValueError(f"width is {width:g}; it must be positive, 1 for the paper's network.")
    if image_level not in STRIDE:
        raise ValueError(f"image_level is {image_level!r}; choose one of {', '.join(STRIDE)}.")
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}; choose one of {', '.join(NORMS)}.")
    return Atrous(width, image_level, norm)


def _entry_block(channels: int, widths: list[int]) -> Residual:
    first, second, last = widths
    main = nn.Sequential(
        *_separable(channels, first),
        *_separable(first, second),
        *_separable(second, last, stride=2),
    )
    return Residual(main, _plain(channels, last, stride=2))


def _middle_block(width: int) -> Residual:
    main = nn.Sequential(*(layer for _ in range(3) for layer in _separable(width, width)))
    return Residual(main, nn.Identity())


def _refine(channels: int, width: int) -> Residual:
    main = nn.Sequential(*_separable(channels, width), *_separable(width, width))
    return Residual(main, _plain(channels, width))


def _rise(width: int) -> tuple[nn.Module, nn.Module]:
    return SameConvTranspose2d(width, width), NormReLU6(width)


def _plain(channels: int, width: int, *, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(SameConv2d(channels, width, kernel, stride=stride), NormReLU6(width))


def _separable(
    channels: int, width: int, *, stride: int = 1, dilation: int = 1
) -> tuple[nn.Module, nn.Module]:
    convolution = SeparableConv2d(channels, width, stride=stride, dilation=dilation)
    return convolution, NormReLU6(width)
