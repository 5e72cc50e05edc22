"""Score denoisers on truths with Poisson noise of fixed seeds, or files against each other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lowdose.bench.doses import Exposure, Law, expose
from lowdose.bench.methods import NONE, Method
from lowdose.bench.outside import read_single
from lowdose.bench.scores import ImageScores, checked_pair
from lowdose.data.truths import Truth
from lowdose.errors import ConfigError, LowdoseWarning, UnsupportedContentError

if TYPE_CHECKING:
    from lowdose.infer import Denoiser


def evaluate_truths(
    truths: Iterable[Truth], methods: Sequence[Method], *, dose: Law, seed: int = 0
) -> Iterator[ImageScores]:
    """Expose each truth once and score every method on that one exposure.

    Parameters
    ----------
    truths : iterable of Truth
        See `lowdose.data.truths.load_truths`; each is scaled to [0, 1].
    methods : sequence of Method
        Each is given float32 counts and nothing else.
    dose : str or float
        See `lowdose.bench.doses.benchmark_dose`.
    seed : int
        Noise follows from it and the name of the image: a subset is scored on the same pixels.

    Yields
    ------
    ImageScores
        As soon as an image is done, method ``"none"`` first.
    """
    for truth in truths:
        exposure = expose(truth, dose, seed=seed)
        estimates = {method.label: method.run(exposure.noisy.copy()) for method in methods}
        unclipped = [method.label for method in methods if not method.is_clipped]
        yield compare(exposure, estimates, unclipped=unclipped)


def compare(
    exposure: Exposure, estimates: Mapping[str, NDArray[Any]], *, unclipped: Sequence[str] = ()
) -> ImageScores:
    """Score several estimates of one image, and the noisy image itself as ``"none"``.

    Raises
    ------
    UnsupportedContentError
        If there is nothing to compare: an image is constant, or too small.
    """
    scores = {}
    for label, each in ({NONE: exposure.noisy} | dict(estimates)).items():
        images = exposure.truth, exposure.noisy, each
        clip = label not in unclipped
        scores[label] = checked_pair(exposure.name, label, images, clip=clip)
    return ImageScores(exposure.name, float(exposure.truth.max()), scores)


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
    recorded = read_single(noisy, None)
    clean = read_single(truth, recorded.shape)
    expected = _at_level(truth, clean.pixels, recorded.pixels)
    if estimate is not None:
        estimates = {estimate.name: read_single(estimate, recorded.shape).pixels}
    else:
        denoiser = load()
        estimates = {denoiser.record.name: denoiser(recorded).micrograph.pixels}
    return compare(Exposure(noisy.name, expected, recorded.pixels), estimates)


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
        wanted = {line.strip() for line in names.read_text("utf-8-sig").splitlines()} - {""}
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{names}: cannot be read ({err}).") from err
    missing = wanted - {truth.name for truth in truths}
    if missing or not wanted:
        raise ConfigError(f"{names}: names truths that are not there: {', '.join(sorted(missing))}")
    return [truth for truth in truths if truth.name in wanted]
