"""Measure the shipped weights on held-out micrographs; writes docs/quality.md and .json.

python tools/quality.py ../shared/micrographs/test

Takes some ten minutes on two cores, most of it for BM3D where that is installed (`pip install
bm3d`; free for non-commercial use only, and nothing here depends on it).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lowdose import __version__
from lowdose.bench.evaluate import (
    ImageScores,
    Law,
    Method,
    Summary,
    evaluate_truths,
    methods_of,
    select,
    summarise,
)
from lowdose.data.truths import Truth, load_truths
from lowdose.infer import Denoiser
from lowdose.physics.transform import stabilise, unstabilise

DOCS = Path(__file__).parents[1] / "docs"
HIGH_DOSES = (1e3, 1e4, 1e5)
BM3D = "GAT + BM3D, gain known"

HEAD = """\
# How good the shipped weights are

Weights `{label}`, lowdose {version}. Made by `python tools/quality.py PATH/TO/test`. One section's
figures image by image: `lowdose evaluate --truth PATH/TO/test --names docs/sixteen.txt --dose low
--seed 0 --csv scores.csv`.

Truths are 512×512 crops of micrographs of other specimens and repositories than those trained on.
The noise is Poisson with fixed seeds; the denoiser is given the noisy pixels alone, as on
the command line; "gain known" tells it that they are counts. Paper columns follow the protocol of
Ede 2018 (arXiv:1807.11234); PSNR and SSIM are in counts with the truth's range. ± is the deviation
over images. "Worst" is the largest ratio of an image's squared error to that of its noisy input:
below 1, no image was made worse.
"""


def bm3d_method() -> dict[str, Method]:
    """BM3D behind the Anscombe transform, told that pixels are counts; none where not installed."""
    if find_spec("bm3d") is None:
        return {}
    from bm3d import bm3d

    def run(noisy: NDArray[np.float32]) -> NDArray[Any]:
        stabilised = stabilise(torch.from_numpy(noisy)).double().numpy()
        return unstabilise(torch.from_numpy(bm3d(stabilised, sigma_psd=1.0))).numpy()

    return {BM3D: run}


def rows(summaries: list[Summary]) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield "| method | paper MSE ×1e-3 | paper SSIM | PSNR dB | SSIM | worst |"
    yield "|---|---|---|---|---|---|"
    for s in summaries:
        mse, spread = (1e3 * figure for figure in s.paper_mse)
        yield (
            f"| {s.method} | {mse:.3f} ± {spread:.2f} | {s.paper_ssim[0]:.3f} | {s.psnr[0]:.2f} "
            f"| {s.ssim[0]:.3f} | {s.worst[0]:.3f} |"
        )


def in_words(summaries: list[Summary]) -> str:
    """Figures for the record of the weights."""
    return "; ".join(
        f"{s.method}: paper MSE {1e3 * s.paper_mse[0]:.3f}e-3, PSNR {s.psnr[0]:.2f} dB"
        for s in summaries
    )


def paired(images: list[ImageScores], ours: str, theirs: str) -> str:
    """Mean difference per image with a 95 % bootstrap interval, in a sentence."""
    mse = np.array([[i.scores[m].paper.mse for m in (ours, theirs)] for i in images])
    psnr = np.array([[i.scores[m].clean.psnr for m in (ours, theirs)] for i in images])
    draws = np.random.default_rng(0).integers(len(images), size=(10_000, len(images)))
    gains = (psnr[:, 0] - psnr[:, 1])[draws].mean(axis=1)
    low, high = np.quantile(gains, [0.025, 0.975])
    share = 100 * (1 - mse[:, 0].mean() / mse[:, 1].mean())
    return (
        f"Against {theirs}: mean paper MSE {share:.1f} % lower; PSNR "
        f"{np.mean(psnr[:, 0] - psnr[:, 1]):+.2f} dB per image (95 % interval {low:+.2f} to "
        f"{high:+.2f}); better on {np.sum(mse[:, 0] < mse[:, 1])} of {len(images)}."
    )


def section(
    title: str, truths: list[Truth], methods: dict[str, Method], law: Law, seeds: int
) -> tuple[list[str], list[Summary]]:
    """Score the methods at one dose law over several seeds."""
    images = []
    for seed in range(seeds):
        for image in evaluate_truths(truths, methods, dose=law, seed=seed):
            images.append(image)
            print(f"\r{title}: {len(images)} of {seeds * len(truths)}  ", end="", flush=True)
    print()
    summaries = summarise(images)
    lines = [f"\n## {title}\n", *rows(summaries)]
    if BM3D in methods:
        lines += ["", paired(images, next(iter(methods)), BM3D)]
    return lines, summaries


def main() -> None:
    """Run every section and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("truths", type=Path)
    parser.add_argument("--model", default="everyday")
    parser.add_argument("--seeds", type=int, default=1, help="draws of noise for the sixteen")
    arguments = parser.parse_args()
    denoiser = Denoiser(arguments.model)
    truths = load_truths([arguments.truths])
    sixteen = select(truths, DOCS / "sixteen.txt")
    ours = methods_of(denoiser, gain_known=True)
    blind = dict(list(ours.items())[:1])
    lines, figures = [HEAD.format(label=denoiser.record.label, version=__version__)], {}
    laws: list[tuple[str, Law]] = [
        ("low dose, 25 + Exp(75) counts", "low"),
        ("ordinary dose, 200 to 2500 counts", "ordinary"),
    ]
    for words, law in laws:
        title = f"Sixteen crops, {words}"
        methods = {**ours, **bm3d_method()}
        text, summaries = section(title, sixteen, methods, law, arguments.seeds)
        lines += text
        figures[title] = in_words(summaries)
        lines += section(f"All {len(truths)} crops, {words}", truths, ours, law, 1)[0]
    lines += [f"\n## Never worse than the input: all {len(truths)} crops at high doses\n"]
    lines += ["| counts | mean ratio | worst ratio | of |", "|---|---|---|---|"]
    worst = []
    for dose in HIGH_DOSES:
        ratio = section(f"{dose:g} counts", truths, blind, dose, 1)[1][1]
        lines += [f"| {dose:g} | {ratio.ratio[0]:.4f} | {ratio.worst[0]:.4f} | {ratio.worst[1]} |"]
        worst.append(f"{ratio.worst[0]:.4f} at {dose:g} counts")
    figures[f"largest ratio of error to that of the input, {len(truths)} crops"] = ", ".join(worst)
    (DOCS / "quality.md").write_text("\n".join(lines) + "\n", "utf-8")
    (DOCS / "quality.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
