"""Fit the small network that tells how much of an image's noise second differences see.

python tools/noise_network.py TRAIN --manifest MANIFEST.csv
python tools/noise_network.py VAL --manifest MANIFEST.csv --check

Truths without noise, simulated and the cleanest of the given ones, are exposed, then blurred,
interpolated, binned, enlarged or compressed, so that the noise of every block is known. The first
command writes `src/lowdose/physics/scatter_network.npz`; the second prints a Markdown table of how
far off the variances are on images that were not shown, for each way the noise was treated.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from lowdose.data.truths import draw_truths, find_truths, load_truths
from lowdose.physics import scatter, scatter_network

Image = NDArray[np.float64]
Treatment = Callable[[Image], Image]

WEIGHTS = Path(scatter_network.__file__).with_suffix(".npz")
# Real truths hold noise of at most this fraction of their range, and lend themselves to doses
# whose noise has at least so many times its variance.
CLEAN, BEYOND = 0.02, 4.0
LATTICES = "lattice", "crystal", "defects"
# Of examples from each pool: real truths, simulated ones, lattices, ramps.
SHARES = 0.38, 0.37, 0.1, 0.15
SIDES = 160, 224, 256, 320, 384, 512
HIDDEN = 64
MOST_DEVIATIONS = scatter_network._MOST_DEVIATIONS
# A little less than half: in doubt less noise is assumed.
SHARE_BELOW = 0.48
STEPS, BATCH, RATE = 20_000, 4096, 2e-3


@dataclass(frozen=True)
class Truth:
    """Expected electrons in any unit, and the deviation of what noise they hold in it."""

    pixels: Image
    noise: float = 0.0


@dataclass(frozen=True)
class Example:
    """What is told of an image, and what is true of it: at each intensity, and in all."""

    treatment: str
    clues: NDArray[np.float64]
    factor: NDArray[np.float64]
    correlation: tuple[float, float]


def linear(rng: np.random.Generator) -> Treatment:
    """Interpolation somewhere between pixels."""
    down, across = rng.uniform(0.05, 0.5, 2)

    def moved(image: Image) -> Image:
        rows = ndimage.convolve1d(image, [down, 1 - down, 0], axis=0, mode="mirror")
        return np.asarray(ndimage.convolve1d(rows, [across, 1 - across, 0], axis=1, mode="mirror"))

    return moved


def cubic(rng: np.random.Generator) -> Treatment:
    """Likewise, by splines."""
    shift = rng.uniform(-0.5, 0.5, 2)
    return lambda image: np.asarray(ndimage.shift(image, shift, order=3, mode="mirror"))


def gaussian(rng: np.random.Generator) -> Treatment:
    """Blur of a detector, the same both ways or not, or of scan lines along them."""
    widths = rng.uniform(0.25, 1.3, 2)
    way = rng.random()
    if way < 0.7:
        widths[1] = widths[0]
    elif way < 0.85:
        widths[rng.integers(2)] = 0
    return lambda image: np.asarray(ndimage.gaussian_filter(image, widths, truncate=5))


def without_finest(rng: np.random.Generator) -> Treatment:
    """Nothing above some frequency, as after enlarging by Fourier transforms, perhaps of a blur."""
    most, blur = rng.uniform(0.28, 0.48), rng.choice([0.0, rng.uniform(0.3, 1.0)])

    def treated(image: Image) -> Image:
        spectrum = np.fft.rfft2(ndimage.gaussian_filter(image, blur) if blur else image)
        down, across = (
            np.abs(each(side))
            for each, side in zip((np.fft.fftfreq, np.fft.rfftfreq), image.shape, strict=True)
        )
        kept = np.outer(down < most, across < most)
        return np.asarray(np.fft.irfft2(spectrum * kept, image.shape))

    return treated


def enlarged(rng: np.random.Generator) -> Treatment:
    """Enlarged up to twofold, perhaps after a blur."""
    zoom, order = rng.uniform(1.1, 2.0), int(rng.choice([1, 3]))
    blur = rng.choice([0.0, rng.uniform(0.3, 0.8)])

    def treated(image: Image) -> Image:
        image = ndimage.gaussian_filter(image, blur) if blur else image
        return np.asarray(ndimage.zoom(image, zoom, order=order, mode="mirror"))

    return treated


def binned(first: Treatment) -> Treatment:
    """Something, and then the mean of squares of two pixels."""

    def treated(image: Image) -> Image:
        image = first(image)
        height, width = (side // 2 for side in image.shape)
        squares = image[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
        return np.asarray(squares.mean(axis=(1, 3)))

    return treated


TREATMENTS: dict[str, tuple[float, Callable[[np.random.Generator], Treatment]]] = {
    "none": (0.42, lambda rng: lambda image: image),
    "blurred": (0.22, gaussian),
    "interpolated": (0.12, linear),
    "interpolated by splines": (0.04, cubic),
    "interpolated, then binned": (0.08, lambda rng: binned(linear(rng))),
    "blurred, then binned": (0.04, lambda rng: binned(gaussian(rng))),
    "enlarged": (0.05, enlarged),
    "without the finest": (0.03, without_finest),
}


def pool(folders: list[Path], manifest: Path, drawn: int, seed: int) -> list[list[Truth]]:
    """Real truths, simulated ones, those with a lattice once more, and ramps."""
    with manifest.open(encoding="utf-8", newline="") as lines:
        noise = {Path(row["file"]).name: row["sigma_over_range"] for row in csv.DictReader(lines)}
    files = [path for path in find_truths(folders) if float(noise.get(path.name, 1)) < CLEAN]
    if not files:
        raise SystemExit(f"{manifest}: no truth has a sigma_over_range below {CLEAN}")
    real = [
        Truth(truth.pixels.astype(float), float(noise[path.name]) * float(np.ptp(truth.pixels)))
        for path in files
        for truth in load_truths([path], least_side=max(SIDES))
    ]
    known = [
        (truth.name.split("[")[0], Truth(truth.pixels.astype(float)))
        for truth in draw_truths(drawn, seed=seed)
    ]
    simulated = [truth for _, truth in known]
    lattices = [truth for name, truth in known if name in LATTICES]
    across = np.linspace(0, 1, max(SIDES))
    ramps = [Truth(1 + slope * np.tile(across, (len(across), 1))) for slope in (0.0, 1.0, 9.0)]
    return [real, simulated, lattices, ramps]


def draw(pools: list[list[Truth]], rng: np.random.Generator) -> Iterator[Example]:
    """Examples without end."""
    names, shares = list(TREATMENTS), [share for share, _ in TREATMENTS.values()]
    while True:
        kind = pools[rng.choice(len(pools), p=SHARES)]
        truth = kind[rng.integers(len(kind))]
        name = str(rng.choice(names, p=shares))
        expected = exposed(truth, rng, side=max(SIDES) if "binned" in name else None)
        if expected is None:
            continue
        found = example(name, expected, TREATMENTS[name][1](rng), rng)
        if found is not None:
            yield found


def exposed(truth: Truth, rng: np.random.Generator, side: int | None) -> Image | None:
    """Expected electrons of a part of a truth; None where its own noise would show."""
    side = side or int(rng.choice(SIDES))
    top, left = (rng.integers(0, length - side + 1) for length in truth.pixels.shape)
    part = truth.pixels[top : top + side, left : left + side]
    part = part - part.min() * rng.choice([0, 1])
    part = part + rng.choice([0, rng.uniform(0, 1)]) * part.max()
    if part.max() <= 0:
        return None
    # Above what detectors record, now and then: next to no noise is that of fine texture then.
    dose = np.exp(rng.uniform(np.log(5), np.log(5000 if rng.random() < 0.85 else 2e5)))
    unit = dose / part.mean()
    if BEYOND * (truth.noise * unit) ** 2 > dose:
        return None
    return np.asarray(part * unit)


def example(
    name: str, expected: Image, treatment: Treatment, rng: np.random.Generator
) -> Example | None:
    """Draw noise, treat it, and measure both what it is and what there is to see of it."""
    noise = rng.poisson(expected) - expected
    readout = rng.choice([0, rng.uniform(0, 5), rng.uniform(0, 3) * np.sqrt(expected.mean())])
    is_early = rng.random() < 0.5
    noise = noise + is_early * readout * rng.normal(size=expected.shape)
    clean, noise = treatment(expected), treatment(noise)
    noise = noise + (not is_early) * readout * noise.std() * rng.normal(size=clean.shape) / np.sqrt(
        expected.mean()
    )
    image = stored(clean + noise, rng)
    noise = image - clean
    bins = bins_of(image, noise)
    if bins.shape[1] < scatter_network.FEWEST_INTENSITIES:
        return None
    energy = bins[scatter_network.ENERGY]
    unit = scatter_network.quantile(energy, scatter.QUANTILE) / scatter.QUANTILE_OF_UNIT_NOISE
    variance = bins[-1].mean(axis=1)
    if not (unit > 0).all() or not (variance > 0).all():
        return None
    products = noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1]
    down, across = (float(each.mean() / noise.var()) for each in products)
    told = scatter_network.clues(bins[:-1], unit)
    return Example(name, told, variance / unit, (down, across))


def stored(image: Image, rng: np.random.Generator) -> Image:
    """As it is, in whole numbers, in 8 bits, or compressed."""
    way = rng.choice(["as it is", "whole", "8 bits", "compressed"], p=(0.72, 0.1, 0.15, 0.03))
    if way == "as it is":
        return image
    if way == "whole":
        return np.rint(image)
    low, unit = image.min(), max(float(np.ptp(image)), 1e-9) / 255
    grey = np.rint((image - low) / unit).astype(np.uint8)
    if way == "compressed":
        grey = imagecodecs.jpeg_decode(imagecodecs.jpeg_encode(grey, int(rng.integers(75, 99))))
    return np.asarray(grey * unit + low)


def bins_of(image: Image, noise: Image) -> NDArray[np.float64]:
    """Statistics of blocks by intensity, as `measure_scatter` makes them, and their true noise."""
    of_noise = scatter._strips(noise)

    def statistics(strip: Image) -> NDArray[np.float64]:
        rows = next(of_noise).reshape(
            -1, scatter.BLOCK, strip.shape[1] // scatter.BLOCK, scatter.BLOCK
        )
        squares = np.square(rows).mean(axis=(1, 3)).ravel()
        return np.concatenate([scatter._block_statistics(strip), squares[None]])

    return scatter._bins([image], statistics)


def as_tensors(examples: list[Example]) -> tuple[Tensor, Tensor]:
    """Clues, shape (N, C); logarithm of the factor and both correlations, shape (N, 3)."""
    told = np.concatenate([each.clues for each in examples])
    answers = [
        np.column_stack([np.log(each.factor), *np.tile(each.correlation, (len(each.factor), 1)).T])
        for each in examples
    ]
    return (
        torch.from_numpy(told.astype(np.float32)),
        torch.from_numpy(np.concatenate(answers).astype(np.float32)),
    )


def loss(found: Tensor, answer: Tensor) -> Tensor:
    """Absolute errors, those of too much noise counted a little more."""
    less = answer[:, 0] - found[:, 0]
    of_variance = torch.maximum(SHARE_BELOW * less, (SHARE_BELOW - 1) * less).mean()
    return of_variance + 0.7 * (found[:, 1:] - answer[:, 1:]).abs().mean()


def fit(examples: list[Example]) -> dict[str, NDArray[np.float32]]:
    """Weights of the network, by their names in its file."""
    torch.manual_seed(0)
    told, answers = as_tensors(examples)
    centre, spread = told.mean(0), told.std(0) + 1e-3
    told = ((told - centre) / spread).clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)
    sizes = told.shape[1], HIDDEN, HIDDEN, 3
    layers = [nn.Linear(*sizes[n : n + 2]) for n in range(3)]
    network = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for step in range(STEPS):
        some = torch.randint(len(told), (BATCH,))
        optimiser.zero_grad()
        error = loss(network(told[some]), answers[some])
        error.backward()
        optimiser.step()
        schedule.step()
        if step % 1000 == 999:
            print(f"step {step + 1}/{STEPS}  loss {float(error.detach()):.4f}", flush=True)
    weights = {"centre": centre, "spread": spread}
    for n, layer in enumerate(layers):
        weights |= {f"weight{n}": layer.weight.detach().T, f"bias{n}": layer.bias.detach()}
    return {name: weight.contiguous().numpy() for name, weight in weights.items()}


def check(examples: list[Example]) -> Iterator[str]:
    """Rows of a table: error of the variance, and of the correlation, per treatment."""
    yield "| noise | images | variance over the true one: 5 / 25 / 50 / 75 / 95 % | correlation |"
    yield "|---|---|---|---|"
    for name in TREATMENTS:
        errors, of_correlation = [], []
        for each in examples:
            if each.treatment == name:
                factor, correlation = scatter_network.allowed(scatter_network.told(each.clues))
                errors.append(np.median(factor / each.factor))
                of_correlation += [
                    abs(a - b) for a, b in zip(correlation, each.correlation, strict=True)
                ]
        if not errors:
            continue
        quantiles = np.quantile(errors, (0.05, 0.25, 0.5, 0.75, 0.95))
        listed = " / ".join(f"{value:.2f}" for value in quantiles)
        yield (
            f"| {name} | {len(errors)} | {listed} | "
            f"± {np.median(of_correlation):.3f}, {np.quantile(of_correlation, 0.9):.3f} |"
        )


def main() -> None:
    """Fit, or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", help="truths")
    parser.add_argument("--manifest", type=Path, required=True, help="with sigma_over_range")
    parser.add_argument("--images", type=int, help="by default 30 000, or 1500 to check")
    parser.add_argument("--draw", type=int, help="simulated truths of each kind: 40, or 4")
    parser.add_argument("--check", action="store_true", help="print how far off it is")
    chosen = parser.parse_args()
    seed = 777 if chosen.check else 55
    pools = pool(chosen.folders, chosen.manifest, chosen.draw or (4 if chosen.check else 40), seed)
    drawn = draw(pools, np.random.default_rng(seed))
    count = chosen.images or (1500 if chosen.check else 30_000)
    examples = []
    for number in range(count):
        examples.append(next(drawn))
        if not chosen.check and number % 1000 == 999:
            print(f"image {number + 1}/{count}", flush=True)
    if chosen.check:
        print("\n".join(check(examples)))
    else:
        np.savez(WEIGHTS, **fit(examples))


if __name__ == "__main__":
    sys.exit(main())
