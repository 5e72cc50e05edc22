"""A report page as the package would fill it, from a simulated micrograph; and hostile texts."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from lowdose.data.simulate import simulate_truth
from lowdose.report.chart import Curve, Line
from lowdose.report.page import Page
from lowdose.report.page_pictures import Overlay
from lowdose.report.page_tables import Score
from lowdose.report.page_viewer import Mark
from lowdose.trust.finding import Finding

HOSTILE = "</title></style><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;${x}$title"

FINDINGS = (
    Finding(
        "noise removed",
        "fine",
        1.01,
        1.1,
        "What was removed looks like the noise of so many electrons, and like nothing else.",
    ),
    Finding(
        "line noise",
        "warning",
        0.31,
        0.1,
        "Neighbouring pixels of a row share part of their noise, as scanning does at high speed. "
        "The network takes that for structure.",
        "Denoise with --correlation rows, or scan more slowly.",
    ),
    Finding(
        "dose",
        "note",
        4.2,
        5.0,
        "The image holds 4.2 electrons a pixel. Details of a single pixel are guesses at that "
        "dose.",
        "Measure nothing finer than 0.9 nm.",
    ),
    Finding("saturation", "fine", 0.0, 0.001, "No pixel is at the camera's limit."),
)
SCORES = (
    Score("as recorded", 4.213, (4.196, 4.231), 15.12),
    Score("Gaussian, best width", 0.4127, (0.401, 0.4249), 25.21),
    Score("non-local means", 0.3561, (0.3448, 0.368), 25.85),
    Score("lowdose, everyday", 0.2148, (0.2051, 0.2247), 28.04, is_best=True),
)
FACTS = {
    "Format": "MRC, 16-bit unsigned",
    "Size": "2048 × 2048 pixels",
    "Pixel size": "0.300 nm",
    "Field of view": "614 × 614 nm",
    "Electrons per pixel": "4.2",
    "Dose": "0.47 e/Å²",
    "Noise model": "gain 1.000, offset 0.0, readout noise 0.0",
    "Noise of neighbours": "row 0.31, column 0.00",
}
PROVENANCE = {
    "lowdose": "1.2.0",
    "Weights": "everyday, SHA-256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "Options": "device cpu, precision bfloat16, tile 512",
    "Input": "SHA-256 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "Date": "2026-11-25 08:30 UTC",
}


def hostile_curve() -> Curve:
    lines = (Line(HOSTILE, [0, 1], [0, 1]),)
    return Curve(HOSTILE, HOSTILE, HOSTILE, lines, notes=(HOSTILE,))


@cache
def _specimen() -> NDArray[np.float32]:
    """Drawn once: 512 x 512 pixels and its mirror images, so that it can be repeated."""
    tile = simulate_truth("particles", (512, 512), rng=np.random.default_rng(4)).pixels
    return 2 + 5 * np.block([[tile, tile[:, ::-1]], [tile[::-1], tile[::-1, ::-1]]])


def example_curves() -> tuple[Curve, ...]:
    frequency = np.linspace(0, 0.5, 80)
    fourier = 1 / (1 + (frequency / 0.17) ** 4)
    means, rng = np.linspace(1, 12, 60), np.random.default_rng(3)
    position = np.geomspace(0.002, 0.5, 60)
    return (
        Curve(
            "Detail that two halves of the dose agree on",
            "frequency, cycles per pixel",
            "Fourier ring correlation",
            (
                Line("denoised", frequency, fourier),
                Line("as recorded", frequency, fourier / (1 + 12 * frequency)),
                Line("limit 1/7", [0, 0.5], [1 / 7, 1 / 7], "dotted"),
            ),
            notes=("They agree up to 0.26 cycles a pixel: details of 1.2 nm are real.",),
        ),
        Curve(
            "Noise against brightness",
            "mean, pixel values",
            "variance",
            (
                Line("blocks of the image", means, means * rng.normal(1, 0.08, 60), "dots"),
                Line("noise model", [1, 12], [1, 12]),
            ),
        ),
        Curve(
            "Power by frequency",
            "frequency, cycles per pixel",
            "power",
            (
                Line("as recorded", position, 4 + 0.003 / position**2.2),
                Line("denoised", position, 0.003 / position**2.2),
                Line("removed", position, np.full(60, 4.0)),
            ),
            log_x=True,
            log_y=True,
        ),
    )


def example_page(side: int = 2048, **changed: object) -> Page:
    """A page of a `side` x `side` image, with other content where `changed` says so."""
    rng = np.random.default_rng(4)
    truth = np.tile(_specimen(), (-(-side // 1024),) * 2)[:side, :side]
    before = rng.poisson(truth).astype(np.uint16)
    smooth = (truth + np.roll(truth, 1, 0) + np.roll(truth, 1, 1)) / 3
    edges = np.abs(np.gradient(smooth)[0])
    overlays = (
        Overlay(
            "Uncertainty",
            0.2 + edges,
            "How far the networks of the ensemble lie apart, in electrons.",
            "uncertainty",
            "e",
        ),
        Overlay(
            "Removed",
            before - smooth,
            "What denoising took away. Structure in it is structure lost.",
            "residual",
            "e",
        ),
        Overlay(
            "Contradiction",
            np.where(edges > np.percentile(edges, 99), 4.0, 0.0),
            "Where the denoised image and the electrons recorded disagree.",
            "contradiction",
            "σ",
        ),
    )
    marks = (
        Mark(side * 0.2, side * 0.3, side / 16, "The electrons contradict a bright spot here."),
        Mark(side * 0.6, side * 0.62, side / 12, "An edge is sharper than the dose can tell."),
    )
    content: dict[str, object] = {
        "title": "session 12/grid3_square07_hole11_0042.mrc",
        "verdict": (
            "One thing needs your attention: the noise of a row is correlated.",
            "Denoise once more with --correlation rows; everything else looks sound.",
        ),
        "level": "warning",
        "before": before,
        "after": smooth,
        "overlays": overlays,
        "marks": marks,
        "pixel_size_nm": (0.3, 0.3),
        "findings": FINDINGS,
        "scores": SCORES,
        "score_note": "Mean squared error in electrons², estimated without a truth from two halves "
        "of the dose. The interval holds the error in 95 of 100 cases.",
        "curves": example_curves(),
        "facts": tuple(FACTS.items()),
        "provenance": tuple(PROVENANCE.items()),
    }
    return Page(**(content | changed))  # type: ignore[arg-type]
