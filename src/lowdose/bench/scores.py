"""Scores of estimates by both protocols, their means over images, and paired differences."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lowdose.errors import UnsupportedContentError
from lowdose.io.guard import whole_file
from lowdose.metrics.pixelwise import mse
from lowdose.metrics.protocol import (
    CleanScores,
    PaperScores,
    clean_protocol,
    paper_capped,
    paper_protocol,
)

FIGURES = (
    "paper_mse", "paper_ssim", "mse", "psnr_db", "ssim", "bias", "frc_cutoff", "error_ratio",
)  # fmt: skip
"""Columns of tables, in the order of `Score.figures`."""

_DRAWS = 10_000  # of a bootstrap: its 95 % limits are then sure to a few per cent of their width


@dataclass(frozen=True)
class Score:
    """Scores of one estimate.

    Parameters
    ----------
    paper : PaperScores
        See `lowdose.metrics.protocol`.
    clean : CleanScores
        See there.
    ratio : float
        Mean squared error divided by that of the noisy image; above 1 it does harm.
    """

    paper: PaperScores
    clean: CleanScores
    ratio: float

    @property
    def figures(self) -> tuple[float, ...]:
        """All numbers, in the order of `FIGURES`."""
        return (*astuple(self.paper), *astuple(self.clean), self.ratio)

    @property
    def capped(self) -> Score:
        """As the paper averages it: see `lowdose.metrics.paper_capped`."""
        return replace(self, paper=paper_capped(self.paper))

    @staticmethod
    def from_figures(figures: Sequence[float]) -> Score:
        """Undo `figures`."""
        return Score(PaperScores(*figures[:2]), CleanScores(*figures[2:-1]), figures[-1])


@dataclass(frozen=True)
class ImageScores:
    """Scores of every method on one image.

    Parameters
    ----------
    name : str
        Of the truth.
    dose : float
        Expected counts at its brightest pixel.
    scores : mapping of str to Score
        By method; ``"none"`` is the noisy image itself.
    """

    name: str
    dose: float
    scores: Mapping[str, Score]


@dataclass(frozen=True)
class Summary:
    """Means over images, each with the standard deviation over images (NaN for one).

    Parameters
    ----------
    method : str
        Which.
    paper_mse, paper_ssim : (float, float)
        Mean and deviation of scores capped as the paper caps them.
    mse, psnr, ssim, bias, frc_cutoff, ratio : (float, float)
        Mean and deviation, nothing capped.
    worst : (float, str)
        Largest error ratio of a single draw of noise, and the image it belongs to.
    """

    method: str
    paper_mse: tuple[float, float]
    paper_ssim: tuple[float, float]
    mse: tuple[float, float]
    psnr: tuple[float, float]
    ssim: tuple[float, float]
    bias: tuple[float, float]
    frc_cutoff: tuple[float, float]
    ratio: tuple[float, float]
    worst: tuple[float, str]

    @property
    def figures(self) -> tuple[tuple[float, float], ...]:
        """Every mean with its deviation, in the order of `FIGURES`."""
        return (
            self.paper_mse, self.paper_ssim, self.mse, self.psnr, self.ssim, self.bias,
            self.frc_cutoff, self.ratio,
        )  # fmt: skip


@dataclass(frozen=True)
class Paired:
    """A mean difference over images, with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3g} ({self.low:+.3g} to {self.high:+.3g})"


def evaluate_pair(
    truth: NDArray[Any], noisy: NDArray[Any], estimate: NDArray[Any], *, clip: bool = True
) -> Score:
    """Score an estimate by both protocols.

    Parameters
    ----------
    truth, noisy, estimate : ndarray, shape (H, W)
        All in the unit of the noisy image; the truth is not negative.
    clip : bool
        See `lowdose.metrics.paper_protocol`.
    """
    clean = clean_protocol(estimate, truth)
    error = mse(noisy, truth)
    ratio = clean.mse / error if error else math.nan
    return Score(paper_protocol(estimate, truth, noisy, clip=clip), clean, ratio)


