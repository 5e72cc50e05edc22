"""A demonstration from nothing: specimens drawn, exposed at low dose, denoised, compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowdose.bench.scores import Score, evaluate_pair
from lowdose.data.exposure import simulate_exposure
from lowdose.data.simulate import KINDS
from lowdose.io import write
from lowdose.micrograph import Micrograph
from lowdose.report.picture import Panel, Row, draw_rows, save_picture

if TYPE_CHECKING:
    from lowdose.infer import Denoiser


@dataclass(frozen=True)
class Specimen:
    """One specimen of the demonstration, with the scores of the noisy and the denoised image."""

    kind: str
    images: dict[str, Micrograph]
    noisy: Score
    denoised: Score

    def row(self) -> Row:
        """Panels noisy, denoised, truth."""
        noisy, denoised, truth = (image.pixels for image in self.images.values())
        panels = (
            Panel(noisy, f"noisy   {_figures(self.noisy)}"),
            Panel(denoised, f"denoised   {_figures(self.denoised)}"),
            Panel(truth, "truth"),
        )
        mean = truth.mean()
        return Row(f"{self.kind}, {mean:.0f} electrons per pixel (simulated)", panels)


def run_demo(
    folder: Path,
    denoiser: Denoiser,
    *,
    side: int = 384,
    dose_e_per_px: float = 10.0,
    seed: int = 6,
) -> Iterator[Specimen]:
    """Draw, expose, denoise and score one specimen after the other.

    Parameters
    ----------
    folder : Path
        Exists; KIND_noisy.mrc, KIND_denoised.mrc, KIND_truth.mrc and KIND.png go there.
    denoiser : Denoiser
        Sees the noisy pixels alone.
    side : int
        Height and width in pixels.
    dose_e_per_px : float
        Mean electrons per pixel.
    seed : int
        Of specimens and noise; 6 draws a lattice with grain boundaries.
    """
    for kind in KINDS:
        noisy, truth = simulate_exposure(kind, (side, side), dose_e_per_px=dose_e_per_px, seed=seed)
        images = {"noisy": noisy, "denoised": denoiser(noisy).micrograph, "truth": truth}
        for name, image in images.items():
            write(folder / f"{kind}_{name}.mrc", image)
        before, after = (
            evaluate_pair(truth.pixels, noisy.pixels, images[name].pixels)
            for name in ("noisy", "denoised")
        )
        specimen = Specimen(kind, images, before, after)
        save_picture(folder / f"{kind}.png", draw_rows([specimen.row()]))
        yield specimen


def _figures(score: Score) -> str:
    return (
        f"MSE {score.clean.mse:.3g}   PSNR {score.clean.psnr:.1f} dB   SSIM {score.clean.ssim:.3f}"
    )
