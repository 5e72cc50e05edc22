"""What stripes cost, and what `lowdose denoise --destripe` leaves of that.

python tools/stripes.py                       two simulated truths of each kind
python tools/stripes.py --dose 5 --model fast

Prints rows of a Markdown table: per deviation of the offsets of rows, in that of the noise of a
pixel, the mean PSNR over the truths, in dB, as it is, destriped, and of the same images without
any stripes. Gain and readout noise are measured in each image, stripes and all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from lowdose.corrections import correct
from lowdose.data.truths import Truth, draw_truths
from lowdose.infer import Denoiser
from lowdose.metrics.pixelwise import psnr
from lowdose.micrograph import Micrograph
from lowdose.physics.estimate import estimate_noise
from lowdose.physics.noise import expose

STRENGTHS = 0.1, 0.2, 0.3, 0.5, 1.0
READOUT = 1.0


def qualities(
    truth: Truth, number: int, dose: float, denoiser: Denoiser
) -> Iterator[tuple[float, float, float]]:
    """PSNR with each strength of stripes: as it is, destriped, and without any."""
    noisy = expose(
        torch.from_numpy(truth.pixels),
        dose,
        readout_std=READOUT,
        rng=torch.Generator().manual_seed(number),
    ).numpy()
    expected = truth.pixels * np.float64(dose / truth.pixels.mean(dtype=np.float64))
    offsets = np.random.default_rng(number).normal(size=(len(noisy), 1))
    deviation = np.sqrt(dose + READOUT**2)

    def quality(pixels: NDArray[np.float32], *, destripe: bool) -> float:
        image, noise = Micrograph(pixels), estimate_noise(pixels)
        right = correct(image, noise, destripe=destripe).micrograph
        return psnr(denoiser(right, noise=noise).micrograph.pixels, expected)

    without = quality(noisy, destripe=False)
    for strength in STRENGTHS:
        striped = (noisy + strength * deviation * offsets).astype(np.float32)
        yield quality(striped, destripe=False), quality(striped, destripe=True), without


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draw", type=int, default=2, help="simulated truths of each kind")
    parser.add_argument("--seed", type=int, default=9000, help="of simulated truths")
    parser.add_argument("--dose", type=float, default=30.0, help="mean electrons a pixel")
    parser.add_argument("--model", default="everyday")
    chosen = parser.parse_args()
    denoiser = Denoiser(chosen.model)
    truths = draw_truths(chosen.draw, seed=chosen.seed)
    found = [
        list(qualities(truth, number, chosen.dose, denoiser)) for number, truth in enumerate(truths)
    ]
    print("| offsets | as it is | destriped | without stripes |")
    print("|---|---|---|---|")
    for strength, row in zip(STRENGTHS, np.mean(found, axis=0), strict=True):
        print(f"| {strength:g} | {' | '.join(f'{value:.2f} dB' for value in row)} |")


if __name__ == "__main__":
    sys.exit(main())
