"""Layers that repeat TensorFlow's arithmetic, so that weights trained there fit here.

PyTorch pads a convolution alike on both sides and centres its resizing; TensorFlow 1 does neither.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

BATCH_NORM_EPSILON = 1e-3  # TensorFlow's; torch's is 1e-5
BATCH_NORM_MOMENTUM = 0.01  # weight of the newest batch; slim's 0.001 outlasts a short training
# Batch renormalisation: plain batch norm for so many batches, then corrected ever more freely up
# to the limits that its author found safe. He waits 5000 batches of 32; a batch of one is of little
# use to plain batch norm, and the first moments are averaged evenly.
RENORM_FROM, RENORM_FULLY = 20, 200
MOST_SCALE, MOST_SHIFT = 3.0, 5.0


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
        # Along an axis y[2i] = w[0] x[i] + w[2] x[i - 1] and y[2i + 1] = w[1] x[i]: a convolution
        # over (x[i - 1], x[i]) that makes the four pixels of a block as channels, ten times as
        # fast on a CPU as torch's transposed one.
        into, out = self.weight.shape[:2]
        taps = functional.pad(self.weight, (0, 1, 0, 1))  # index 3: no weight
        phases = taps.roll((2, 2), (2, 3))  # 2 3 0 1: of each tap, what either parity takes
        phases = phases.reshape(
            into, out, 2, 2, 2, 2
        )  # (in, out, tap y, parity y, tap x, parity x)
        kernel = phases.permute(1, 3, 5, 0, 2, 4).reshape(4 * out, into, 2, 2)
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        blocks = functional.conv2d(functional.pad(x, (1, 0, 1, 0)), kernel, bias)
        return functional.pixel_shuffle(blocks, 2)


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
    # (Not by replicating padding: torch.compile cannot differentiate that in channels_last.)
    edged = torch.cat((x, x[..., -1:]), dim=-1)
    edged = torch.cat((edged, edged[..., -1:, :]), dim=-2)
    resized = functional.interpolate(
        edged, size=(height, width), mode="bilinear", align_corners=True
    )
    return resized[..., :-1, :-1]


class BatchRenorm2d(nn.BatchNorm2d):
    r"""Batch norm that uses its moving moments in training too, so that batches of one image work.

    Batch norm proper gives every batch the same mean and contrast. With one image a batch, as the
    paper trains, and a norm behind the last layer, no image could then have its own. Batch
    renormalisation [1]_ passes forward what inference would, and backward the gradient of batch
    norm:

    .. math:: y = \gamma\left(\frac{x - \mu_B}{\sigma_B} r + d\right) + \beta, \quad
              r = \frac{\sigma_B}{\sigma}, \; d = \frac{\mu_B - \mu}{\sigma}

    with `r` and `d` constant for the gradient, and limited until the moving moments are known.
    Processes that train together share their moments.

    Parameters
    ----------
    channels : int
        Of input and output.

    Attributes
    ----------
    is_frozen : bool
        Never to look at a batch: a scale and an offset that are learnt, and nothing else.

    References
    ----------
    .. [1] S. Ioffe, arXiv:1702.03275 (2017).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM)
        self.is_frozen = False

    def train(self, mode: bool = True) -> BatchRenorm2d:
        """Change mode, unless frozen: then stay in that of inference."""
        return super().train(mode and not self.is_frozen)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        if not self.training:
            return super().forward(x)
        shared = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        mean, variance = _shared_moments(x.to(self.weight.dtype)) if shared else self._moments(x)
        scale, shift = self._correction(mean.detach(), variance.detach())
        weight, bias = self.weight * scale, self.bias + self.weight * shift
        if not shared:
            return functional.batch_norm(x, None, None, weight, bias, training=True, eps=self.eps)
        weight = weight * (variance + self.eps).rsqrt()
        bias = bias - weight * mean
        return (x * weight.view(-1, 1, 1) + bias.view(-1, 1, 1)).to(x.dtype)

    @torch.no_grad()
    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel over images and pixels, without gradient."""
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
            return mean, variance
        # As a by-product of a norm, which on a CPU is six times as fast as torch.var_mean.
        norm = x, self.weight, self.bias, None, None, True, 0.0, self.eps
        _, mean, scale = torch.native_batch_norm(*norm)
        return mean, (scale**-2 - self.eps).clamp_min(0)

    @torch.no_grad()
    def _correction(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return r and d of this batch, and take it into the moving moments."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        seen = self.num_batches_tracked.to(
            mean.dtype
        )  # tensors throughout: a device is not awaited
        # How far r and d may go: nowhere while the moments are strange, then ever further.
        trust = ((seen - RENORM_FROM) / (RENORM_FULLY - RENORM_FROM)).clamp(0, 1)
        deviation = (self.running_var + self.eps).sqrt()
        most = 1 + trust * (MOST_SCALE - 1)
        scale = ((variance + self.eps).sqrt() / deviation).clamp(1 / most, most)
        shift = (mean - self.running_mean) / deviation
        shift = shift.clamp(-trust * MOST_SHIFT, trust * MOST_SHIFT)
        newest = (1 / (1 + seen)).clamp_min(BATCH_NORM_MOMENTUM)  # the first are averaged evenly
        self.running_mean.lerp_(mean, newest)
        self.running_var.lerp_(variance, newest)
        self.num_batches_tracked += 1
        return scale, shift


class _SumOverProcesses(torch.autograd.Function):
    """Sum of what each process holds; its gradient is the sum of what each of them asks for."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        """Return the sum to every process."""
        summed = own.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Return the sum of the gradients to every process."""
        summed = gradient.clone()
        dist.all_reduce(summed)
        return summed


def _shared_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over all processes, each with as many pixels, and with gradient."""
    sums = torch.stack((x.mean(dim=(0, 2, 3)), x.square().mean(dim=(0, 2, 3))))
    summed: Tensor = _SumOverProcesses.apply(sums)  # type: ignore[no-untyped-call]
    mean, square = summed / dist.get_world_size()
    return mean, (square - mean.square()).clamp_min(0)


class NormReLU6(nn.Sequential):
    """Batch norm, then min(max(x, 0), 6).

    Parameters
    ----------
    channels : int
        Of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(OrderedDict(norm=BatchRenorm2d(channels), activation=nn.ReLU6()))


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
        norm = BatchRenorm2d(out_channels)
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


def fold_norms(network: nn.Module) -> None:
    """Fold every batch norm that follows a convolution into its weights, for inference.

    The function stays the same to rounding; a third of the passes over memory go.

    Parameters
    ----------
    network : Module
        In evaluation mode; its norms become identities.
    """
    modules = list(network.modules())
    for module in modules:  # the norms inside first, those behind them next
        if isinstance(module, SeparableConv2d):
            _fold(module.pointwise, module)
    for module in modules:
        if not isinstance(module, nn.Sequential):
            continue
        for layer, following in itertools.pairwise(module):
            if isinstance(following, NormReLU6) and isinstance(layer, _CONVOLUTIONS):
                _fold(getattr(layer, "pointwise", layer), following)


_CONVOLUTIONS = (SameConv2d, SameConvTranspose2d, SeparableConv2d)


def _fold(convolution: Any, place: Any) -> None:
    """Fold ``place.norm`` into the convolution before it."""
    norm: Any = place.norm
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
        transpose=isinstance(convolution, nn.ConvTranspose2d),
    )
    place.norm = nn.Identity()
