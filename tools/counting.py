"""What it costs that a counting detector misses electrons which arrive together.

python tools/counting.py                      two simulated truths of each kind

A pixel counts one electron a frame at most, so the more arrive the fewer are counted, and the less
noise there is: less than that of counts. Prints rows of a Markdown table: per electrons a frame in
the brightest parts and per mean dose the loss in dB of PSNR, mean and worst, by what `lowdose`
measures of the noise against the best gain of `GAINS`, chosen with the truth. The truth is what is
counted in the mean.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from numpy.typing import NDArray

from lowdose.data.truths import draw_truths
from lowdose.infer import Denoiser
from lowdose.metrics.pixelwise import psnr
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.physics.estimate import estimate_noise

PER_FRAME = 0.02, 0.1, 0.2, 0.4
DOSES = 10.0, 40.0
GAINS = 1.0, 0.9, 0.8, 0.7, 0.6
# Brighter than this part of the pixels are few.
BRIGHT = 0.995


def loss(
    clean: NDArray[np.float32], dose: float, per_frame: float, seed: int, denoiser: Denoiser
) -> float:
    """PSNR with the best gain less that with the noise as it is measured."""
    electrons = clean * np.float64(dose / clean.mean(dtype=np.float64))
    frames = max(1, int(np.quantile(electrons, BRIGHT) / per_frame))
    chance = -np.expm1(-electrons / frames)
    counts = np.random.default_rng(seed).binomial(frames, chance).astype(np.float32)

    def quality(noise: NoiseModel) -> float:
        result = denoiser(Micrograph(counts), noise=noise).micrograph.pixels
        return psnr(result, frames * chance)

    return max(quality(NoiseModel(gain)) for gain in GAINS) - quality(estimate_noise(counts))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draw", type=int, default=2, help="simulated truths of each kind")
    parser.add_argument("--seed", type=int, default=9000, help="of simulated truths")
    parser.add_argument("--model", default="everyday")
    chosen = parser.parse_args()
    denoiser, truths = Denoiser(chosen.model), draw_truths(chosen.draw, seed=chosen.seed)
    print(f"| electrons a frame | {' | '.join(f'{dose:g} e' for dose in DOSES)} |")
    print("|---|---|---|")
    for per_frame in PER_FRAME:
        cells = []
        for dose in DOSES:
            lost = [
                loss(truth.pixels, dose, per_frame, seed, denoiser)
                for seed, truth in enumerate(truths)
            ]
            cells.append(f"{np.mean(lost):.2f}, {max(lost):.2f}")
        print(f"| {per_frame:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
