"""From electrons to electrons through a network that sees stabilised, scaled pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lowdose.physics.correlation import correlated_signs
from lowdose.physics.transform import stabilise, unstabilise

# A network never sees pixels further than this from the centre, in spans: one hot pixel of
# 10^5 electrons stays one pixel.
FURTHEST = 2.0
# The span is at least this many noise deviations, so a flat image is not blown up.
LEAST_SPAN = 4.0
# The square of what may be left of the noise at a pixel, in its variances.
_MOST_LEFT = 4.0
# No pixel is ever moved by more than this many noise deviations.
MOST_DEVIATIONS = 6.0
# Size of the random change that measures a derivative, in noise deviations.
_CHANGE = 0.2
# Noise below bf16's resolution of the image is hard to see, so what a network says of it fades.
FADE_LEVEL = 2.0**-7
# Up to so many electrons a pixel fading is undone, but where the noise was fitted by so much at
# most. Of more electrons, all that is not known of the noise counts for more than it.
_MANY, _MOST_SHARE = 1e4, 1.5
# Where less of the noise's variance than the first can be taken off, an image is left alone: it
# gains nothing that could be seen, and in a place that no window shows it could lose more. From
# the second on all is taken off, so that little more noise makes little difference.
_LEAST_GAIN, _FULL_GAIN = 0.04, 0.08
# One look beats another by so many standard errors.
_SURE = 3.0
# This fraction of the pixels lies outside the range that is scaled, on either side.
_OUTSIDE = 0.005


@dataclass(frozen=True)
class Scaling:
    """Shift and scale of stabilised pixels, one for a whole image however it is tiled.

    Parameters
    ----------
    centre, span : Tensor, shape (B,)
        Middle and width of the range of stabilised pixels, in noise deviations.
    """

    centre: Tensor
    span: Tensor

    @property
    def level(self) -> Tensor:
        """Noise deviation after scaling, shape (B,)."""
        return 1 / self.span

    def apply(self, stabilised: Tensor) -> Tensor:
        """Scale (B, 1, H, W) to about [-0.5, 0.5], clipped to ±2."""
        centre, span = self.centre.view(-1, 1, 1, 1), self.span.view(-1, 1, 1, 1)
        return ((stabilised - centre) / span).clamp(-FURTHEST, FURTHEST)


def fit_scaling(noisy: Tensor, readout_std: Tensor, *, aside: Tensor | float = 0.0) -> Scaling:
    """Scale by the 0.5 and 99.5 percentiles of the stabilised pixels.

    Parameters
    ----------
    noisy : Tensor, shape (B, ...)
        Recorded electrons, or an evenly spread sample of them.
    readout_std : Tensor, shape (B,)
        Readout noise in electrons.
    aside : Tensor, like `noisy`, or float
        What is set aside of the stabilised pixels, see `estimate_electrons`.
    """
    flat = (stabilise(noisy, readout_std.view(-1, *[1] * (noisy.ndim - 1))) - aside).flatten(1)
    low, high = _lower_end(flat), -_lower_end(-flat)
    return Scaling((low + high) / 2, (high - low).clamp_min(LEAST_SPAN))


def _lower_end(values: Tensor) -> Tensor:
    """Quantile of (B, N) along N, without sorting them all as `torch.quantile` does."""
    place = _OUTSIDE * (values.shape[1] - 1)
    count = min(int(place) + 2, values.shape[1])
    lowest = values.topk(count, dim=1, largest=False).values
    below, above = lowest[:, int(place)], lowest[:, -1]
    return torch.lerp(below, above, place - int(place))


@dataclass(frozen=True)
class Probe:
    r"""What a network calls noise in a few windows of an image, and how much of it is noise.

    Of the multiples :math:`\lambda \hat n` of a predicted noise, the one that leaves the least
    squared error is :math:`\lambda = E[n \hat n] / E[\hat n^2]`. For noise of unit deviation
    Stein's identity [1]_ turns the unknown :math:`E[n \hat n]` into the mean derivative of
    :math:`\hat n` by its own pixel and those it correlates with, which one random change of the
    input, correlated like the noise, measures [2]_. Where a network takes fine texture for noise
    the share falls below 1; where it is timid it rises above.

    Parameters
    ----------
    noise : Tensor, shape (B, 1, H, W)
        As predicted.
    derivative : Tensor, shape (B, 1, H, W)
        Its mean is that by each pixel.
    most : float
        Of `share`.
    kept : float
        The part of the noise that was set aside before the network looked, and so stays.

    References
    ----------
    .. [1] C. Stein, Ann. Statist. 9, 1135 (1981).
    .. [2] S. Ramani, T. Blu, M. Unser, IEEE Trans. Image Process. 17, 1540 (2008).
    """

    noise: Tensor
    derivative: Tensor
    most: float = 1.0
    kept: float = 0.0

    @classmethod
    def of_change(
        cls, noise: Tensor, moved: Tensor, change: Tensor, *, most: float = 1.0, kept: float = 0.0
    ) -> Probe:
        """From the noise predicted before and after a `random_change` of the stabilised pixels."""
        return cls(noise, (moved - noise) * change / _CHANGE**2, most, kept)

    @property
    def share(self) -> float:
        """From 0, leave the image alone, to `most`; 1 if the network judges rightly.

        Less where less than a twelfth of the noise's variance would be taken off, 0 from a
        twenty-fifth on.
        """
        # Less its own uncertainty: in doubt noise stays.
        derivative = self.derivative.mean() - _uncertainty(self.derivative) - self.kept
        energy = self.noise.square().mean().clamp_min(1e-12)
        share = (derivative / energy).clamp(0, self.most)
        gained = share * (2 * derivative - share * energy)
        return float(share * ((gained - _LEAST_GAIN) / (_FULL_GAIN - _LEAST_GAIN)).clamp(0, 1))

    def beats(self, other: Probe) -> bool:
        """Whether it leaves less error than another look at the same windows, beyond doubt."""
        gained, of_other = (2 * of.derivative - of.noise.square() for of in (self, other))
        more = gained - of_other
        return bool(more.mean() - 2 * (self.kept - other.kept) > _SURE * _uncertainty(more))

    def times(self, share: float) -> Probe:
        """The same where so much of the noise is taken off."""
        return Probe(share * self.noise, share * self.derivative, self.most, share * self.kept)

    def part_beside(self, other: Probe) -> float:
        """Its part in that mean of both looks which leaves the least error, from 0 to 1."""
        apart = self.noise - other.noise
        gained = self.derivative - other.derivative - other.noise * apart
        # Less its own uncertainty: in doubt the other is taken.
        sure = gained.mean() - _uncertainty(gained) - (self.kept - other.kept)
        return float((sure / apart.square().mean().clamp_min(1e-12)).clamp(0, 1))


def _uncertainty(values: Tensor) -> Tensor:
    """Standard error of their mean."""
    deviation: Tensor = values.std()
    return deviation / math.sqrt(values.numel())


class Shown:
    """Recorded electrons as a network is shown them.

    No dataclass that finds its tensors when asked: `torch.compile` could not follow it.

    Parameters
    ----------
    noisy : Tensor, shape (B, 1, H, W), float32
        Recorded electrons.
    readout_std : Tensor, shape (B,)
        Readout noise in electrons.
    scaling : Scaling
        Of the images that `noisy` was cut from.
    correlation : Tensor, shape (B, 2), optional
        Of the noise of neighbours along y and along x; by default the noise is white.
    aside : Tensor, shape (B, 1, H, W), or float
        What a network need not see of the stabilised pixels, as the waves of a lattice: taken off
        before it looks, and put back.

    Attributes
    ----------
    stabilised : Tensor, like `noisy`
        Pixels whose noise has unit deviation.
    rest : Tensor, like `noisy`
        What is left of them for the network to see.
    """

    def __init__(
        self,
        noisy: Tensor,
        readout_std: Tensor,
        scaling: Scaling,
        correlation: Tensor | None = None,
        aside: Tensor | float = 0.0,
    ) -> None:
        self.noisy, self.scaling, self.correlation = noisy, scaling, correlation
        self.readout = readout_std.view(-1, 1, 1, 1)
        self.stabilised = stabilise(noisy, self.readout)
        self.rest = self.stabilised - aside

    def told(self, *rests: Tensor) -> tuple[Tensor, ...]:
        """What to call a network with so that it sees these, one after the other."""
        count, times = len(self.noisy), len(rests)
        seen = torch.cat([self.scaling.apply(rest) for rest in rests])
        level = self.scaling.level.expand(count).repeat(times)
        if self.correlation is None:
            return seen, level
        return seen, level, self.correlation.expand(count, 2).repeat(times, 1)

    def electrons(self, noise: Tensor, share: float) -> Tensor:
        """What is expected where so much of this noise is taken off."""
        change = (share * noise).clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)
        return unstabilise(self.stabilised - change, self.readout)

    def slope(self, electrons: Tensor) -> Tensor:
        """By how much electrons change with the stabilised value; never 0, as noise is not."""
        return (electrons + (0.375 + self.readout**2)).clamp_min(0.375).sqrt()


def faded(level: Tensor) -> Tensor:
    """What a network's output is multiplied by, of noise of this deviation; like `level`.

    One over the deviation, less the fading: times the deviation it is the part that is left.
    """
    return level / (level**2 + FADE_LEVEL**2)


def random_change(shown: Shown, rng: torch.Generator) -> Tensor:
    """Small random signs, correlated like the noise, to move the stabilised pixels by."""
    row = shown.correlation
    pair = (0.0, 0.0) if row is None else tuple(row[0].tolist())
    return _CHANGE * correlated_signs(shown.noisy.shape, pair, rng=rng)


def probe(
    network: nn.Module,
    shown: Shown,
    *,
    of_counts: bool = True,
    kept: float = 0.0,
    rng: torch.Generator,
) -> Probe:
    """Ask a network for the noise in a few windows, and once more after a small random change.

    Parameters
    ----------
    network : Module
        As in `estimate_electrons`.
    shown : Shown
        Windows of one image, some ten thousand pixels in all; `correlation` has one row.
    of_counts : bool
        Whether its noise is that of counts, or of a gain that was given, and not fitted.
    kept : float
        The part of the noise's variance that is in what is set aside.
    rng : torch.Generator
        Random source on the device of the windows.
    """
    change = random_change(shown, rng)
    noise, moved = network(*shown.told(shown.rest, shown.rest + change)).chunk(2)
    most = most_share(shown, of_counts=of_counts)
    return Probe.of_change(noise, moved, change, most=most, kept=kept)


def most_share(shown: Shown, *, of_counts: bool) -> float:
    """What a network says without fading, over what it says: no more is ever taken off.

    It sees for itself how much noise there is, so a larger share would tell that there is less than
    was believed.
    """
    if float(shown.noisy.mean()) >= _MANY:
        return 1.0
    level = shown.scaling.level
    unfaded = 1 / float((level * faded(level)).mean())
    return min(unfaded, math.inf if of_counts else _MOST_SHARE)


def estimate_electrons(network: nn.Module, shown: Shown, *, share: float = 1.0) -> Tensor:
    """Estimate the expected electrons behind recorded ones.

    Parameters
    ----------
    network : Module
        Maps scaled pixels (B, 1, H, W) and levels (B,) to noise in its own deviations.
    shown : Shown
        What was recorded.
    share : float
        Part of the predicted noise to take off, see `Probe`.

    Returns
    -------
    Tensor, shape (B, 1, H, W), float32
        Expected electrons; a fraction of an electron below zero where next to none arrive.
    """
    if share == 0:
        return shown.noisy
    return shown.electrons(network(*shown.told(shown.rest)), share)


def estimate_with_error(
    network: nn.Module, shown: Shown, *, share: float = 1.0, kept: float = 0.0
) -> tuple[Tensor, Tensor]:
    r"""Estimate the expected electrons, and the deviation of that estimate from the truth.

    The network states its error in deviations of the stabilised noise, to which what is left of
    the noise that it found is added; electrons change with the stabilised value by the root of
    :math:`\hat x + 3/8 + \sigma^2`.

    Parameters
    ----------
    network : Module
        With a method ``with_deviation``, see `lowdose.models.unet.UNet`.
    shown, share
        As in `estimate_electrons`.
    kept : float
        The part of the noise's variance that is in what is set aside, of which the network does
        not know.

    Returns
    -------
    (Tensor, Tensor), shape (B, 1, H, W), float32
        Expected electrons and root of their expected squared error.
    """
    if share == 0:
        return shown.noisy, shown.slope(shown.noisy)
    noise, deviation = network.with_deviation(*shown.told(shown.rest))  # type: ignore[operator]
    electrons = shown.electrons(noise, share)
    left = (max(1 - share, 0) * noise).square()
    # A network that takes all sorts of things for noise leaves no more than there is.
    left = left.clamp_max(_MOST_LEFT)
    return electrons, (deviation.square() + left + kept).sqrt() * shown.slope(electrons)
