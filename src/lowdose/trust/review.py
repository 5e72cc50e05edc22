"""Everything that can be said of one denoised micrograph, and the verdict on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from lowdose.corrections import Corrected
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.physics.estimate import estimate_noise
from lowdose.trust.finding import LEVELS, Finding, Level
from lowdose.trust.input import Examination, examine
from lowdose.trust.input_lines import COLUMNS, JITTER, ROWS
from lowdose.trust.input_pixels import HOT_PIXELS
from lowdose.trust.lattice import Peak, lattice_finding, lattice_peaks
from lowdose.trust.residual import (
    Evidence,
    contradiction_finding,
    contradictions,
    residual_findings,
)
from lowdose.trust.resolution import Resolution, resolution_findings, resolve
from lowdose.trust.score import INPUT, Estimator, Score, Scores, networks, score
from lowdose.trust.uncertainty import Calibration, denoise_with_uncertainty, familiarity

if TYPE_CHECKING:
    from lowdose.infer import Denoised, Denoiser

Progress = Callable[[str, int, int], None]
# Smaller images hold too little to judge a result by.
LEAST_SIDE = 64
# An error that may be so many times as large is told with what it is at worst.
_UNSURE = 1.5


@dataclass(frozen=True)
class Review:
    """A denoised micrograph and what is known of it.

    Parameters
    ----------
    micrograph : Micrograph
        Noisy, one image.
    denoised : Denoised
        With its uncertainty, where the weights tell one.
    calibration : Calibration, optional
        Of that.
    examination : Examination
        Of the noisy image.
    findings : tuple of Finding
        Of the input, then of the result.
    scores : Scores, optional
        Of several methods; with the rest None where the image holds no noise or is below 64 pixels.
    evidence : Evidence, optional
        Where the data speak against the result.
    resolution : Resolution, optional
        How far data and result reach.
    peaks : tuple of Peak
        Of a lattice in the data, and what became of them.
    scored_as : str
        Name of the result among the scores.
    corrected : Corrected, optional
        What was put right in the noisy image before; the result is judged against that.
    """

    micrograph: Micrograph
    denoised: Denoised
    calibration: Calibration | None
    examination: Examination
    findings: tuple[Finding, ...]
    scores: Scores | None = None
    evidence: Evidence | None = None
    resolution: Resolution | None = None
    peaks: tuple[Peak, ...] = ()
    scored_as: str = ""
    corrected: Corrected | None = None

    @property
    def noisy(self) -> Micrograph:
        """What the result is judged against: the micrograph, or it put right."""
        return self.corrected.micrograph if self.corrected else self.micrograph

    @property
    def level(self) -> Level:
        """The gravest of the findings; never fine where the result was not judged."""
        levels: list[Level] = [each.level for each in self.findings]
        levels.append("fine" if self.scores else "note")
        return max(levels, key=LEVELS.index)

    @property
    def verdict(self) -> tuple[str, str]:
        """What came out, and what follows from it, in a sentence each."""
        return _outcome(self), _advice(self)


def review(
    micrograph: Micrograph,
    denoiser: Denoiser,
    *,
    noise: NoiseModel | None = None,
    corrected: Corrected | None = None,
    rivals: Mapping[str, Estimator] | None = None,
    progress: Progress = lambda step, done, total: None,
) -> Review:
    """Denoise one image and test the result in every way that needs no truth.

    Parameters
    ----------
    micrograph : Micrograph
        One image, not a stack.
    denoiser : Denoiser
        Denoises it.
    noise : NoiseModel, optional
        By default estimated.
    corrected : Corrected, optional
        The image put right: what is denoised, and what the result is judged against.
    rivals : mapping of str to Estimator, optional
        Other methods to score beside it.
    progress : callable
        Told the name of a step, and how much of it is done.

    Raises
    ------
    ValueError
        If it is a stack.
    NoiseModelError
        If the pixels are not finite.
    """
    if micrograph.pixels.ndim != 2:
        raise ValueError(f"pixels of shape {micrograph.shape}; expected one image (H, W)")
    noise = noise or estimate_noise(micrograph.pixels)
    examination = examine(micrograph.pixels, noise)
    corrected = corrected or Corrected(micrograph)
    noisy, calibration = corrected.micrograph, None

    def tell(step: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(step, done, total)

    if denoiser.tells_uncertainty:
        denoised, calibration = denoise_with_uncertainty(
            denoiser, noisy, noise=noise, progress=tell("denoising")
        )
    else:
        denoised = denoiser(noisy, noise=noise, progress=tell("denoising"))
    findings = [_after(corrected, finding) for finding in examination.findings]
    if noise.is_noise_free or min(micrograph.shape) < LEAST_SIDE:
        return Review(
            micrograph, denoised, calibration, examination, tuple(findings), corrected=corrected
        )
    own = networks([denoiser])
    methods = own | dict(rivals or {})
    scores = score(noisy.pixels, noise, methods, progress=tell("scoring"))
    progress("testing the result", 0, 4)
    pixels = noisy.pixels, denoised.micrograph.pixels
    evidence = contradictions(*pixels, noise)
    progress("testing the result", 1, 4)
    (estimate,) = own.values()
    rng = torch.Generator().manual_seed(0)
    resolution = resolve(noise.to_electrons(pixels[0]), noise, estimate, rng=rng)
    progress("testing the result", 3, 4)
    findings += [_gain(scores, denoiser.record.name)]
    findings += [familiarity(calibration)] if calibration else []
    findings += [*residual_findings(*pixels, noise), contradiction_finding(evidence)]
    is_aside = denoised.lattice or denoised.twice
    findings += resolution_findings(resolution, lattice=is_aside)
    peaks = lattice_peaks(*pixels)
    findings += [lattice_finding(peaks)]
    progress("testing the result", 4, 4)
    return Review(
        micrograph,
        denoised,
        calibration,
        examination,
        tuple(findings),
        scores,
        evidence,
        resolution,
        peaks,
        denoiser.record.name,
        corrected,
    )


def _after(corrected: Corrected, finding: Finding) -> Finding:
    """A finding of the image as it was, where its fault was put right."""
    put_right = {
        ROWS: corrected.stripes,
        COLUMNS: corrected.stripes,
        JITTER: corrected.jitter,
        HOT_PIXELS: corrected.repaired,
    }
    if not put_right.get(finding.name) or finding.level == "fine":
        return finding
    meaning = f"{finding.meaning} That was put right before denoising."
    return replace(finding, level="note", meaning=meaning, action="")


def _gain(scores: Scores, name: str) -> Finding:
    """Whether the result is nearer to the truth than the noisy image is."""
    of = {each.name: each for each in scores.scores}
    was = of[INPUT].mse
    ratio = of[name].mse / was if was > 0 else 1.0
    if of[name].is_impossible:
        meaning = (
            "The squared error of the result comes out below zero, which none is: the image holds "
            "less noise than the noise model says, or was filtered or clipped."
        )
        action = "Rely on no figure of this page; pass --gain, or start from the raw data."
        return Finding("error", "warning", ratio, 0.0, meaning, action)
    told = f"The squared error of the result is {max(ratio, 0):.2g} of that of the noisy image"
    if ratio >= 1:
        action = "Leave this image as it is, or see whether another method helps (lowdose score)."
        return Finding("error", "warning", ratio, 1.0, f"{told}: it is no better.", action)
    if scores.best.name not in (name, *(each.name for each in scores.rivals())):
        action = f"Try {scores.best.name} on this image."
        meaning = f"{told}; {scores.best.name} has less."
        return Finding("error", "note", ratio, 1.0, meaning, action)
    others = ", and no method tried has less" if len(of) > 2 else ""
    return Finding("error", "fine", ratio, 1.0, f"{told}{others}.")


def _outcome(found: Review) -> str:
    """What came out, in a sentence."""
    if found.denoised.noise.is_noise_free:
        return f"The image was left as it is: {found.denoised.noise.basis}."
    if found.scores is None:
        return f"The image is too small to judge the result: below {LEAST_SIDE} pixels a side."
    of = {each.name: each for each in found.scores.scores}
    own, was = of[found.scored_as], of[INPUT]
    if own.is_impossible:
        return "How far off the result is cannot be told: the noise is not what it is taken for."
    gone = 100 * (1 - max(own.mse, 0) / was.mse) if was.mse > 0 else 0.0
    if gone <= 0:
        return "The result is no nearer to the truth than the noisy image is."
    sentence = _accuracy(own, was)
    if own.mse > own.mse_std:
        sentence += f": {min(gone, 99):.0f} % of the squared error is gone"
    wrong = [each.name for each in found.findings if each.level == "warning"]
    if not wrong:
        return f"{sentence}, and no test found fault with the result."
    return f"{sentence}, but look at: {', '.join(wrong)}."


def _accuracy(own: Score, was: Score) -> str:
    """How far off a pixel is, as far as that can be told."""
    worst, before = _amount(own.interval[1]), f"{_amount(was.mse)}, in units of the file"
    if own.mse <= own.mse_std:
        return (
            "The noise is known too badly, or the image too small, to tell how far off a pixel of "
            f"the result is: at worst {worst}, of the noisy image {before}"
        )
    about = _amount(own.mse)
    if own.interval[1] > _UNSURE * own.mse:
        about += f" (at worst {worst})"
    return f"A pixel of the result is right to about {about}, of the noisy image to {before}"


def _amount(squared_error: float) -> str:
    """A deviation in two digits, without exponents for pixels of large values."""
    rounded = float(f"{math.sqrt(squared_error):.2g}")
    return f"±{rounded:,.0f}" if rounded >= 10 else f"±{rounded:g}"


def _advice(found: Review) -> str:
    """What follows from it, in a sentence."""
    noise = found.denoised.noise
    if noise.is_noise_free and noise.remark:
        return f"{noise.remark[0].upper()}{noise.remark[1:]}."
    for each in found.findings:
        if each.level == "warning" and each.action:
            return each.action
    if found.resolution is None:
        return "There is nothing to do." if noise.is_noise_free else "Judge it by eye."
    period = found.resolution.result_px
    if math.isinf(period):
        return "The image holds no more than brightness that varies slowly; all detail is a guess."
    known, guessed = f"What is coarser than {_length(period, found)} is in the data", "finer detail"
    # A few spots of a lattice drown in the rings of which the resolution is told.
    spots = [each.period_px for each in found.peaks if each.is_kept and each.period_px < period]
    if spots:
        known += f", as is the lattice down to {_length(min(spots), found)}"
        guessed = "other finer detail"
    return f"{known}; {guessed} is the network's guess."


def _length(pixels: float, found: Review) -> str:
    """In pixels, and in nanometres where their size is known."""
    size = found.micrograph.pixel_size_nm
    return f"{pixels:.3g} pixels" + (f" ({pixels * size[1]:.3g} nm)" if size else "")
