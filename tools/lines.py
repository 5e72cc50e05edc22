"""What faults of lines cost, and what `lowdose denoise --destripe` or `--dejitter` leaves of that.

python tools/lines.py                       stripes, two simulated truths of each kind
python tools/lines.py --fault jitter --dose 5 --model fast
python tools/lines.py --figure docs/images/jitter.png        a figure of jitter instead

Prints rows of a Markdown table: per deviation of the offsets of rows, in that of the noise of a
pixel, or of their displacements in pixels, the mean PSNR over the truths, in dB, as it is, put
right, and of the same images without any fault. Gain and readout noise are measured in each image,
faults and all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lowdose.corrections import correct
from lowdose.data.simulate import simulate_truth
from lowdose.data.truths import Truth, draw_truths
from lowdose.infer import Denoiser
from lowdose.metrics.pixelwise import psnr
from lowdose.micrograph import Micrograph
from lowdose.physics.estimate import estimate_noise
from lowdose.physics.jitter import put_back
from lowdose.physics.noise import expose
from lowdose.report.picture import Panel, Row, draw_rows, save_picture

# Of each fault: its deviations, and the option that puts it right.
FAULTS = {
    "stripes": ((0.1, 0.2, 0.3, 0.5, 1.0), "destripe"),
    "jitter": ((0.25, 0.5, 1.0, 2.0), "dejitter"),
}
READOUT = 1.0


def exposures(
    clean: NDArray[np.float32], number: int, dose: float, fault: str
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """The noisy image with each strength of a fault, and without any."""

    def exposed(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        rng = torch.Generator().manual_seed(number)
        return expose(torch.from_numpy(pixels), dose, readout_std=READOUT, rng=rng).numpy()

    noisy = exposed(clean)
    rows = np.random.default_rng(number).normal(size=len(noisy))
    deviation = np.sqrt(dose + READOUT**2)
    for strength in FAULTS[fault][0]:
        if fault == "stripes":
            faulty = noisy + strength * deviation * rows[:, None]
        else:
            moved = np.stack(list(put_back(clean, -strength * rows)))
            faulty = exposed(moved.clip(0))
        yield faulty.astype(np.float32), noisy


def qualities(
    truth: Truth, number: int, dose: float, fault: str, denoiser: Denoiser
) -> Iterator[tuple[float, float, float]]:
    """PSNR with each strength of a fault: as it is, put right, and without any."""
    expected = truth.pixels * np.float64(dose / truth.pixels.mean(dtype=np.float64))

    def quality(pixels: NDArray[np.float32], **wanted: bool) -> float:
        image, noise = Micrograph(pixels), estimate_noise(pixels)
        right = correct(image, noise, **wanted).micrograph
        return psnr(denoiser(right, noise=noise).micrograph.pixels, expected)

    for faulty, noisy in exposures(truth.pixels, number, dose, fault):
        yield quality(faulty), quality(faulty, **{FAULTS[fault][1]: True}), quality(noisy)


def draw(path: Path, dose: float, denoiser: Denoiser) -> None:
    """Fractured grains whose rows are displaced: noisy, both results, truth."""
    clean = simulate_truth("fracture", (512, 512), rng=np.random.default_rng(5)).pixels
    expected = clean * (dose / clean.mean())
    strengths, option = FAULTS["jitter"]
    faulty, _ = list(exposures(clean, 0, dose, "jitter"))[strengths.index(1.0)]
    image, noise = Micrograph(faulty), estimate_noise(faulty)
    images = {"rows displaced by 1 px": faulty}
    for wanted, name in ((False, "denoised"), (True, f"denoised, --{option}")):
        right = correct(image, noise, dejitter=wanted).micrograph
        result = denoiser(right, noise=noise).micrograph.pixels
        images[f"{name}, {psnr(result, expected):.1f} dB"] = result
    images["truth"] = expected
    panels = [Panel(each[100:324, 100:324], name) for name, each in images.items()]
    save_picture(path, draw_rows([Row(None, panels)]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fault", choices=FAULTS, default="stripes")
    parser.add_argument("--draw", type=int, default=2, help="simulated truths of each kind")
    parser.add_argument("--seed", type=int, default=9000, help="of simulated truths")
    parser.add_argument("--dose", type=float, default=30.0, help="mean electrons a pixel")
    parser.add_argument("--model", default="everyday")
    parser.add_argument("--figure", type=Path, help="draw jitter as PNG, and nothing else")
    chosen = parser.parse_args()
    denoiser = Denoiser(chosen.model)
    if chosen.figure:
        draw(chosen.figure, chosen.dose, denoiser)
        return
    found = [
        list(qualities(truth, number, chosen.dose, chosen.fault, denoiser))
        for number, truth in enumerate(draw_truths(chosen.draw, seed=chosen.seed))
    ]
    strengths, option = FAULTS[chosen.fault]
    print(f"| deviation | as it is | --{option} | without {chosen.fault} |")
    print("|---|---|---|---|")
    for strength, row in zip(strengths, np.mean(found, axis=0), strict=True):
        print(f"| {strength:g} | {' | '.join(f'{value:.2f} dB' for value in row)} |")


if __name__ == "__main__":
    sys.exit(main())
