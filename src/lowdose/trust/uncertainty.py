"""Standard deviations of the pixels of a result, held against the image itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.trust.finding import Finding
from lowdose.trust.score import HELD_OUT, Deal, Progress, Score, ranked, scored_windows

if TYPE_CHECKING:
    from lowdose.infer import Denoised, Denoiser

# Of a small image this share of either side is denoised a second time: four pixels in ten.
_SHARE = 0.65
# Pixels at the border of what is denoised a second time; there a network sees less.
_MARGIN = 16
# By how much, as a logarithm, a network is off from image to image: the deviation over the crops of
# docs/trust.md. What the image itself says counts the less, the less sure it is.
_USUALLY_OFF = 0.25
# A network that errs this many times as much as it states, beyond doubt, sees what it does not
# know: on the crops of docs/trust.md, none of which it was trained on, two in a hundred do.
_SURPRISE = 1.45
# Standard errors that are beyond doubt.
_SURE = 3.0


@dataclass(frozen=True)
class Calibration:
    """How the deviations that a network states were corrected for one image.

    Parameters
    ----------
    factor : float
        They were multiplied by it.
    from_image : float
        The part of it that was measured on the image; 1 where there was nothing to measure by.
    score : Score, optional
        Estimated squared error on the part of the image that was looked at.
    """

    factor: float
    from_image: float = 1.0
    score: Score | None = None


def denoise_with_uncertainty(
    denoiser: Denoiser,
    micrograph: Micrograph,
    *,
    noise: NoiseModel | None = None,
    progress: Progress = lambda done, total: None,
) -> tuple[Denoised, Calibration]:
    r"""Denoise, and tell the standard deviation of each pixel of the result.

    The network states how far each pixel may be off. Its statement is corrected twice: by one
    factor that made nine intervals in ten of :math:`\pm 1.645` deviations hold the truth on
    images that it was not trained on [1]_, and by the error on this very image, which the electrons
    tell without a truth (`lowdose.trust.score`): a specimen that the network knows badly has larger
    deviations than one like those it learned from.

    Parameters
    ----------
    denoiser : Denoiser
        With weights that tell their errors.
    micrograph, noise, progress
        As `Denoiser` takes them.

    Returns
    -------
    (Denoised, Calibration)
        With `uncertainty`, in pixel units; zero where there is no noise.

    Raises
    ------
    ConfigError
        If the weights do not tell how far they are off.
    NoiseModelError
        If the pixels are not finite.

    References
    ----------
    .. [1] A. N. Angelopoulos, S. Bates, Found. Trends Mach. Learn. 16, 494 (2023).
    """
    denoised = denoiser(micrograph, noise=noise, uncertainty=True, progress=progress)
    assert denoised.uncertainty is not None  # was asked for
    calibration = calibrate(denoiser, micrograph, denoised)
    pixels = denoised.uncertainty.pixels
    if pixels.flags.writeable:  # ours alone, and perhaps larger than memory
        pixels *= np.float32(calibration.factor)
    else:
        pixels = pixels * np.float32(calibration.factor)
    return replace(denoised, uncertainty=replace(denoised.uncertainty, pixels=pixels)), calibration


def calibrate(denoiser: Denoiser, micrograph: Micrograph, denoised: Denoised) -> Calibration:
    """Find the factor for the deviations that a network stated on an image.

    Parameters
    ----------
    denoiser : Denoiser
        What made the result.
    micrograph : Micrograph
        Noisy.
    denoised : Denoised
        The result, with `uncertainty` as stated.
    """
    general = float(denoiser.record.calibration.get("factor", 1.0))
    noise = denoised.noise
    if noise.is_noise_free or denoised.uncertainty is None:
        return Calibration(general)
    rng = torch.Generator().manual_seed(0)
    parts, stated = [], []
    kinds = micrograph.pixels, denoised.micrograph.pixels, denoised.uncertainty.pixels
    for noisy, clean, deviation in zip(*map(_looked_at, kinds), strict=True):
        deal = Deal(noise.to_electrons(noisy), noise, HELD_OUT, rng)
        again = denoiser(Micrograph(deal.part), noise=deal.part_noise).micrograph.pixels
        full = (clean.astype(np.float64) - noise.offset) / noise.gain
        inside = _inside(noisy.shape)
        parts.append(deal.terms(full, again / (1 - HELD_OUT)).inside(inside))
        stated.append(float(np.square(deviation[inside], dtype=np.float64).mean()))
    (score,) = ranked({denoiser.record.name: parts}, noise)
    return _corrected(general, score, float(np.mean(stated)))


def _corrected(general: float, score: Score, stated: float) -> Calibration:
    """Weigh what the image says against what is usual."""
    error = score.mse
    if stated <= 0 or score.mse_std <= 0 or not math.isfinite(error):
        return Calibration(general)
    # An error estimated below zero says no more than that it is small.
    error = max(error, score.mse_std / 2)
    doubt = score.mse_std / error / 2
    weight = _USUALLY_OFF**2 / (_USUALLY_OFF**2 + doubt**2)
    from_image = (error / stated) ** (weight / 2)
    return Calibration(general * from_image, from_image, score)


def _looked_at(pixels: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Windows of a large image, the middle of a small one."""
    for window in scored_windows(pixels):
        if window.shape == pixels.shape[-2:]:
            window = window[tuple(map(_middle, window.shape))]  # noqa: PLW2901
        yield window


def _middle(length: int) -> slice:
    start = round(length * (1 - _SHARE) / 2)
    return slice(start, length - start)


def _inside(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """All but the margin, where there is more than margin."""
    return tuple(
        slice(_MARGIN, length - _MARGIN) if length > 4 * _MARGIN else slice(None)
        for length in shape
    )


def familiarity(calibration: Calibration) -> Finding:
    """Whether a network errs as much as it expects to: if far more, it does not know such images.

    A network that was trained to state its errors is right about them on what is like its
    training, and wrong on what is not; the error itself needs no truth to be measured.

    Parameters
    ----------
    calibration : Calibration
        Of the image.
    """
    name, ratio = "familiar specimen", calibration.from_image
    if calibration.score is None:
        return Finding(name, "note", 1.0, _SURPRISE, "There was nothing to judge this by.")
    doubt = calibration.score.mse_std / max(calibration.score.mse, calibration.score.mse_std) / 2
    if ratio > _SURPRISE and math.log(ratio) > _SURE * doubt:
        return Finding(
            name,
            "warning",
            ratio,
            _SURPRISE,
            f"On this image the network's errors are put at {ratio:.1f} times what it expects: "
            "it is unlike the micrographs that it learned from. The stated uncertainty allows for "
            "it.",
            "Compare details with the noisy image before you rely on them, or try another model "
            "(lowdose score).",
        )
    return Finding(
        name,
        "fine",
        ratio,
        _SURPRISE,
        f"On this image the network's errors are put at {ratio:.2g} times what it expects, as on "
        "micrographs like those that it learned from.",
    )
