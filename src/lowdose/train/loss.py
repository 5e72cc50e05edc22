"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from lowdose.data.pairs import Batch
from lowdose.models import unit
from lowdose.models.catalog import Predicts
from lowdose.models.counts import (
    Scaling,
    Shown,
    estimate_electrons,
    estimate_with_error,
    fit_scaling,
)


def noise_unit_loss(estimate: Tensor, clean: Tensor, readout_std: Tensor) -> Tensor:
    """Root of the squared error in units of the noise, one number per image.

    Half of the squared error is that of the image over the mean variance of its noise, which is
    what mean squared error in counts rewards; half weighs each pixel by its own variance, so
    that the dark parts of an image count as well. The root keeps high doses, where most of the
    noise must stay, from outweighing low ones, where a tenth of it does. An image left alone
    scores about 1 at any dose, a perfect estimate near 0.

    Parameters
    ----------
    estimate, clean : Tensor, shape (B, 1, H, W)
        Estimated and true expected electrons.
    readout_std : Tensor, shape (B,)
        Readout noise in electrons.

    Returns
    -------
    Tensor, shape (B,)
    """
    # A hundredth of an electron keeps crops of nothing but vacuum from dividing by zero.
    variance = clean + readout_std.view(-1, 1, 1, 1) ** 2 + 0.01
    mean_variance = variance.mean(dim=(1, 2, 3), keepdim=True)
    error = (estimate - clean) ** 2
    # A tenth of the mean keeps black pixels, whose variance is zero, from taking over.
    local = error / (variance + 0.1 * mean_variance)
    squared = ((error / mean_variance + local) / 2).mean(dim=(1, 2, 3))
    return (squared + 1e-4).sqrt()  # the root's slope has no end at zero


def ede2018_loss(squared_error: Tensor) -> Tensor:
    """Loss of the paper: a thousand times the squared error, or its root where that is above 1.

    Parameters
    ----------
    squared_error : Tensor, shape (B,)
        Mean squared error of each image, in units of the noisy image's range.

    Returns
    -------
    Tensor, shape (B,)

    References
    ----------
    .. [1] J. M. Ede, Ultramicroscopy 202, 18 (2019); arXiv:1807.11234.

    Examples
    --------
    >>> import torch
    >>> ede2018_loss(torch.tensor([0.0005, 0.001, 0.004])).tolist()
    [0.5, 1.0, 2.0]
    """
    scaled = 1000 * squared_error
    # Clamped, since the slope of a root at zero would make NaN of the branch not taken.
    return torch.where(scaled < 1, scaled, scaled.clamp_min(1).sqrt())


def loss_of_noise(network: nn.Module, batch: Batch) -> Tensor:
    """Loss per image of a network that predicts noise, see `noise_unit_loss`; shape (B,)."""
    estimate = estimate_electrons(network, _shown(batch))
    return noise_unit_loss(estimate, batch.clean, batch.readout_std)


def loss_of_spread(network: nn.Module, batch: Batch) -> Tensor:
    """Negative log-likelihood of normal errors of the stated deviation, per image; shape (B,).

    In units of the noise, without the constant: about 0 for an image left alone by a network that
    knows it.
    """
    estimate, deviation = estimate_with_error(network, _shown(batch))
    noise = (batch.clean + (0.375 + batch.readout_std.view(-1, 1, 1, 1) ** 2)).sqrt()
    # Never sure beyond a hundredth of the noise: vacuum that is known exactly has no error at all.
    deviation = deviation + 0.01 * noise
    error = (estimate - batch.clean) / deviation
    return (0.5 * error.square() - 0.5 + (deviation / noise).log()).mean(dim=(1, 2, 3))


def _shown(batch: Batch) -> Shown:
    """A batch, scaled a little off, as the image that a crop is from would be."""
    scaling = fit_scaling(batch.noisy[..., ::2, ::2], batch.readout_std)
    jittered = Scaling(scaling.centre + batch.shift * scaling.span, scaling.span * batch.widen)
    return Shown(batch.noisy, batch.readout_std, jittered, batch.correlation)


def loss_of_image(network: nn.Module, batch: Batch) -> Tensor:
    """Loss per image of a network that predicts an image, see `ede2018_loss`; shape (B,)."""
    noisy = unit.fit_range(batch.noisy).apply(batch.noisy)
    estimate = network(noisy.contiguous(memory_format=torch.channels_last))
    error = estimate.float() - unit.target(noisy, batch.clean)
    return ede2018_loss(error.square().mean(dim=(1, 2, 3)))


LOSSES: Mapping[Predicts, Callable[[nn.Module, Batch], Tensor]] = {
    "noise": loss_of_noise,
    "image": loss_of_image,
}
