"""What setting a lattice aside is worth: PSNR, what becomes of missing atoms, what noise is found.

python tools/lattices.py                                      shipped weights, and BM3D if installed
python tools/lattices.py --plugin tk=folder/peer.py:hrtem     and a method of yours

python tools/lattices.py --figure docs/images/lattices.png    the figure instead

Prints three Markdown tables. Every method is given the noisy counts and nothing else, but BM3D the
true gain. Simulated specimens are drawn with seeds that no weights were trained on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from noise_cost import Cost, stored
from numpy.typing import NDArray

from lowdose.bench.filters import behind_anscombe, bm3d
from lowdose.bench.methods import has_bm3d
from lowdose.bench.outside import estimator, named_target
from lowdose.data.simulate import simulate_truth
from lowdose.infer import Denoiser
from lowdose.metrics.pixelwise import psnr
from lowdose.micrograph import Micrograph
from lowdose.physics.estimate import estimate_noise
from lowdose.records import CHOICES
from lowdose.report.picture import Panel, Row, draw_rows, save_picture

Image = NDArray[np.float64]
Method = Callable[[NDArray[np.float32]], NDArray[Any]]

KINDS, SEEDS, SIDE = ("lattice", "crystal", "supported"), (101, 102, 103), 512
DOSES = 5, 10, 20, 50
# Perfect lattices of Gaussian atoms: distance and width in pixels, over a background of 0.3.
ATOMS, BACKGROUND, ANGLE = ((5.0, 1.2), (8.0, 2.0), (14.0, 3.0)), 0.3, 0.15
VACANCIES, EXPOSURES = ((0, 0), (5, -7), (-6, 4)), 6


def network(name: str, *, lattice: bool = True) -> Method:
    """Shipped weights as a function from counts to counts."""
    denoiser = Denoiser(name, device="cpu", lattice=lattice)
    return lambda noisy: denoiser(Micrograph(noisy)).micrograph.pixels


def methods(plugins: list[str]) -> dict[str, Method]:
    """Every method by name."""
    found = {"none": lambda noisy: noisy}
    for name in reversed(CHOICES):
        found[f"{name}, lattice shown"] = network(name, lattice=False)
        found[name] = network(name)
    if has_bm3d():
        found["GAT + BM3D"] = behind_anscombe(bm3d)
    for text in plugins:
        name, target = named_target("callable", text)
        found[name] = estimator("callable", target)
    return found


def exposed(expected: Image, seed: int) -> NDArray[np.float32]:
    """Counts of one exposure."""
    return np.random.default_rng(seed).poisson(expected).astype(np.float32)


def specimens(kind: str, dose: float) -> Iterator[Image]:
    """Expected counts of simulated specimens of a kind, by their mean."""
    for seed in SEEDS:
        truth = simulate_truth(kind, (SIDE, SIDE), rng=np.random.default_rng(seed)).pixels
        yield truth.astype(np.float64) * (dose / truth.mean())


def print_quality(every: dict[str, Method]) -> None:
    """PSNR of each method on each kind, means over specimens."""
    cases = list(product(KINDS, DOSES))
    print(f"| method | {' | '.join(f'{kind}, {dose} e' for kind, dose in cases)} |")
    print(f"|---|{'---|' * len(cases)}", flush=True)
    for name, method in every.items():
        cells = []
        for kind, dose in cases:
            found = [
                psnr(method(exposed(expected, number)), expected)
                for number, expected in enumerate(specimens(kind, dose))
            ]
            cells.append(f"{np.mean(found):.2f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def atoms(period: float, width: float, *, without: tuple[tuple[int, int], ...] = ()) -> Image:
    """A lattice of Gaussian atoms, some left out."""
    side = 384
    y, x = np.mgrid[:side, :side].astype(np.float64)
    along, across = period * np.array(
        [[np.cos(ANGLE), np.sin(ANGLE)], [-np.sin(ANGLE), np.cos(ANGLE)]]
    )
    image = np.full((side, side), BACKGROUND)
    for i, j in product(range(-side // 5, side // 5), repeat=2):
        at_y, at_x = side / 2 + i * along + j * across
        if (i, j) in without or not (-10 < at_y < side + 10 and -10 < at_x < side + 10):
            continue
        near = tuple(slice(max(0, int(at) - 12), max(0, int(at) + 13)) for at in (at_y, at_x))
        far = (y[near] - at_y) ** 2 + (x[near] - at_x) ** 2
        image[near] += np.exp(-far / (2 * width**2))
    return image


def print_vacancies(model: str) -> None:
    """How deep an atom's absence is in a result, of how deep it is in truth."""
    every = {"shown": network(model, lattice=False), "set aside": network(model)}
    print("| atoms every | electrons | depth, shown | depth, set aside | PSNR, shown | set aside |")
    print("|---|---|---|---|---|---|")
    for (period, width), dose in product(ATOMS, DOSES):
        full, vacant = atoms(period, width), atoms(period, width, without=VACANCIES)
        lost = full - vacant
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in every}
        for seed, (name, method) in product(range(EXPOSURES), every.items()):
            result = method(exposed(vacant * dose / full.mean(), seed)) * full.mean() / dose
            depth = float(np.sum((full - result) * lost) / np.sum(lost**2))
            found[name].append((depth, psnr(result, vacant)))
        means = {name: np.mean(values, axis=0) for name, values in found.items()}
        spreads = {name: np.std(values, axis=0) for name, values in found.items()}
        depths = " | ".join(f"{means[name][0]:.2f} ± {spreads[name][0]:.2f}" for name in every)
        decibels = " | ".join(f"{means[name][1]:.1f} dB" for name in every)
        print(f"| {period:g} px | {dose} | {depths} | {decibels} |", flush=True)


