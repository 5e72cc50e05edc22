"""A review as a page: which picture, table and curve shows what."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lowdose.metrics.fourier import radial_amplitude
from lowdose.report.chart import Curve, Line
from lowdose.report.page import Page
from lowdose.report.page_pictures import Overlay
from lowdose.report.page_tables import Score
from lowdose.report.page_viewer import Mark
from lowdose.trust.input import PhotonTransfer
from lowdose.trust.residual import middle, standardised_residual
from lowdose.trust.resolution import Resolution
from lowdose.trust.review import Review
from lowdose.trust.score import HELD_OUT, Scores

# Places are listed up to this number; a page of hundreds helps nobody.
_MOST_MARKS = 12
# Side of a square around a place, over the window in which it was found.
_AROUND = 3


def page_of(
    found: Review,
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    provenance: Sequence[tuple[str, str]],
) -> Page:
    """Arrange a review as a page.

    Parameters
    ----------
    found : Review
        Of one image.
    title : str
        Of the page: the file's name.
    facts, provenance : sequence of (str, str)
        What the file is; what made the result, and of what.
    """
    before, after = found.micrograph.pixels, found.denoised.micrograph.pixels
    size = found.micrograph.pixel_size_nm
    return Page(
        title=title,
        verdict=found.verdict,
        level=found.level,
        before=before,
        after=after,
        overlays=_overlays(found),
        marks=_marks(found),
        pixel_size_nm=(size[-2], size[-1]) if size else None,
        findings=found.findings,
        scores=_scores(found.scores) if found.scores else (),
        score_note=_score_note(found.scores) if found.scores else "",
        curves=_curves(found),
        facts=facts,
        provenance=provenance,
    )


def _overlays(found: Review) -> list[Overlay]:
    overlays = []
    if found.denoised.uncertainty is not None and found.denoised.uncertainty.pixels.any():
        overlays.append(
            Overlay(
                "uncertainty",
                found.denoised.uncertainty.pixels,
                "Standard deviation of each pixel of the result: nine in ten lie within 1.645 of "
                "them of the truth.",
                "uncertainty",
            )
        )
    if found.evidence is None:
        return overlays
    residual = standardised_residual(
        found.noisy.pixels, found.denoised.micrograph.pixels, found.denoised.noise
    )
    return [
        *overlays,
        Overlay(
            "residual",
            residual.astype(np.float32),
            "What was taken off, in deviations of the noise. It should show nothing.",
            "residual",
        ),
        Overlay(
            "contradiction",
            found.evidence.map,
            "How much likelier the data are with a little more or less here than with the result, "
            f"as a logarithm; above {found.evidence.threshold:.3g} is no accident.",
            "contradiction",
        ),
    ]


def _marks(found: Review) -> list[Mark]:
    if found.evidence is None:
        return []
    return [
        Mark(
            place.y - _AROUND * place.size / 2,
            place.x - _AROUND * place.size / 2,
            _AROUND * place.size,
            f"The data hold {'more' if place.deviations > 0 else 'less'} than the result here, by "
            f"{abs(place.deviations):.1f} deviations over {place.size} x {place.size} pixels.",
        )
        for place in found.evidence.places[:_MOST_MARKS]
    ]


def _scores(found: Scores) -> list[Score]:
    return [
        Score(
            each.name, each.mse, each.interval, _finite(each.psnr(found.peak)), each is found.best
        )
        for each in found.scores
    ]


def _score_note(found: Scores) -> str:
    rivals = ", ".join(each.name for each in found.rivals())
    tie = f" The data cannot tell {rivals} from the best." if rivals else ""
    return (
        "Mean squared error in units of the file squared, estimated without a truth: "
        f"{HELD_OUT:.0%} of the electrons were held out at random to test what was made of the "
        f"rest, over {found.pixels:,} pixels. The interval holds it nine times in ten. PSNR is for "
        f"a range of {found.peak:.4g}.{tie}"
    )


def _curves(found: Review) -> list[Curve]:
    curves = []
    if found.examination.transfer:
        curves.append(_photon_transfer(found.examination.transfer))
    if found.resolution:
        curves.append(_resolution(found.resolution, found.micrograph.pixel_size_nm))
    if found.evidence is not None:
        curves.append(_spectra(found))
    return curves


def _photon_transfer(transfer: PhotonTransfer) -> Curve:
    lines = [
        Line("quiet parts of the image", transfer.mean, transfer.variance, "dots"),
        Line("noise as assumed", transfer.mean, transfer.expected),
        Line("line through the points", transfer.mean, transfer.line.at(transfer.mean)),
    ]
    note = "Of counts, points lie on a line whose slope is the gain."
    return Curve("Photon transfer", "mean", "variance of the noise", lines, notes=(note,))


def _resolution(found: Resolution, size: tuple[float, ...] | None) -> Curve:
    step = size[-1] if size else 1.0
    unit = "cycles per nm" if size else "cycles per pixel"
    frequency = found.frequency / step
    lines = [
        Line("data, at full dose", frequency, found.data),
        Line("result against the truth", frequency, found.truth),
        Line("two results with each other", frequency, found.agreement),
    ]
    notes = (
        "From two halves of the electrons, each denoised: result against the other half, whose "
        "noise it has not seen. Where the two results agree with each other and not with that "
        "half, they agree because one network made both. "
        f"The data reach {_period(found.data_px, step, size)}, the result "
        f"{_period(found.result_px, step, size)}.",
    )
    return Curve("Fourier ring correlation", unit, "correlation", lines, notes=notes)


def _period(period: float, step: float, size: tuple[float, ...] | None) -> str:
    if not math.isfinite(period):
        return "nowhere"
    return f"{period * step:.3g} nm" if size else f"{period:.3g} pixels"


def _spectra(found: Review) -> Curve:
    pixels = found.noisy.pixels, found.denoised.micrograph.pixels
    noisy, clean = (middle(each).astype(np.float64) for each in pixels)
    side = min(noisy.shape) // 2
    frequency = np.arange(1, side) / min(noisy.shape)
    images = {"noisy": noisy, "denoised": clean, "taken off": noisy - clean}
    lines = [
        Line(name, frequency, radial_amplitude(image)[1:side]) for name, image in images.items()
    ]
    return Curve(
        "Spectra",
        "cycles per pixel",
        "mean amplitude",
        lines,
        log_y=True,
        notes=(
            "White noise is flat. What was taken off should nowhere be above the noise of the "
            "image; it falls below where the network keeps some.",
        ),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
