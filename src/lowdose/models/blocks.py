"""Layers that repeat TensorFlow's arithmetic, so that weights trained there fit here.

PyTorch pads a convolution alike on both sides and centres its resizing; TensorFlow 1 does neither.
"""

from collections import OrderedDict
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

BATCH_NORM_EPSILON = 1e-3  # TensorFlow's; torch's is 1e-5
BATCH_NORM_MOMENTUM = 0.01  # weight of the newest batch; slim's 0.001 outlasts a short training


class Padding(NamedTuple):
    """Pixels added on either side of one axis."""

    before: int
    after: int


def same_padding(size: int, *, kernel: int, stride: int = 1, dilation: int = 1) -> Padding:
    """Return TensorFlow's "SAME" padding of one axis: output size is ``ceil(size / stride)``.

    Parameters
    ----------
    size : int
        Pixels along the axis.
    kernel, stride, dilation : int
        Of the convolution, along that axis.

    Returns
    -------
    Padding
        An odd pixel goes behind: at stride 2 on an even size nothing is added before, one after.

    Examples
    --------
    >>> same_padding(8, kernel=3)
    Padding(before=1, after=1)
    >>> same_padding(8, kernel=3, stride=2)
    Padding(before=0, after=1)
    """
    covered = (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1
    total = max(covered - size, 0)
    return Padding(total // 2, total - total // 2)


class SameConv2d(nn.Conv2d):
    """A square convolution with TensorFlow's "SAME" padding.

    Parameters
    ----------
    in_channels, out_channels, kernel : int
        As of `torch.nn.Conv2d`.
    stride, dilation, groups, bias
        Likewise.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, ceil(H / stride), ceil(W / stride))."""
        (kernel, _), (stride, _), (dilation, _) = self.kernel_size, self.stride, self.dilation
        if kernel == 1:
            # The same function, cheaper; and torch's backward of a 1×1 convolution of stride 2
            # corrupts memory where the input has one channel and is channels_last (CPU, 2.13).
            x, stride = x[..., ::stride, ::stride], 1
        top, bottom = same_padding(x.shape[-2], kernel=kernel, stride=stride, dilation=dilation)
        left, right = same_padding(x.shape[-1], kernel=kernel, stride=stride, dilation=dilation)
        if (top, left) != (bottom, right):
            x, top, left = functional.pad(x, (left, right, top, bottom)), 0, 0
        return functional.conv2d(
            x, self.weight, self.bias, stride, (top, left), dilation, self.groups
        )


class SameConvTranspose2d(nn.ConvTranspose2d):
    """A transposed 3×3 convolution of stride 2 with TensorFlow's "SAME" cropping.

    Parameters
    ----------
    in_channels, out_channels : int
        As of `torch.nn.ConvTranspose2d`.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Map (B, in, H, W) to (B, out, 2 H, 2 W): the first 2n of 2n + 1 rows and columns."""
        return super().forward(x)[..., :-1, :-1]


def resize_bilinear(x: Tensor, factor: int) -> Tensor:
    """Enlarge by a whole factor as TensorFlow 1 does: output i samples input i / factor.

    Neither are corners aligned nor pixel centres half a pixel in; past the last pixel it repeats.

    Parameters
    ----------
    x : Tensor, shape (B, C, H, W)
        Any values.
    factor : int
        At least 1.

    Returns
    -------
    Tensor, shape (B, C, factor * H, factor * W)

    Examples
    --------
    >>> import torch
    >>> resize_bilinear(torch.tensor([[[[0.0, 4.0]]]]), 4)[0, 0, 0].tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 4.0]
    """
    height, width = (factor * side + 1 for side in x.shape[-2:])
    # With the edge repeated once, aligned corners step by exactly n / (factor n).
    edged = functional.pad(x, (0, 1, 0, 1), mode="replicate")
    resized = functional.interpolate(
        edged, size=(height, width), mode="bilinear", align_corners=True
    )
    return resized[..., :-1, :-1]


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Return a batch norm with offset and scale that normalises from the first step."""
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM)


class NormReLU6(nn.Sequential):
    """Batch norm, then min(max(x, 0), 6).

    Parameters
    ----------
    channels : int
        Of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(OrderedDict(norm=batch_norm(channels), activation=nn.ReLU6()))


class SeparableConv2d(nn.Sequential):
    """Depthwise 3×3, pointwise 1×1, neither with a bias, then batch norm.

    Parameters
    ----------
    in_channels, out_channels : int
        Before and after the pointwise convolution.
    stride, dilation : int
        Of the depthwise one.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        depthwise = SameConv2d(
            in_channels,
            in_channels,
            3,
            stride=stride,
            dilation=dilation,
            groups=in_channels,
            bias=False,
        )
        pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        norm = batch_norm(out_channels)
        super().__init__(OrderedDict(depthwise=depthwise, pointwise=pointwise, norm=norm))


class Residual(nn.Module):
    """The sum of two ways through.

    Parameters
    ----------
    main, shortcut : Module
        Modules whose outputs have the same shape.
    """

    def __init__(self, main: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.main = main
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return ``main(x) + shortcut(x)``."""
        result: Tensor = self.main(x) + self.shortcut(x)
        return result
