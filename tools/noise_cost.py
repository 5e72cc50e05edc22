"""What it costs not to know gain and readout noise: PSNR with the estimate against the truth's own.

python tools/noise_cost.py                                        two simulated truths of each kind
python tools/noise_cost.py ../shared/micrographs/val --manifest ../shared/micrographs/manifest.csv

Prints rows of a Markdown table: per way of storing electrons and per dose the mean of the
difference in dB over all truths, and the worst. Truths should be clean: what noise they hold an
estimate counts as noise. Noise is estimated on whole images, and a square out of the middle is
denoised.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lowdose.data.truths import Truth, draw_truths, find_truths, load_truths
from lowdose.infer import Denoiser
from lowdose.metrics.pixelwise import psnr
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.physics.estimate import estimate_noise
from lowdose.physics.noise import expose

DOSES = 5.0, 20.0, 100.0, 500.0, 2500.0
# A camera: pixel units per electron, its black, and readout noise in electrons.
GAIN, OFFSET = 3.7, 100.0
READOUTS = 0.5, 2.0, 5.0
# Rounding to whole numbers has the variance of a uniform distribution of width 1.
ROUNDING = 1 / 12


@dataclass(frozen=True)
class Stored:
    """Electrons as a file holds them, with the noise model that its pixels truly have."""

    name: str
    pixels: NDArray[Any]
    model: NoiseModel


def stored(electrons: NDArray[np.float32], rng: np.random.Generator) -> Iterator[Stored]:
    """Every way to store recorded electrons, shape (H, W)."""
    yield Stored("counts", electrons.astype(np.uint32), NoiseModel(1.0))
    scaled = np.float32(GAIN * electrons + OFFSET)
    yield Stored("counts times a gain", scaled, NoiseModel(GAIN, OFFSET))
    for readout in READOUTS:
        pixels = scaled + GAIN * readout * rng.normal(size=electrons.shape)
        yield from _with_readout(pixels, readout)


def _with_readout(pixels: NDArray[np.float64], readout: float) -> Iterator[Stored]:
    camera = NoiseModel(GAIN, OFFSET, GAIN * readout)
    yield Stored(f"float, readout {readout:g}", pixels.astype(np.float32), camera)
    whole = np.rint(pixels).clip(0, 65535).astype(np.uint16)
    yield Stored(f"uint16, readout {readout:g}", whole, rounded(camera, 1, 0))
    low, scale = pixels.min(), 255 / np.ptp(pixels)
    grey = np.rint((pixels - low) * scale).astype(np.uint8)
    yield Stored(f"8-bit, readout {readout:g}", grey, rounded(camera, scale, low))


def rounded(model: NoiseModel, scale: float, low: float) -> NoiseModel:
    """Noise model of ``round((pixels - low) * scale)``."""
    readout = np.sqrt((scale * model.readout_std) ** 2 + ROUNDING)
    return NoiseModel(scale * model.gain, scale * (model.offset - low), float(readout))


class Cost:
    """Loss in dB by an estimate, with a file of what was found before."""

    def __init__(self, model: str, side: int, cache: Path | None) -> None:
        self.denoiser, self.side, self.cache = Denoiser(model), side, cache
        known = cache and cache.exists()
        self.found: dict[str, float] = json.loads(cache.read_text("utf-8")) if known else {}

    def __call__(self, image: Stored, expected: NDArray[np.float64], estimate: NoiseModel) -> float:
        """PSNR with the true model less that with the estimate; `expected` in electrons."""
        middle = tuple(slice((n - self.side) // 2, (n + self.side) // 2) for n in expected.shape)
        pixels = np.ascontiguousarray(image.pixels[middle])
        clean = image.model.gain * expected[middle] + image.model.offset
        return self._psnr(pixels, clean, image.model) - self._psnr(pixels, clean, estimate)

    def _psnr(self, pixels: NDArray[Any], clean: NDArray[np.float64], noise: NoiseModel) -> float:
        facts = (noise.gain, noise.offset, noise.readout_std, noise.gain_std, noise.correlation)
        record = f"{self.denoiser.record.sha256}{facts}{pixels.dtype}".encode()
        key = hashlib.sha256(record + pixels.tobytes() + clean.tobytes()).hexdigest()
        if key not in self.found:
            denoised = self.denoiser(Micrograph(pixels), noise=noise).micrograph.pixels
            self.found[key] = psnr(denoised, clean, data_range=float(np.ptp(clean)))
        return self.found[key]

    def save(self) -> None:
        """Keep what was found for the next time."""
        if self.cache:
            self.cache.write_text(json.dumps(self.found), "utf-8")


def exposures(
    truths: list[Truth], dose: float
) -> Iterator[tuple[str, NDArray[np.float64], Iterator[Stored]]]:
    """Name, expected electrons, and every way to store the recorded ones."""
    for number, truth in enumerate(truths):
        clean = torch.from_numpy(truth.pixels.astype(np.float32))
        recorded = expose(clean, dose, rng=torch.Generator().manual_seed(number))
        expected = (clean.double() * (dose / clean.mean())).numpy()
        rng = np.random.default_rng((number, round(dose)))
        yield truth.name, expected, stored(recorded.numpy(), rng)


def losses(truths: list[Truth], dose: float, cost: Cost) -> dict[str, list[tuple[float, str]]]:
    """Loss in dB and name of each truth, by the way of storing."""
    found: dict[str, list[tuple[float, str]]] = {}
    for name, expected, images in exposures(truths, dose):
        for image in images:
            loss = cost(image, expected, estimate_noise(image.pixels))
            found.setdefault(image.name, []).append((loss, name))
    cost.save()
    return found


def clean_files(folders: list[Path], manifest: Path, most: float) -> list[Path]:
    """Files of some folders whose own noise is below this fraction of their range."""
    with manifest.open(encoding="utf-8", newline="") as lines:
        noise = {Path(row["file"]).name: row["sigma_over_range"] for row in csv.DictReader(lines)}
    return [path for path in find_truths(folders) if float(noise.get(path.name, 1)) < most]


def choose_truths(chosen: argparse.Namespace) -> list[Truth]:
    """Truths that were asked for."""
    if not chosen.folders:
        drawn = draw_truths(chosen.draw, seed=chosen.seed)
        kinds = {f"simulated {kind}" for kind in chosen.kind or ()}
        return [truth for truth in drawn if not kinds or truth.group in kinds]
    files = chosen.folders
    if chosen.manifest:
        files = clean_files(files, chosen.manifest, chosen.most)
    return load_truths(files[:: chosen.every], least_side=chosen.side)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="*", help="without one, simulated truths")
    parser.add_argument("--dose", type=float, action="append", help="mean electrons a pixel")
    parser.add_argument("--manifest", type=Path, help="table with file and sigma_over_range")
    parser.add_argument("--most", type=float, default=0.02, help="noise of truths over their range")
    parser.add_argument("--every", type=int, default=1, help="take every n-th file")
    parser.add_argument("--draw", type=int, default=2, help="simulated truths of each kind")
    parser.add_argument("--kind", action="append", help="of these alone, as lattice or crystal")
    parser.add_argument("--seed", type=int, default=9000, help="of simulated truths")
    parser.add_argument("--side", type=int, default=256, help="of the square that is denoised")
    parser.add_argument("--model", default="everyday")
    parser.add_argument("--cache", type=Path, help="JSON file of results, read and written")
    chosen = parser.parse_args()
    truths = choose_truths(chosen)
    cost = Cost(chosen.model, chosen.side, chosen.cache)
    print(f"| stored as | electrons | mean loss | worst loss | of {len(truths)} truths |")
    print("|---|---|---|---|---|")
    for dose in chosen.dose or DOSES:
        for name, found in losses(truths, dose, cost).items():
            mean, (worst, where) = np.mean([loss for loss, _ in found]), max(found)
            print(f"| {name} | {dose:g} | {mean:.3f} dB | {worst:.3f} dB | {where} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
