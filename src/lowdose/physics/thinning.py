"""Two exposures out of one: electrons dealt at random, as if they had been counted apart."""

from __future__ import annotations

import torch
from torch import Tensor

from lowdose.physics.correlation import correlated

# Steps in electrons, at least and at most, in which pixels that are no counts are dealt.
_STEPS = 0.1, 4.0


def thin(
    electrons: Tensor,
    share: float,
    *,
    readout_std: float = 0.0,
    expected: Tensor | None = None,
    correlation: tuple[float, float] = (0.0, 0.0),
    rng: torch.Generator,
) -> Tensor:
    r"""Draw the exposure that a share of the dose would have made.

    Each electron is kept with probability p. Of a Poisson number of mean x that leaves one of
    mean px, and what is left out is one of mean (1 - p)x, independent of it [1]_. Where electrons
    are no whole numbers the normal law with the same moments takes the place of the binomial one,

    .. math:: a \sim \mathcal{N}(p\,y,\; p (1 - p) (\hat x + \sigma^2))

    which makes independent halves of normal noise of variance :math:`\hat x + \sigma^2` [2]_. Of
    halves it is the law to take: the binomial one, too, has no third moment there. A small rest is
    better dealt by `hold_out`.

    Parameters
    ----------
    electrons : Tensor, shape (B, 1, H, W), float32
        Recorded electrons y.
    share : float
        Of the dose, p, between 0 and 1.
    readout_std : float
        Standard deviation of the readout noise in electrons; that of the result is
        :math:`\sqrt p` times as large.
    expected : Tensor, like `electrons`, optional
        Estimate of the expected electrons, for the variance; by default `electrons` itself, which
        makes the parts a little dependent. Whole numbers need none.
    correlation : (float, float)
        Of the noise of neighbours along y and along x.
    rng : torch.Generator
        Random source on the device of `electrons`.

    Returns
    -------
    Tensor, like `electrons`
        The rest of the dose is the difference to `electrons`.

    Raises
    ------
    ValueError
        If the share is not between 0 and 1.

    References
    ----------
    .. [1] J. F. C. Kingman, Poisson Processes (1993), Sec. 5.1.
    .. [2] J. Leiner, B. Duan, L. Wasserman, A. Ramdas, J. Am. Stat. Assoc. 120, 135 (2025).

    Examples
    --------
    >>> rng = torch.Generator().manual_seed(0)
    >>> counts = torch.poisson(torch.full((1, 1, 500, 500), 20.0), generator=rng)
    >>> part = thin(counts, 0.25, rng=rng)
    >>> round(part.mean().item()), round(part.var().item())
    (5, 5)
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; expected a part of the dose between 0 and 1")
    if can_be_dealt(electrons, readout_std, correlation):
        return torch.binomial(electrons, torch.full_like(electrons, share), generator=rng)
    expected = electrons if expected is None else expected
    variance = (expected + readout_std**2).clamp_min(0)
    white = torch.randn(electrons.shape, generator=rng, device=electrons.device)
    noise = correlated(white, correlation)
    return share * electrons + (share * (1 - share) * variance).sqrt() * noise


def hold_out(
    electrons: Tensor,
    share: float,
    *,
    readout_std: float = 0.0,
    correlation: tuple[float, float] = (0.0, 0.0),
    rng: torch.Generator,
) -> tuple[Tensor, Tensor]:
    r"""Deal electrons y into a part and a small rest b: the part, and the contrast :math:`y - b/p`.

    Counts are dealt one by one. Of other pixels a small change :math:`\varepsilon` is taken off,
    of which the first two moments that matter are those of counts with readout noise,

    .. math:: \mathrm E\,\varepsilon^2 = p (1 - p) (y + \sigma^2), \qquad
        \mathrm E\,\varepsilon^3 \approx -p (y + 2 \sigma^2).

    A normal change, with no third moment, makes an error of a network at 5 electrons a third too
    small: its variance follows the noise of y, and so do bends of the network. Where the variance
    is estimated below zero, the change has it above and the contrast the other sign.

    Parameters
    ----------
    electrons : Tensor, shape (B, 1, H, W), float32
        Recorded electrons y.
    share : float
        Of the dose, p, in the rest. The third moment holds to first order in it: of halves,
        which should have none, `thin` makes ones that depend on each other less.
    readout_std, correlation, rng
        As in `thin`.

    Returns
    -------
    part : Tensor, like `electrons`
        The rest of the dose is the difference to `electrons`.
    contrast : Tensor, like `electrons` but float64
        Of mean zero given y. Its product with the change of the part,
        :math:`\varepsilon = a - (1 - p)\,y`, has the mean :math:`(1 - p)(y + \sigma^2)` whatever
        the sign of that.

    Raises
    ------
    ValueError
        If the share is not between 0 and 1.
    """
    kept = 1 - share
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; expected a part of the dose between 0 and 1")
    if can_be_dealt(electrons, readout_std, correlation):
        part = thin(electrons, kept, rng=rng)
        return part, ((part - kept * electrons) / share).double()
    exact = electrons.double()
    variance = exact + readout_std**2
    sizes = (exact + 2 * readout_std**2) / torch.where(variance == 0, 1e-9, variance)
    sizes = torch.where(sizes < 0, -1, 1) * sizes.abs().clamp(*_STEPS)
    mean = share * kept * variance.abs() / sizes**2
    change = sizes * (mean - torch.poisson(mean, generator=rng))
    contrast = correlated(change * variance.sign() / share, correlation)
    return (kept * electrons + correlated(change, correlation)).float(), contrast


def can_be_dealt(electrons: Tensor, readout_std: float, correlation: tuple[float, float]) -> bool:
    """Whether each can be given to one part or the other: counts, of white noise of their own."""
    return not readout_std and not any(correlation) and are_counts(electrons)


def are_counts(electrons: Tensor) -> bool:
    """Whether all are whole numbers, none negative."""
    return bool((electrons >= 0).all() and (electrons == electrons.round()).all())
