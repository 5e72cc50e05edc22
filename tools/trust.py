"""Hold what `lowdose` says of its own errors against the truth, on clean micrographs.

python tools/trust.py scores ../shared/micrographs/test
python tools/trust.py coverage ../shared/micrographs/test
python tools/trust.py coverage strange     on images that no microscope makes
python tools/trust.py faults ../shared/micrographs/test     plants faults and looks for them
python tools/trust.py cost                  time of uncertainties and of a report
python tools/trust.py calibrate ../shared/micrographs/val     writes the factor of shipped weights
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, median_filter
from scipy.stats import spearmanr

from lowdose.bench.methods import parse_method, told
from lowdose.data.simulate import simulate_truth
from lowdose.data.truths import Truth, draw_truths, load_truths
from lowdose.infer import Denoiser
from lowdose.io import write
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.physics.estimate import estimate_noise
from lowdose.physics.noise import expose
from lowdose.records import shipped
from lowdose.report.files import write_report
from lowdose.trust.finding import Finding
from lowdose.trust.input import examine
from lowdose.trust.residual import contradiction_finding, contradictions, residual_findings
from lowdose.trust.score import INPUT, NINE_TENTHS, score
from lowdose.trust.uncertainty import denoise_with_uncertainty, familiarity

COUNTS = NoiseModel(1.0)
NETWORKS = "everyday", "fast"
DOSES = 5.0, 25.0, 100.0, 500.0, 2500.0
METHODS = (*NETWORKS, "gaussian", "median", "wiener", "wavelet:anscombe")


def exposures(truths: list[Any], dose: float) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Name, expected and recorded electrons of each truth at a mean dose."""
    for number, truth in enumerate(truths):
        clean = torch.from_numpy(truth.pixels.astype(np.float32))
        rng = torch.Generator().manual_seed(number)
        recorded = expose(clean, dose, rng=rng).numpy()
        yield truth.name, (clean * (dose / clean.mean())).numpy(), recorded


