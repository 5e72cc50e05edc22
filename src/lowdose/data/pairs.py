"""Noisy and clean pairs: augmented truths, a dose law, and a drawn exposure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

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
        if min(shares) < 0 or sum(shares) > 1:
            raise ConfigError(f"dose shares are {shares}; expected each >= 0 and at most 1 in all")
        for low, high in (self.ordinary, self.wide):
            if not 0 < low <= high:
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
class _Facts:
    """What is drawn for one crop beside its pixels; blurs are weights along y and x."""

    readout: float
    gain: float
    shift: float
    widen: float
    told: tuple[float, float]
    blurs: tuple[Tensor, Tensor] | None
    seed: int

    def expose(self, expected: Tensor) -> tuple[Tensor, Tensor, float]:
        """Recorded and expected electrons, and readout noise, each pixel's own being counts."""
        rng = torch.Generator(expected.device).manual_seed(self.seed)
        clean, unit, readout = expected, self.gain, self.readout
        noisy = detect(expected, readout_std=readout, rng=rng)
        if self.blurs:
            noisy, clean = blur(torch.stack([noisy, expected]), *self.blurs)
            # The blur takes variance away: the image looks like one of more, smaller counts.
            kept = kept_variance(*self.blurs)
            unit, readout = unit * kept, readout * kept**0.5
        return noisy / unit, clean / unit, readout / unit


class TruthSource(Protocol):
    """Where clean images come from."""

    def pick(self, ordinal: int, rng: np.random.Generator) -> Truth:
        """Return the truth of the crop with this number in a run, in order or by lot."""


class PairSource:
    """Draws training batches; the same seed and step give the same batch, in any order.

    Parameters
    ----------
    truths : TruthSource
        Clean images.
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
    ) -> None:
        self.truths, self.patch, self.crops, self.dose = truths, patch, batch, dose
        self.augmentation, self.seed = augmentation, seed

    def batch(self, step: int, samples: range, device: torch.device = _CPU) -> Batch:
        """Draw the given samples of a step's global batch.

        Several processes that share a batch each ask for their own range. The noise is drawn on
        the device, so another kind of device draws other noise.
        """
        electrons, facts = zip(*(self._sample(step, sample) for sample in samples), strict=True)
        expected = torch.stack(electrons).to(device)
        exposed = [fact.expose(clean) for clean, fact in zip(expected, facts, strict=True)]
        noisy, clean, readout = zip(*exposed, strict=True)
        told = torch.tensor([[*fact.told, fact.shift, fact.widen] for fact in facts]).to(device)
        shift, widen = told[:, 2], told[:, 3]
        readouts = torch.tensor(readout, device=device)
        return Batch(torch.stack(noisy), torch.stack(clean), readouts, told[:, :2], shift, widen)

    def _sample(self, step: int, sample: int) -> tuple[Tensor, _Facts]:
        """Expected electrons of a crop, and how it is recorded."""
        rng = np.random.default_rng((self.seed, step, sample))
        share = self.augmentation
        truth = self._truth(self.truths.pick(step * self.crops + sample, rng), rng)
        if rng.random() < share.invert:
            truth = 1 - truth
        if rng.random() < share.curve:
            truth = truth ** float(2 ** rng.uniform(-1, 1))
        if rng.random() < share.pedestal:
            pedestal = float(rng.uniform(0, 0.9))
            truth = pedestal + (1 - pedestal) * truth
        electrons = truth * self.dose.draw(rng)
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
        return electrons, _Facts(readout, gain, shift, widen, told, blurs, seed)

    def _truth(self, truth: Truth, rng: np.random.Generator) -> Tensor:
        """Cut, shrink, flip and turn a crop; shape (1, patch, patch), in [0, 1]."""
        height, width = truth.pixels.shape
        factor = rng.uniform(1, 2) if rng.random() < self.augmentation.shrink else 1.0
        side = min(round(self.patch * factor), height, width)
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        crop = torch.from_numpy(_turn(truth.crop(top, left, side, side), rng))[None, None]
        if side != self.patch:
            crop = F.interpolate(
                crop, (self.patch, self.patch), mode="bilinear", antialias=True, align_corners=False
            )
        if self.augmentation.stretch and rng.random() < self.augmentation.stretch:
            crop = crop - crop.amin()
            crop = crop / crop.amax().clamp_min(1e-12)
        return crop[0].clamp(0, 1)  # rounding must not make a rate negative


def _turn(crop: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """One of the eight flips and rotations by right angles."""
    turned = np.rot90(crop, int(rng.integers(4)))
    return np.ascontiguousarray(turned[::-1] if rng.random() < 0.5 else turned)


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
