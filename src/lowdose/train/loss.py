"""What training minimises."""

from __future__ import annotations

from torch import Tensor


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