def strange() -> list[Truth]:
    """Images that no microscope makes."""
    y, x = np.mgrid[:512, :512]
    rng = np.random.default_rng(0)
    page = Image.new("L", (512, 512), 255)
    for line in range(36):
        ImageDraw.Draw(page).text(
            (4, 14 * line), 3 * "The quick brown fox jumps over the lazy dog. "
        )
    kinds = {
        "checkerboard": 0.2 + (x + y) % 2,
        "checkerboard of twos": 0.2 + (x // 2 + y // 2) % 2,
        "squares at random": 0.2 + np.kron(rng.integers(0, 2, (128, 128)), np.ones((4, 4))),
        "pixels at random": 0.5 + rng.random((512, 512)),
        "bright dots": 0.5 + 5.0 * (rng.random((512, 512)) < 0.02),
        "lines": 0.3 + (y % 3 == 0),
        "zone plate": 1.05 + np.cos((x**2 + y**2) / 400),
        "text": 0.1 + np.asarray(page) / 255.0,
    }
    return [Truth(image, image.min(), image.max(), name, name) for name, image in kinds.items()]


def scores_of(truths: list[Any], dose: float) -> dict[str, float]:
    """How the estimated errors of all methods compare with the true ones."""
    methods = {name: told(parse_method(name)) for name in METHODS}
    rows = []
    for _, clean, recorded in exposures(truths, dose):
        found = {each.name: each for each in score(recorded, COUNTS, methods).scores}
        results = {name: run(recorded, COUNTS) for name, run in methods.items()} | {INPUT: recorded}
        true = {name: float(np.mean((result - clean) ** 2)) for name, result in results.items()}
        rows.append((found, true))
    names = (*METHODS, INPUT)
    ratios = {name: [f[name].mse / t[name] for f, t in rows] for name in names}
    choices = (*NETWORKS, INPUT)
    chosen = [t[min(choices, key=lambda n: f[n].mse)] for f, t in rows]
    oracle = [min(t[name] for name in choices) for _, t in rows]
    inside = [f[n].interval[0] <= t[n] <= f[n].interval[1] for f, t in rows for n in names]
    ranks = [spearmanr([f[n].mse for n in names], [t[n] for n in names]).statistic for f, t in rows]
    figures = {f"ratio {name}": float(np.mean(values)) for name, values in ratios.items()}
    figures |= {
        f"sum ratio {name}": sum(f[name].mse for f, _ in rows) / sum(t[name] for _, t in rows)
        for name in NETWORKS
    }
    return figures | {
        "scatter everyday": float(np.std(ratios["everyday"])),
        **{f"scatter over stated {name}": _scatter(rows, name) for name in names},
        "inside the 90 % interval": float(np.mean(inside)),
        "rank correlation": float(np.mean(ranks)),
        "auto over oracle, sums": sum(chosen) / sum(oracle),
        "auto over oracle, mean": float(np.mean(np.divide(chosen, oracle))),
        "auto over oracle, worst": float(np.max(np.divide(chosen, oracle))),
        "auto over everyday, mean": float(
            np.mean(np.divide(chosen, [t["everyday"] for _, t in rows]))
        ),
    }


def _scatter(rows: list[Any], name: str) -> float:
    """Root mean square of how far estimates are off, in stated standard errors."""
    off = [(found[name].mse - true[name]) / found[name].mse_std for found, true in rows]
    return float(np.sqrt(np.mean(np.square(off))))


def doubts(truths: list[Any], dose: float, weights: str) -> Iterator[tuple[bool, NDArray[Any]]]:
    """Whether an image is called unfamiliar, and errors of pixels in stated deviations.

    The latter without and with what the image says.
    """
    denoiser = Denoiser(weights)
    for _, clean, recorded in exposures(truths, dose):
        found, calibration = denoise_with_uncertainty(denoiser, Micrograph(recorded), noise=COUNTS)
        assert found.uncertainty is not None
        with_image = np.abs(found.micrograph.pixels - clean) / found.uncertainty.pixels
        is_strange = familiarity(calibration).level == "warning"
        yield is_strange, np.stack([with_image * calibration.from_image, with_image])


def coverage_of(truths: list[Any], dose: float, weights: str) -> dict[str, float]:
    """How many pixels lie within 1.645 stated deviations of the truth."""
    found = [
        (is_strange, *(each <= NINE_TENTHS).mean(axis=(1, 2)))
        for is_strange, each in doubts(truths, dose, weights)
    ]
    strange, without, held = np.array(found).T
    return {
        f"{weights}: called unfamiliar": float(strange.mean()),
        f"{weights}: inside, mean": float(held.mean()),
        f"{weights}: inside, worst image": float(held.min()),
        f"{weights}: images below 80 %": float((held < 0.8).mean()),
        f"{weights}: inside, mean, stated alone": float(without.mean()),
        f"{weights}: inside, worst image, stated alone": float(without.min()),
    }


def calibrate(truths: list[Any], doses: list[float], weights: str) -> dict[str, Any]:
    """Find the factor that makes nine pixels in ten lie inside, images and doses counting alike."""
    path = shipped()[weights].with_suffix(".json")
    record = json.loads(path.read_text("utf-8"))
    old = record.get("calibration", {}).get("factor", 1.0)
    found = [
        old * np.quantile(held[::7, ::7] / NINE_TENTHS, np.linspace(0, 1, 1001))
        for dose in doses
        for _, (_, held) in doubts(truths, dose, weights)
    ]
    record["calibration"] = {
        "factor": round(float(np.quantile(np.concatenate(found), 0.9)), 4),
        "interval": 0.9,
        "doses": doses,
        "images": len(truths),
        "command": "python tools/trust.py calibrate VAL",
    }
    path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", "utf-8")
    return {f"{weights}: factor": record["calibration"]["factor"]}


def faults_of(truths: list[Any], dose: float) -> dict[str, float]:
    """Share of images in which a fault is found, and in which one is found where none is."""
    denoiser = Denoiser("everyday")
    found: dict[str, list[bool]] = {}

    def note(fault: str, findings: Iterable[Finding], *names: str) -> None:
        warned = {each.name for each in findings if each.level == "warning"}
        found.setdefault(fault, []).append(bool(warned & set(names) if names else warned))

    for number, (_, _, recorded) in enumerate(exposures(truths, dose)):
        rng = np.random.default_rng(number)
        result = denoiser(Micrograph(recorded), noise=COUNTS).micrograph.pixels
        note("result: honest", _of_result(recorded, result))
        note("result: 3 deviations added over 5 x 5", _of_result(recorded, _marked(result, rng)))
        for width in (1.5, 2.0):
            blurred = gaussian_filter(result, width)
            note(f"result: blurred by {width} px", _of_result(recorded, blurred))
        for name, (pixels, noise) in _inputs(recorded, rng).items():
            findings = examine(pixels, noise or estimate_noise(pixels)).findings
            note(f"input: {name}, any warning", findings)
            expected = EXPECTED.get(name)
            if expected:
                note(f"input: {name}", findings, *expected)
                honest = examine(recorded, COUNTS).findings
                note(f"input: honest, as {name}", honest, *expected)
    return {fault: float(np.mean(values)) for fault, values in found.items()}


EXPECTED = {
    "median-filtered": ("repeated values", "correlated noise"),
    "gain given twice too high": ("photon transfer",),
    "gain given twice too low": ("photon transfer",),
    "line noise of half the noise": ("row noise",),
}


def _inputs(
    recorded: NDArray[Any], rng: np.random.Generator
) -> dict[str, tuple[NDArray[Any], NoiseModel | None]]:
    """Images with something wrong, and what is said of their noise."""
    offsets = 0.5 * np.sqrt(recorded.mean()) * rng.normal(size=(len(recorded), 1))
    return {
        "honest": (recorded, COUNTS),
        "median-filtered": (median_filter(recorded, 3), None),
        "gain given twice too high": (recorded, NoiseModel(2.0)),
        "gain given twice too low": (recorded, NoiseModel(0.5)),
        "line noise of half the noise": ((recorded + offsets).astype(np.float32), COUNTS),
    }


def _of_result(recorded: NDArray[Any], result: NDArray[Any]) -> list[Finding]:
    evidence = contradiction_finding(contradictions(recorded, result, COUNTS))
    return [*residual_findings(recorded, result, COUNTS), evidence]


def _marked(result: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """A result with an invented square, as bright as three deviations of the noise there."""
    y, x = (int(rng.integers(20, side - 25)) for side in result.shape)
    marked = result.copy()
    place = marked[y : y + 5, x : x + 5]
    place += 3 * np.sqrt(np.maximum(place.mean(), 0.5))
    return marked


def cost(weights: str) -> dict[str, float]:
    """Time of uncertainties over that of denoising alone, and seconds that a report takes."""
    figures, denoiser = {}, Denoiser(weights)
    for side in (512, 1024, 2048):
        truth = simulate_truth("membranes", (side, side), rng=np.random.default_rng(0))
        counts = np.random.default_rng(0).poisson(truth.pixels * (30 / truth.pixels.mean()))
        image = Micrograph(counts.astype(np.uint16))
        calls = {
            "plain": lambda image=image: denoiser(image),
            "stated": lambda image=image: denoiser(image, uncertainty=True),
            "held": lambda image=image: denoise_with_uncertainty(denoiser, image),
        }
        times = _least_times(calls, rounds=5)
        figures[f"{weights}, {side}: stated uncertainty"] = times["stated"] / times["plain"]
        figures[f"{weights}, {side}: held against the image"] = times["held"] / times["plain"]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "a.mrc"), Path(folder, "a.html")
        write(source, image)
        rivals = ("everyday", "fast", "gaussian", "wavelet:anscombe")
        started = time.perf_counter()
        write_report(source, target, denoiser, rivals=rivals)
        figures[f"{weights}, 2048: seconds of a report"] = time.perf_counter() - started
        figures[f"{weights}, 2048: megabytes of a report"] = target.stat().st_size / 1e6
    return figures


def _least_times(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Least time of each call, in turns, so that a busy moment hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return {name: min(values[1:]) for name, values in times.items()}


def main() -> None:
    """Print, and perhaps write, figures for each dose."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("scores", "coverage", "faults", "cost", "calibrate"))
    parser.add_argument("truths", nargs="?", help="folder, or strange; without, simulated ones")
    parser.add_argument("--dose", type=float, action="append", help="mean electrons a pixel")
    parser.add_argument("--every", type=int, default=1, help="take every n-th truth")
    parser.add_argument("--model", action="append", help="weights; those that ship by default")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    models = arguments.model or NETWORKS
    if arguments.what == "cost":
        for name in models:
            for figure, value in cost(name).items():
                print(f"{figure:<45} {value:.2f}", flush=True)
        return
    truths, doses = _truths(arguments.truths, arguments.every), arguments.dose or list(DOSES)
    if arguments.what == "calibrate":
        for name in models:
            print(calibrate(truths, doses, name))
        return
    table = {}
    for dose in doses:
        table[f"{dose:g}"] = figures = _figures(arguments.what, truths, dose, models)
        for name, value in figures.items():
            print(f"{dose:g} electrons  {name:<45} {value:.4f}", flush=True)
    print("\n| |", " | ".join(f"{dose} e" for dose in table), "|\n|" + "---|" * (len(table) + 1))
    for name in next(iter(table.values())):
        print(f"| {name} |", " | ".join(f"{figures[name]:.3f}" for figures in table.values()), "|")
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


def _truths(place: str | None, every: int) -> list[Truth]:
    if place is None:
        return draw_truths(2, seed=12345, side=512)
    return strange() if place == "strange" else load_truths([Path(place)])[::every]


def _figures(
    what: str, truths: list[Truth], dose: float, models: Iterable[str]
) -> dict[str, float]:
    if what == "scores":
        return scores_of(truths, dose)
    if what == "faults":
        return faults_of(truths, dose)
    return {
        figure: value
        for name in models
        for figure, value in coverage_of(truths, dose, name).items()
    }


if __name__ == "__main__":
    sys.exit(main())