def checked_pair(
    name: str,
    method: str,
    images: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    *,
    clip: bool = True,
) -> Score:
    """Score an estimate, and say which image and method it was where that is not possible.

    Parameters
    ----------
    name, method : str
        For the sentence.
    images : tuple of ndarray
        Truth, noisy image and estimate, as for `evaluate_pair`.
    clip : bool
        See `evaluate_pair`.

    Raises
    ------
    UnsupportedContentError
        If there is nothing to compare: an image is constant, too small or not finite, or the
        estimate has another shape.
    """
    try:
        return evaluate_pair(*images, clip=clip)
    except ValueError as err:
        problem = f"method {method!r} cannot be scored: {err}"
        raise UnsupportedContentError(name, problem) from err


def summarise(images: Sequence[ImageScores], *, seeds: int = 1) -> list[Summary]:
    """Average over images, method by method; every image has the methods of the first.

    Parameters
    ----------
    images : sequence of ImageScores
        Of all images for the first seed of the noise, then in the same order for the next.
    seeds : int
        Number of seeds. Deviations are over images, not over draws of noise on one.
    """
    return [_summary(method, images, seeds) for method in images[0].scores]


def _summary(method: str, images: Sequence[ImageScores], seeds: int) -> Summary:
    worst = max((image.scores[method].ratio, image.name) for image in images)
    figures = image_figures([image.scores[method] for image in images], seeds=seeds)
    # The fields of a summary have the order of `FIGURES`.
    fields: list[Any] = [method, *map(_mean_and_spread, figures.T.tolist()), worst]
    return Summary(*fields)


def image_figures(scores: Sequence[Score], *, seeds: int = 1) -> NDArray[np.float64]:
    """Figures of each image as the paper caps them, averaged over its draws of noise.

    Parameters
    ----------
    scores, seeds
        Of one method, in the order of `summarise`.

    Returns
    -------
    ndarray, shape (N, 8)
        In the order of `FIGURES`.
    """
    figures = np.array([score.capped.figures for score in scores])
    return np.asarray(figures.reshape(seeds, -1, len(FIGURES)).mean(axis=0))


def _mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    # Of infinite values, such as the PSNR of the truth itself, the deviation is none.
    spread = float(np.std(values)) if len(values) > 1 and np.isfinite(values).all() else math.nan
    return float(np.mean(values)), spread


def paired_difference(ours: ArrayLike, theirs: ArrayLike) -> Paired:
    """Mean difference per image with the 2.5 and 97.5 % quantiles of its bootstrap.

    Parameters
    ----------
    ours, theirs : array_like, shape (N,)
        A score of two methods on the same images, in the same order.

    Examples
    --------
    >>> paired_difference([2, 3, 4], [1, 2, 3])  # the images differ, the difference does not
    Paired(mean=1.0, low=1.0, high=1.0)
    """
    gains = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    draws = np.random.default_rng(0).integers(len(gains), size=(_DRAWS, len(gains)))
    low, high = np.quantile(gains[draws].mean(axis=1), [0.025, 0.975])
    return Paired(float(gains.mean()), float(low), float(high))


def margin(own: float, others: Iterable[float], *, is_error: bool) -> float:
    """By how many per cent a mean is better than the best of the others; below 0 it is worse.

    Parameters
    ----------
    own : float
        Mean score of a method.
    others : iterable of float
        Those of the other methods; NaN without any.
    is_error : bool
        Whether less is better.

    Examples
    --------
    >>> margin(0.75, [1.0, 2.0], is_error=True), margin(0.5, [1.0], is_error=False)
    (25.0, -50.0)
    """
    best = (min if is_error else max)(others, default=math.nan)
    share = 100 * (own / best - 1) if best else math.nan
    return -share if is_error else share


def write_csv(path: Path, images: Iterable[ImageScores]) -> None:
    """Write one row per image and method.

    Raises
    ------
    OutputError
        If it cannot be written there.
    """
    rows = (
        (image.name, image.dose, method, *score.figures)
        for image in images
        for method, score in image.scores.items()
    )
    write_rows(path, ("image", "counts_at_brightest", "method", *FIGURES), rows)


def write_rows(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file, whole or not at all; the same on every system.

    Raises
    ------
    OutputError
        If it cannot be written there.
    """
    with whole_file(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
