"""Score denoisers on truths with Poisson noise of fixed seeds."""

from __future__ import annotations

import csv
import dataclasses
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from lowdose.data.truths import Truth
from lowdose.errors import ConfigError, LowdoseWarning, UnsupportedContentError
from lowdose.io import read
from lowdose.io.guard import whole_file
from lowdose.metrics.protocol import (
    CleanScores,
    PaperScores,
    clean_protocol,
    paper_mean,
    paper_protocol,
)
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel

if TYPE_CHECKING:
    from lowdose.infer import Denoiser

Law = Literal["low", "ordinary"] | float
# From recorded to estimated counts; sees nothing else.
Method = Callable[[NDArray[np.float32]], NDArray[Any]]

_COLUMNS = (
    "image", "counts_at_brightest", "method", "paper_mse", "paper_ssim", "mse", "psnr_db", "ssim",
    "error_ratio",
)  # fmt: skip


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
    paper_mse, paper_ssim, mse, psnr, ssim, ratio : (float, float)
        Mean and deviation; the paper's means are capped as `paper_mean` says.
    worst : (float, str)
        Largest error ratio, and the image it belongs to.
    """

    method: str
    paper_mse: tuple[float, float]
    paper_ssim: tuple[float, float]
    mse: tuple[float, float]
    psnr: tuple[float, float]
    ssim: tuple[float, float]
    ratio: tuple[float, float]
    worst: tuple[float, str]


def evaluate_pair(truth: NDArray[Any], noisy: NDArray[Any], estimate: NDArray[Any]) -> Score:
    """Score an estimate by both protocols.

    Parameters
    ----------
    truth, noisy, estimate : ndarray, shape (H, W)
        All in the unit of the noisy image; the truth is not negative.
    """
    clean, error = clean_protocol(estimate, truth), clean_protocol(noisy, truth).mse
    ratio = clean.mse / error if error else float("nan")
    return Score(paper_protocol(estimate, truth, noisy), clean, ratio)


def evaluate_truths(
    truths: Iterable[Truth],
    methods: Mapping[str, Method],
    *,
    dose: Law,
    seed: int = 0,
) -> Iterator[ImageScores]:
    """Expose each truth once and score every method on that one exposure.

    Parameters
    ----------
    truths : iterable of Truth
        See `lowdose.data.truths.load_truths`; each is scaled to [0, 1].
    methods : mapping of str to callable
        By name; each is given float32 counts and nothing else.
    dose : "low", "ordinary" or float
        See `benchmark_dose`.
    seed : int
        Noise follows from it and the name of the image: a subset is scored on the same pixels.

    Yields
    ------
    ImageScores
        As soon as an image is done, method ``"none"`` first.
    """
    for truth in truths:
        rng = np.random.default_rng((seed, zlib.crc32(truth.name.encode())))
        brightest = benchmark_dose(dose, rng)
        expected = truth.crop(0, 0, *truth.pixels.shape).astype(np.float64) * brightest
        noisy = rng.poisson(expected).astype(np.float32)
        estimates = {name: run(noisy) for name, run in methods.items()}
        yield compare(truth.name, expected, noisy, estimates)


def compare(
    name: str,
    truth: NDArray[Any],
    noisy: NDArray[Any],
    estimates: Mapping[str, NDArray[Any]],
) -> ImageScores:
    """Score several estimates of one image, and the noisy image itself as ``"none"``.

    Raises
    ------
    UnsupportedContentError
        If there is nothing to compare: an image is constant, or too small.
    """
    scores = {}
    for method, each in ({"none": noisy} | dict(estimates)).items():
        try:
            scores[method] = evaluate_pair(truth, noisy, each)
        except ValueError as err:
            problem = f"method {method!r} cannot be scored: {err}"
            raise UnsupportedContentError(name, problem) from err
    return ImageScores(name, float(truth.max()), scores)


def evaluate_files(
    truth: Path, noisy: Path, estimate: Path | None, *, load: Callable[[], Denoiser]
) -> ImageScores:
    """Score a denoised file, or what a denoiser makes of the noisy one.

    Parameters
    ----------
    truth, noisy : Path
        Files of one image each. A truth in another unit, such as [0, 1], is brought to the mean
        of the noisy image.
    estimate : Path, optional
        The denoised file, in the unit of the noisy one.
    load : callable
        Gives the denoiser that is used without such a file.

    Raises
    ------
    InputError
        If a file cannot be read, holds several images or nothing to compare, or their sizes
        differ.
    """
    recorded = _read_single(noisy, None)
    clean = _read_single(truth, recorded.shape)
    expected = _at_level(truth, clean.pixels, recorded.pixels)
    if estimate is not None:
        estimates = {estimate.name: _read_single(estimate, recorded.shape).pixels}
    else:
        denoiser = load()
        estimates = {denoiser.record.name: denoiser(recorded).micrograph.pixels}
    return compare(noisy.name, expected, recorded.pixels, estimates)


def _read_single(path: Path, shape: tuple[int, ...] | None) -> Micrograph:
    micrograph = read(path)
    if micrograph.frame_count > 1:
        problem = f"holds {micrograph.frame_count} frames; single images are compared."
        raise UnsupportedContentError(path, problem)
    if shape and micrograph.shape[-2:] != shape:
        problem = f"is {micrograph.shape[-2:]} px, and the noisy image {shape}."
        raise UnsupportedContentError(path, problem)
    frame = next(micrograph.frames())
    return dataclasses.replace(micrograph, pixels=frame, axes=micrograph.axes[-2:])


def _at_level(path: Path, truth: NDArray[Any], noisy: NDArray[Any]) -> NDArray[np.float64]:
    """Truth in the unit of the noisy image; left alone where their means agree to 5 %."""
    level, own = float(noisy.mean(dtype=np.float64)), float(truth.mean(dtype=np.float64))
    if level <= 0 or own <= 0:
        problem = f"mean is {own:g}, and that of the noisy image {level:g}; expected both above 0."
        raise UnsupportedContentError(path, f"{problem} Take the offset off first.")
    factor = level / own
    if abs(factor - 1) < 0.05:
        return truth.astype(np.float64)
    problem = f"multiplied by {factor:.4g}, to have the mean of the noisy image."
    warnings.warn(LowdoseWarning(path, problem), stacklevel=3)
    return truth * np.float64(factor)


def benchmark_dose(law: Law, rng: np.random.Generator) -> float:
    """Draw expected counts at the brightest pixel.

    Parameters
    ----------
    law : "low", "ordinary" or float
        The reference paper's low doses, ``25 + Exponential(75)``, its ordinary ones, uniform from
        200 to 2500, or always the same.
    rng : numpy.random.Generator
        Random source.
    """
    if law == "low":
        return 25 + float(rng.exponential(75))
    return float(rng.uniform(200, 2500)) if law == "ordinary" else float(law)


def parse_law(text: str) -> Law:
    """Read a dose law from a word or a number.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if text in ("low", "ordinary"):
        return cast(Law, text)
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise ConfigError(f"dose is {text!r}; expected low, ordinary or a number above 0")
    return number


