"""The lattice in a micrograph: waves that stand out of the noise over hundreds of pixels.

A network sees pixels and what lies around them. A lattice of a few electrons a pixel cannot be
seen there, yet stands out of the noise in the Fourier transform of a larger area. Its waves can be
set aside before a network looks, which then sees what is left: defects, edges, slow contrast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# Waves are looked for in blocks of these sides, one every half, so that a lattice may bend, change
# and end: what stands out of the larger, then of what is left in the smaller. One size alone was
# worse on simulated lattices, three were no better.
SIDES = 256, 128
# Periods of more than 16 pixels a network sees by itself.
_LOWEST = 1 / 16
# White noise shows a peak in one image of fifty.
_CHANCE = 4.0
# Next to a peak, less is asked of what belongs to it: waves that end or bend are broader.
_BESIDE, _LEAST_BESIDE = 2, 4.0
# Peaks stand out of what is around them, in frequencies of the block: fine texture has none.
_AROUND, _OWN = 7, 2
# Around a pixel waves count as much as they are found within so many pixels on either side, and
# not at all where that is less than so many of its deviations from nothing: in the vacuum beside
# a crystal there are none.
_WITHIN, _SURE = 12, 2.0
# From this frequency on, in cycles per pixel, most of an image is noise; each fifth will do.
_HIGH, _EVERY = 0.25, 5
# Of larger images than the square of so many pixels, blocks farther apart are split.
_MOST_PIXELS = 1024
# They are a lattice where they hold this part of all that is as fine and is no noise; where it is
# half of that, an image is worth a second look.
_LATTICE, _PERIODIC = 0.5, 0.25


def is_periodic(blocks: Tensor, pixels: int) -> bool:
    """Whether something periodic, as a lattice, stands out of the noise in any of some blocks.

    Parameters
    ----------
    blocks : Tensor, shape (N, side, side), float32
        Stabilised pixels, of noise of unit deviation.
    pixels : int
        Of the whole image.

    Examples
    --------
    >>> noise = torch.randn(4, 128, 128, generator=torch.Generator().manual_seed(0))
    >>> wave = 0.5 * torch.cos(torch.arange(128) * (2 * math.pi / 5))
    >>> is_periodic(noise, 1 << 16), is_periodic(noise + wave, 1 << 16)
    (False, True)
    """
    everywhere = torch.ones(1, blocks.shape[1])
    power = _Spectra(blocks, everywhere, everywhere).power
    return bool(_of_lattice(power, pixels, least=_PERIODIC).any())


def lattice_waves(
    rows: Callable[[slice], Tensor], waves: NDArray[np.float32], *, side: int
) -> float:
    """Find the waves of a lattice, wherever in an image there is one.

    Half-overlapping blocks are transformed under a sine window; of each, the frequencies that
    stand out are kept, less the noise in them, and windowed again. A few frequencies make waves
    in all of a block, so around each pixel they count as much as they are found there.

    Parameters
    ----------
    rows : callable
        Given a slice of rows, returns those of the stabilised image, shape (h, W), float32, of
        noise of unit deviation.
    waves : ndarray, shape (H, W)
        Filled with what the waves add to the stabilised image; zero where there is no lattice.
    side : int
        Of the blocks, even.

    Returns
    -------
    float
        The part of the noise's variance that is in the waves as well.
    """

    def found(noisy: _Spectra) -> tuple[Tensor, Tensor]:
        share = _of_lattice(noisy.power, waves.size)
        return noisy.waves(share), share

    return _overlapped([rows], waves, side, found)


def waves_like(
    estimate: Callable[[slice], Tensor],
    rows: Callable[[slice], Tensor],
    waves: NDArray[np.float32],
    *,
    side: int,
) -> float:
    """Find the waves in an image that a first estimate of it has, by a Wiener filter.

    What an estimate holds in a frequency of a block, over that and the noise, is the part of the
    noisy image that is kept there. Of fine waves it is so much again as the estimate has them
    around each pixel: there are none in the vacuum beside a crystal.

    Parameters
    ----------
    estimate : callable
        Given a slice of rows, returns those of the estimate, shape (h, W), float32.
    rows, waves, side
        As in `lattice_waves`; there are waves wherever the estimate is not flat.

    Returns
    -------
    float
        The squared error of the waves that the filter expects, in variances of the noise: what of
        the noise it keeps, and what of the waves it loses.

    References
    ----------
    .. [1] S. P. Ghael, A. M. Sayeed, R. G. Baraniuk, Proc. SPIE 3169, 389 (1997).
    """

    def found(noisy: _Spectra, estimate: _Spectra) -> tuple[Tensor, Tensor]:
        share = estimate.power / (1 + estimate.power)
        is_fine = _frequencies(side, share.device) >= _LOWEST
        # The same again around each pixel: what the estimate has there, over that and the noise.
        there = _summed(estimate.filtered(is_fine.float()).square())
        noise = (share * is_fine).square().mean((1, 2))[:, None, None] * _summed(
            noisy.seen.square()
        )
        part = there / (there + noise).clamp_min(1e-12)
        return noisy.filtered(share * ~is_fine) + part * noisy.filtered(share * is_fine), share

    return _overlapped([rows, estimate], waves, side, found)


def _overlapped(
    sources: Sequence[Callable[[slice], Tensor]],
    waves: NDArray[np.float32],
    side: int,
    found: Callable[..., tuple[Tensor, Tensor]],
) -> float:
    """Fill `waves` with what is found in half-overlapping blocks; the mean share of them."""
    height, width = waves.shape
    step = side // 2
    down, across = (-(-length // step) + 1 for length in (height, width))
    right = across * step - width
    there_x = F.pad(torch.ones(width), (step, right)).unfold(0, side, step)
    kept, before = 0.0, None
    for index in range(down):
        top = (index - 1) * step
        inside = slice(max(top, 0), min(top + side, height))
        edges = inside.start - top, top + side - inside.stop
        there_y = torch.zeros(1, side)
        there_y[:, edges[0] : side - edges[1]] = 1
        padded = (F.pad(rows(inside), (step, right, *edges)) for rows in sources)
        blocks = (each.unfold(1, side, step).movedim(1, 0) for each in padded)
        spectra = [_Spectra(each, there_y, there_x) for each in blocks]
        part, share = found(*spectra)
        kept += float(share.mean()) / down
        sums = _added(part * spectra[0].window)
        if before is not None:
            ready = (before[step:] + sums[:step])[: height - top, step : step + width]
            waves[top : top + step] = ready.cpu().numpy()
        before = sums
    return kept


class _Spectra:
    """Fourier transforms of blocks, of which some reach over the borders of an image.

    Parameters
    ----------
    blocks : Tensor, shape (N, side, side)
        Zero where there is no image.
    there_y, there_x : Tensor, shape (1 or N, side)
        One in the rows and columns where there is.
    """

    def __init__(self, blocks: Tensor, there_y: Tensor, there_x: Tensor) -> None:
        profile = _profile(blocks.shape[1])
        # Its squares add up to 1 from one half to the next.
        self.window = (profile[:, None] * profile).to(blocks.device)
        seen_y, seen_x = (each * profile for each in (there_y, there_x))
        self.seen = (seen_y[:, :, None] * seen_x[:, None, :]).to(blocks.device)
        count, weight = (
            (down.sum(1) * across.sum(1)).to(blocks.device)[:, None, None]
            for down, across in ((there_y, there_x), (seen_y.square(), seen_x.square()))
        )
        self._half = torch.fft.rfft2(
            (blocks - blocks.sum((1, 2), keepdim=True) / count) * self.seen
        )
        self._weight = weight

    @cached_property
    def power(self) -> Tensor:
        """Half of the plane, shape (N, side, side / 2 + 1): white noise of deviation 1 has 1."""
        energy: Tensor = self._half.real.square() + self._half.imag.square()
        return energy / self._weight

    def filtered(self, share: Tensor) -> Tensor:
        """Blocks of which a part of each frequency is left, under the window."""
        blocks: Tensor = torch.fft.irfft2(self._half * share)
        return blocks

    def waves(self, share: Tensor) -> Tensor:
        """The same where it is found in the blocks again."""
        waves = self.filtered(share)
        if not share.any():
            return waves
        fine = self.filtered((_frequencies(len(self.window), share.device) >= _LOWEST).float())
        energy = _summed(waves.square()).clamp_min(1e-12)
        found = _summed(fine * waves) / energy
        is_certain = found > _SURE / energy.sqrt()
        return waves * (is_certain * found.clamp(0, 1))


def _of_lattice(power: Tensor, pixels: int, *, least: float = _LATTICE) -> Tensor:
    """The part of each frequency that is a lattice's, from 0 to 1, of half the plane as well.

    A lattice holds at least such a part of all that is fine.
    """
    is_fine = _frequencies(power.shape[1], power.device) >= _LOWEST
    chance = math.log(pixels) + _CHANCE
    background = _around(power).clamp_min(1)
    is_peak = is_fine & (power > chance * background)
    if not is_peak.any():  # as in most images
        return torch.zeros_like(power)
    is_beside = _pooled(is_peak.float(), _BESIDE) > 0.5
    belongs = is_fine & is_beside & (power > _LEAST_BESIDE * background)
    beyond_noise = power - 1
    of_waves, of_all = ((beyond_noise * part).sum((1, 2)) for part in (belongs, is_fine))
    is_lattice = (of_waves > 0) & (of_waves > least * of_all)
    return (belongs & is_lattice[:, None, None]) * (1 - 1 / power.clamp_min(1))


@lru_cache
def _profile(side: int) -> Tensor:
    """Of the window of a block along either axis."""
    return torch.sin((torch.arange(side) + 0.5) * (math.pi / side))


def _frequencies(side: int, device: torch.device) -> Tensor:
    """In cycles per pixel, of half the plane."""
    down = torch.fft.fftfreq(side, device=device)
    return torch.hypot(down[:, None], torch.fft.rfftfreq(side, device=device))


def _around(power: Tensor) -> Tensor:
    """Mean around each frequency, without what is next to it."""
    (wide, of_wide), (own, of_own) = (
        (_pooled(power, reach), (2 * reach + 1) ** 2) for reach in (_AROUND, _OWN)
    )
    return (wide - own) / (of_wide - of_own)


def _continued(half: Tensor, reach: int) -> Tensor:
    """Half a plane with so many frequencies more on every side."""
    # Beyond either end of half a plane the other half begins, turned by 180 degrees.
    turned = half.flip(1, 2).roll(1, 1)
    ends = turned[..., -1 - reach : -1], turned[..., 1 : reach + 1]
    across = torch.cat([ends[0], half, ends[1]], dim=2)
    return torch.cat([across[:, -reach:], across, across[:, :reach]], dim=1)


def _pooled(half: Tensor, reach: int) -> Tensor:
    """Sums over so many frequencies on either side of each of half a plane."""
    return _sums(_continued(half, reach), 2 * reach + 1)


def _summed(blocks: Tensor) -> Tensor:
    """Sums over squares around each pixel of blocks."""
    return _sums(F.pad(blocks, (_WITHIN,) * 4), 2 * _WITHIN + 1)


def _sums(planes: Tensor, side: int) -> Tensor:
    """Sums over all squares inside planes (N, H, W)."""
    return _running(_running(planes, side, 1), side, 2)


def _running(values: Tensor, count: int, axis: int) -> Tensor:
    """Sums of so many neighbours along an axis, from sums of half as many."""
    if count == 1:
        return values
    half, left = count // 2, values.shape[axis] - count + 1
    halves = _running(values, half, axis)
    sums = halves.narrow(axis, 0, left) + halves.narrow(axis, half, left)
    return sums + values.narrow(axis, count - 1, left) if count % 2 else sums


def _added(blocks: Tensor) -> Tensor:
    """A row of half-overlapping blocks (N, side, side) as one strip."""
    count, side, _ = blocks.shape
    step = side // 2
    strip = blocks.new_zeros(side, step * (count + 1))
    for first in (0, 1):
        beside = torch.cat(list(blocks[first::2]), dim=1)
        strip[:, first * step : first * step + beside.shape[1]] += beside
    return strip


def apart_from_lattice(image: Tensor, *, side: int) -> tuple[Tensor, Tensor] | None:
    """Split an image where it holds a lattice into what is slow or periodic, and the rest.

    Parameters
    ----------
    image : Tensor, shape (H, W), float32
        Pixels in any unit; the noise need not be known.
    side : int
        Of the blocks that are looked at.

    Returns
    -------
    (Tensor, Tensor) or None
        Both of shape (N, side / 2, side / 2), in the unit of the image: the middles of blocks
        with a lattice, half-overlapping ones in images of up to 1024 × 1024. Next to all of the
        noise is in the second. None where there is no lattice.
    """
    if min(image.shape) < side:
        return None
    sparse = math.ceil(math.sqrt(image.numel()) / _MOST_PIXELS)
    # Most images hold none, which blocks side by side tell in a quarter of the time.
    if not _split(image, side, side * sparse)[1].any():
        return None
    blocks, share, spectra = _split(image, side, side // 2 * sparse)
    held = share.flatten(1).any(dim=1)
    if not held.any():
        return None
    is_fine = _frequencies(side, image.device) >= _LOWEST
    periodic = spectra.filtered(share.where(is_fine, torch.ones_like(share)))
    middle = np.s_[side // 4 : -side // 4, side // 4 : -side // 4]
    found = periodic[held][(..., *middle)] / spectra.window[middle]
    found += blocks[held].mean((1, 2), keepdim=True)
    return found, blocks[held][(..., *middle)] - found


def _split(image: Tensor, side: int, step: int) -> tuple[Tensor, Tensor, _Spectra]:
    """Blocks of an image, what of their frequencies is a lattice's, and their spectra."""
    blocks = image.unfold(0, side, step).unfold(1, side, step).reshape(-1, side, side)
    everywhere = torch.ones(1, side)
    spectra = _Spectra(blocks, everywhere, everywhere)
    # White noise is what most of the highest frequencies hold: their median, of its mean.
    high = (_frequencies(side, image.device) > _HIGH).flatten().nonzero()[::_EVERY, 0]
    noise = spectra.power.flatten(1)[:, high].median(dim=1).values / math.log(2)
    power = spectra.power / noise.clamp_min(1e-30)[:, None, None]
    return blocks, _of_lattice(power, image.numel()), spectra
