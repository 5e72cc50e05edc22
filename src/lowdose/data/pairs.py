"""Noisy and clean pairs: augmented truths, a dose law, and a drawn exposure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from lowdose.data.crops import Cut, Pool, send
from lowdose.data.truths import Truth
from lowdose.errors import ConfigError
from lowdose.physics.correlation import (
    blur,
    gaussian_taps,
    kept_variance,
    neighbour_correlation,
    shift_taps,
)
from lowdose.physics.noise import detect

_CPU = torch.device("cpu")
# Spread of what a network is told of the correlation, as estimates have it.
_MISTOLD = 0.04
# Blurs drawn are Gaussians of up to so many pixels: two thirds of the contrast left at an eighth
# of a cycle a pixel.
_MOST_BLUR = 1.2


@dataclass(frozen=True)
class DoseLaw:
    """How the expected electrons at the brightest pixel are drawn.

    Three laws are mixed: the paper's low dose, ``25 + Exponential(75)``; ordinary doses over
    `ordinary`; and any dose at all, log-uniform over `wide`.

    Parameters
    ----------
    low_share, ordinary_share : float
        Shares of the first two laws; the rest is `wide`.
    ordinary, wide : (float, float)
        Ranges in electrons per pixel.
    spacing : {"log", "even"}
        Whether the ordinary doses are log-uniform or uniform over their range.
    """

    low_share: float = 0.4
    ordinary_share: float = 0.3
    ordinary: tuple[float, float] = (100.0, 2500.0)
    wide: tuple[float, float] = (1.0, 1e5)
    spacing: Literal["log", "even"] = "log"

    def __post_init__(self) -> None:
        shares = self.low_share, self.ordinary_share
        if not (min(shares) >= 0 and sum(shares) <= 1):  # nor NaN
            raise ConfigError(f"dose shares are {shares}; expected each >= 0 and at most 1 in all")
        for low, high in (self.ordinary, self.wide):
            if not 0 < low <= high < math.inf:
                raise ConfigError(f"dose range is ({low}, {high}); expected 0 < low <= high")

    def draw(self, rng: np.random.Generator) -> float:
        """Draw expected electrons at the brightest pixel."""
        choice = rng.random()
        if choice < self.low_share:
            return float(25 + rng.exponential(75))
        is_ordinary = choice < self.low_share + self.ordinary_share
        low, high = self.ordinary if is_ordinary else self.wide
        if is_ordinary and self.spacing == "even":
            return float(rng.uniform(low, high))
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))


@dataclass(frozen=True)
class Augmentation:
    """Shares of crops that are changed, each independently of the others.

    Parameters
    ----------
    shrink : float
        Sampled down by a factor of 1 to 2.
    invert : float
        Contrast inverted.
    curve : float
        Raised to a power between 1/2 and 2.
    pedestal : float
        Lifted, so that the darkest pixel has up to 0.9 of the brightest one's intensity: the
        contrast of bright-field and cryo-EM images.
    readout : float
        Given Gaussian readout noise of 0.3 to 10 electrons.
    misjudged : float
        Denoised as if the gain were another, with a spread of 10 %, as estimates are.
    stretch : float
        Scaled to [0, 1] by their own extremes, not by those of the image they were cut from.
    correlated : float
        Recorded by a detector that blurs, or interpolated, so that the noise of neighbours
        correlates; the truth is blurred alike.
    """

    shrink: float = 0.4
    invert: float = 0.2
    curve: float = 0.3
    pedestal: float = 0.3
    readout: float = 0.15
    misjudged: float = 0.3
    stretch: float = 0.0
    correlated: float = 0.0

    def __post_init__(self) -> None:
        for name, share in vars(self).items():
            if not 0 <= share <= 1:
                raise ConfigError(f"augmentation {name} is {share}; expected a share from 0 to 1")


@dataclass(frozen=True)
class Batch:
    """Exposures with their truths, all in electrons.

    Parameters
    ----------
    noisy, clean : Tensor, shape (B, 1, H, W)
        Recorded and expected electrons per pixel.
    readout_std : Tensor, shape (B,)
        Readout noise in electrons.
    correlation : Tensor, shape (B, 2)
        What the network is told of the noise of neighbours along y and x.
    shift, widen : Tensor, shape (B,)
        What is done to the scaling of a crop, in spans and as a factor: a crop rarely has the
        range of the whole image it stands for.
    """

    noisy: Tensor
    clean: Tensor
    readout_std: Tensor
    correlation: Tensor
    shift: Tensor
    widen: Tensor


@dataclass(frozen=True)
class _Recipe:
    """All that is drawn for one crop, beside the noise itself.

    The intensity is stretched or not, inverted or not, raised to `power`, lifted by `pedestal`
    and exposed to `dose` electrons; `seed` starts its noise, `blurs` are weights along y and x.
    """

    truth: Truth
    cut: Cut
    is_stretched: bool
    is_inverted: bool
    power: float
    pedestal: float
    dose: float
    readout: float
    gain: float
    seed: int
    shift: float
    widen: float
    told: tuple[float, float]
    blurs: tuple[Tensor, Tensor] | None


class TruthSource(Protocol):
    """Where clean images come from."""

    @property
    def held(self) -> Sequence[Truth]:
        """All of them, where they are held in memory; else none."""

    def pick(self, ordinal: int, rng: np.random.Generator) -> Truth:
        """Return the truth of the crop with this number in a run, in order or by lot."""


class PairSource:
    """Draws training batches; the same seed and step give the same batch, in any order.

    Parameters
    ----------
    truths : TruthSource
        Clean images. Those held in memory are copied to a GPU once and for all, where half of
        its free memory is enough for them.
    patch : int
        Side of the crops in pixels.
    batch : int
        Crops of a step, of all processes together.
    dose : DoseLaw
        Electrons at the brightest pixel.
    augmentation : Augmentation
        Shares of crops that are changed.
    seed : int
        Start of every random number.
    device : torch.device
        Where crops are cut and noise is drawn.
    """

    def __init__(
        self,
        truths: TruthSource,
        *,
        patch: int,
        batch: int,
        dose: DoseLaw,
        augmentation: Augmentation,
        seed: int,
        device: torch.device = _CPU,
    ) -> None:
        self.truths, self.patch, self.crops, self.dose = truths, patch, batch, dose
        self.augmentation, self.seed, self.device = augmentation, seed, device
        self._pool: Pool | None = None
        if _fits(truths.held, device):
            self._pool = Pool([truth.whole() for truth in truths.held], device)
            self._places = {id(truth): place for place, truth in enumerate(truths.held)}

    def batch(self, step: int, samples: range) -> Batch:
        """Draw the given samples of a step's global batch.

        Several processes that share a batch each ask for their own range. On a CPU the noise of
        a crop is its own, whoever asks for it; elsewhere it is drawn for all samples at once, so
        that the range decides which.
        """
        recipes = [self._recipe(step, sample) for sample in samples]
        expected = self._expected(recipes)
        is_apart = self.device.type == "cpu"
        shares = [[n] for n in range(len(recipes))] if is_apart else [[*range(len(recipes))]]
        exposed = [
            _expose(expected[share[0] : share[-1] + 1], [recipes[n] for n in share])
            for share in shares
        ]
        noisy, clean, readout = (torch.cat(parts) for parts in zip(*exposed, strict=True))
        told = self._send([(*recipe.told, recipe.shift, recipe.widen) for recipe in recipes])
        return Batch(noisy, clean, readout, told[:, :2], told[:, 2], told[:, 3])

    def _recipe(self, step: int, sample: int) -> _Recipe:
        rng = np.random.default_rng((self.seed, step, sample))
        share = self.augmentation
        truth = self.truths.pick(step * self.crops + sample, rng)
        cut = self._cut(truth, rng)
        is_stretched = bool(rng.random() < share.stretch)
        is_inverted = bool(rng.random() < share.invert)
        power = float(2 ** rng.uniform(-1, 1)) if rng.random() < share.curve else 1.0
        pedestal = float(rng.uniform(0, 0.9)) if rng.random() < share.pedestal else 0.0
        dose = self.dose.draw(rng)
        readout = float(np.exp(rng.uniform(np.log(0.3), np.log(10))))
        readout *= float(rng.random() < share.readout)
        gain = float(np.exp(rng.normal(0, 0.1))) if rng.random() < share.misjudged else 1.0
        seed = int(rng.integers(2**62))
        shift, widen = float(rng.uniform(-0.2, 0.2)), float(2 ** rng.uniform(0, 1))
        blurs = _draw_blurs(rng) if rng.random() < share.correlated else None
        told = (0.0, 0.0)
        if share.correlated:
            known = map(neighbour_correlation, blurs) if blurs else told
            spread = _MISTOLD if blurs else _MISTOLD / 2
            down, across = (max(0.0, value + spread * float(rng.normal())) for value in known)
            told = down, across
        return _Recipe(
            truth, cut, is_stretched, is_inverted, power, pedestal, dose, readout, gain, seed,
            shift, widen, told, blurs,
        )  # fmt: skip

    def _cut(self, truth: Truth, rng: np.random.Generator) -> Cut:
        height, width = truth.pixels.shape
        factor = rng.uniform(1, 2) if rng.random() < self.augmentation.shrink else 1.0
        side = min(round(self.patch * factor), height, width)
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        return Cut(int(top), int(left), side, int(rng.integers(8)))

    def _expected(self, recipes: Sequence[_Recipe]) -> Tensor:
        """Expected electrons of crops, shape (B, 1, patch, patch)."""
        cuts = [recipe.cut for recipe in recipes]
        if self._pool:
            places = [self._places[id(recipe.truth)] for recipe in recipes]
            crops = self._pool.cut(places, cuts, self.patch)
        else:
            windows = [r.truth.crop(r.cut.top, r.cut.left, r.cut.side, r.cut.side) for r in recipes]
            cuts = [dataclasses.replace(cut, top=0, left=0) for cut in cuts]
            pool = Pool(windows, self.device)
            crops = pool.cut(range(len(windows)), cuts, self.patch)
        facts = self._send(
            [(r.is_stretched, r.is_inverted, r.power, r.pedestal, r.dose) for r in recipes]
        )
        stretched, inverted, power, pedestal, dose = facts.T[..., None, None, None]
        low, high = crops.amin(dim=(2, 3), keepdim=True), crops.amax(dim=(2, 3), keepdim=True)
        crops = torch.where(stretched > 0, (crops - low) / (high - low).clamp_min(1e-12), crops)
        crops = crops.clamp(0, 1)  # rounding must not make a rate negative
        crops = torch.where(inverted > 0, 1 - crops, crops) ** power
        electrons: Tensor = (pedestal + (1 - pedestal) * crops) * dose
        return electrons

    def _send(self, rows: Sequence[Sequence[float]]) -> Tensor:
        return send(np.array(rows, np.float32), self.device)


def _fits(truths: Sequence[Truth], device: torch.device) -> bool:
    """Whether truths are to be held on a device."""
    if device.type != "cuda" or not truths:
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return 4 * sum(truth.pixels.size for truth in truths) < free / 2


def _expose(expected: Tensor, recipes: Sequence[_Recipe]) -> tuple[Tensor, Tensor, Tensor]:
    """Recorded and expected electrons, and readout noise, each pixel's own being counts."""
    device = expected.device
    rng = torch.Generator(device).manual_seed(recipes[0].seed)
    readout = np.array([recipe.readout for recipe in recipes], np.float32)
    unit = np.array([recipe.gain for recipe in recipes], np.float32)
    deviation = send(readout, device).view(-1, 1, 1, 1) if readout.any() else 0.0
    noisy = detect(expected, readout_std=deviation, rng=rng)
    blurred = [n for n, recipe in enumerate(recipes) if recipe.blurs]
    if blurred:
        blurs = [recipe.blurs for recipe in recipes if recipe.blurs]
        where = send(np.array(blurred), device)
        down, across = (torch.stack(taps).to(device) for taps in zip(*blurs, strict=True))
        noisy, expected = (
            image.index_copy(0, where, blur(image[where], down, across))
            for image in (noisy, expected)
        )
        # The blur takes variance away: the image looks like one of more, smaller counts.
        kept = np.array([kept_variance(*taps) for taps in blurs], np.float32)
        unit[blurred] *= kept
        readout[blurred] *= kept**0.5
    scale = send(1 / unit, device).view(-1, 1, 1, 1)
    return noisy * scale, expected * scale, send(readout / unit, device)


def _draw_blurs(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Weights along y and x: of a detector, of interpolation, or of a slow scan along x alone."""
    kind = rng.random()
    if kind < 0.5:
        taps = gaussian_taps(float(rng.uniform(0.3, _MOST_BLUR)))
        return taps, taps
    if kind < 0.8:
        down, across = rng.uniform(0, 0.5, 2)
        return shift_taps(float(down)), shift_taps(float(across))
    widths = 0.2, float(rng.uniform(0.3, _MOST_BLUR))
    return gaussian_taps(widths[0]), gaussian_taps(widths[1])