def select(truths: Sequence[Truth], names: Path | None) -> list[Truth]:
    """Truths whose names stand in a text file, one a line; all of them without a file.

    Raises
    ------
    ConfigError
        If the file cannot be read, or names a truth that is not there.
    """
    if names is None:
        return list(truths)
    try:
        wanted = {line.strip() for line in names.read_text("utf-8").splitlines()} - {""}
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{names}: cannot be read ({err}).") from err
    missing = wanted - {truth.name for truth in truths}
    if missing or not wanted:
        raise ConfigError(f"{names}: names truths that are not there: {', '.join(sorted(missing))}")
    return [truth for truth in truths if truth.name in wanted]


def methods_of(denoiser: Denoiser, *, gain_known: bool = False) -> dict[str, Method]:
    """Methods that a denoiser offers: as users run it, and told that the pixels are counts."""

    def blind(noisy: NDArray[np.float32]) -> NDArray[Any]:
        return denoiser(Micrograph(noisy)).micrograph.pixels

    def told(noisy: NDArray[np.float32]) -> NDArray[Any]:
        return denoiser(Micrograph(noisy), noise=NoiseModel(1.0)).micrograph.pixels

    name = denoiser.record.name
    return {name: blind} | ({f"{name}, gain known": told} if gain_known else {})


def summarise(images: Sequence[ImageScores]) -> list[Summary]:
    """Average over images, method by method."""
    return [_summary(method, images) for method in images[0].scores]


def _summary(method: str, images: Sequence[ImageScores]) -> Summary:
    scores = [image.scores[method] for image in images]
    paper = paper_mean(score.paper for score in scores)
    ratio, name = max((image.scores[method].ratio, image.name) for image in images)
    clean = [score.clean for score in scores]
    return Summary(
        method,
        paper_mse=(paper.mse, _spread([score.paper.mse for score in scores])),
        paper_ssim=(paper.ssim, _spread([score.paper.ssim for score in scores])),
        mse=_mean_and_spread([score.mse for score in clean]),
        psnr=_mean_and_spread([score.psnr for score in clean]),
        ssim=_mean_and_spread([score.ssim for score in clean]),
        ratio=_mean_and_spread([score.ratio for score in scores]),
        worst=(ratio, name),
    )


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values)) if len(values) > 1 else float("nan")


def _mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), _spread(values)


def write_csv(path: Path, images: Iterable[ImageScores]) -> None:
    """Write one row per image and method.

    Raises
    ------
    OutputError
        If it cannot be written there.
    """
    with whole_file(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for image in images:
            for method, score in image.scores.items():
                figures = *astuple(score.paper), *astuple(score.clean), score.ratio
                writer.writerow((image.name, image.dose, method, *figures))