def print_noise(model: str) -> None:
    """What it costs not to know gain, offset and readout noise of a lattice."""
    cost = Cost(model, SIDE, None)
    truths = [atoms(*each) for each in ATOMS]
    truths += [next(specimens(kind, 1.0)) for kind in KINDS]
    found: dict[tuple[str, int], list[float]] = {}
    doses = 20, 100
    for number, dose in product(range(len(truths)), doses):
        expected = truths[number] * (dose / truths[number].mean())
        for image in stored(exposed(expected, number), np.random.default_rng((number, dose))):
            loss = cost(image, expected, estimate_noise(image.pixels))
            found.setdefault((image.name, dose), []).append(loss)
    print(f"| stored as | {' | '.join(f'{dose} e' for dose in doses)} |\n|---|---|---|")
    for name in dict.fromkeys(name for name, _ in found):
        cells = (found[name, dose] for dose in doses)
        print(f"| {name} | {' | '.join(f'{np.mean(v):.2f}, {max(v):.2f}' for v in cells)} |")


def draw(path: Path, model: str) -> None:
    """A simulated lattice, and atoms of which some are missing: noisy, both results, truth."""
    every = {"lattice shown": network(model, lattice=False), "set aside": network(model)}
    period, width = ATOMS[0]
    vacant = atoms(period, width, without=VACANCIES)
    cases = {
        "grains of a lattice, 5 electrons per pixel": list(specimens("lattice", 5.0))[2],
        "atoms 5 pixels apart, three missing, 20 electrons per pixel": vacant * 20 / vacant.mean(),
    }
    rows = []
    for title, expected in cases.items():
        noisy = exposed(expected, 0)
        middle = tuple(slice(length // 2 - 112, length // 2 + 112) for length in expected.shape)
        results = {name: method(noisy) for name, method in every.items()}
        told = {f"{name}, {psnr(each, expected):.1f} dB": each for name, each in results.items()}
        images = {"noisy": noisy, **told, "truth": expected}
        panels = tuple(Panel(image[middle], name) for name, image in images.items())
        rows.append(Row(title, panels))
    save_picture(path, draw_rows(rows))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plugin", action="append", default=[], metavar="NAME=FILE:FUNCTION")
    parser.add_argument("--model", default="everyday", help="of the second and third table")
    parser.add_argument("--figure", type=Path, help="draw two of them as PNG, and nothing else")
    chosen = parser.parse_args()
    if chosen.figure:
        draw(chosen.figure, chosen.model)
        return
    print_quality(methods(chosen.plugin))
    print()
    print_vacancies(chosen.model)
    print()
    print_noise(chosen.model)


if __name__ == "__main__":
    sys.exit(main())
