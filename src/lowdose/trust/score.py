"""The error of a denoised micrograph, measured without knowing the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lowdose.errors import NoiseModelError
from lowdose.physics.dose import NoiseModel
from lowdose.physics.thinning import hold_out

if TYPE_CHECKING:
    from lowdose.infer import Denoiser

# From recorded electrons, of which the noise is known, to estimated ones.
Estimator = Callable[[NDArray[np.float32], NoiseModel], NDArray[Any]]
Progress = Callable[[int, int], None]

INPUT = "input"
"""Name under which the noisy image itself is scored."""
# Of the dose so much is held out to test on; the estimate scatters no more for so little.
HELD_OUT = 0.02
# Of a larger image windows are scored: together so many pixels, each of this side.
_MOST_PIXELS, _WINDOW = 1 << 20, 512
_MOST_WINDOWS = 16
# Blocks whose means are taken for independent.
_BLOCK = 16
# Standard deviations around a normal estimate that hold nine tenths.
NINE_TENTHS = 1.645
# Standard errors that no chance explains.
_SURE = 3.0
# Two exposures are compared with themselves so many pixels away, where noise has no part any more
# that a detector blurs, and structure still has.
_AWAY = 3
# What two exposures differ by beyond their noise is told where it is this part of an error.
_MATTERS = 0.1


@dataclass(frozen=True)
class Score:
    """Estimated error of one method on one image.

    Parameters
    ----------
    name : str
        Of the method.
    mse : float
        Estimated mean squared error, in pixel units squared; where the truth is hit almost
        exactly it may come out below zero.
    mse_std : float
        Its standard error.
    lead_std : float
        Standard error of its difference to the best method; 0 for the best.
    """

    name: str
    mse: float
    mse_std: float
    lead_std: float = 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Interval that holds the mean squared error of nine images in ten, never below zero."""
        reach = NINE_TENTHS * self.mse_std
        return max(self.mse - reach, 0.0), max(self.mse + reach, 0.0)

    @property
    def is_impossible(self) -> bool:
        """Whether the error is below zero beyond chance: there is less noise than was assumed."""
        return self.mse < -_SURE * self.mse_std

    def psnr(self, peak: float) -> float:
        """Peak signal-to-noise ratio in dB; infinite where no error was found."""
        if self.mse <= 0:
            return math.inf
        return 10 * math.log10(peak**2 / self.mse) if peak > 0 else -math.inf


@dataclass(frozen=True)
class Scores:
    """Methods on one image, the best first.

    Parameters
    ----------
    scores : tuple of Score
        By estimated error.
    peak : float
        Range of the image for PSNR, in pixel units: that of all but one pixel in a hundred of the
        best result.
    pixels : int
        How many were looked at.
    doubt : str
        What speaks against the figures, and what to do about it; empty where nothing does.
    """

    scores: tuple[Score, ...]
    peak: float
    pixels: int
    doubt: str = ""

    @property
    def best(self) -> Score:
        """The method of least estimated error."""
        return self.scores[0]

    def rivals(self) -> tuple[Score, ...]:
        """Methods that the data cannot tell from the best, with nine chances in ten.

        A difference that one place decides, as a hot pixel does, is told by the noise alone.
        """
        best = self.best

        def doubt(each: Score) -> float:
            return min(each.lead_std, math.hypot(each.mse_std, best.mse_std))

        others = self.scores[1:]
        return tuple(each for each in others if each.mse - best.mse <= NINE_TENTHS * doubt(each))


def score(
    pixels: NDArray[Any],
    noise: NoiseModel,
    methods: Mapping[str, Estimator],
    *,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Scores:
    r"""Estimate the mean squared error of methods on one image, and of the image itself.

    Electrons are dealt into :math:`a` and a small rest :math:`b`, independent exposures of the
    same specimen [1]_. For an estimate :math:`g` made from :math:`a` alone

    .. math::
        \mathrm E\,(g - x)^2 = \mathrm E\left[(g - y)^2 - v + 2\,(g - h)\,(y - b/p)\right]

    with :math:`y = a + b`, :math:`p` the share held out, :math:`v` an unbiased estimate of the
    variance of `y`, and any :math:`h` made from `y`: given `y`, the last factor has mean zero, so
    `h` biases nothing. The estimate of the same method from all of `y` is so close to `g` that
    the last term scatters little even for a small share [2]_. What is left of it where a method
    changes little is taken off by a control variate, the noisy image, whose error is known.

    That is the error at the dose of `a`. At the full dose it is smaller by what the missing
    electrons move the estimate, :math:`\mathrm E\,(g - h)^2`: exactly so for a linear method, to
    first order for any other.

    Parameters
    ----------
    pixels : ndarray, shape (H, W) or (N, H, W)
        Noisy. Of more than a megapixel four windows are looked at, of small frames up to 16.
    noise : NoiseModel
        Of the pixels. What is estimated is only as good: a gain 5 % off moves every error by 5 %
        of the noise's variance, though it moves no difference of two methods.
    methods : mapping of str to Estimator
        By name; each is called twice for each window.
    seed : int
        Of the dealing.
    progress : callable
        Told calls done and calls in all.

    Returns
    -------
    Scores
        The best first, with the noisy image under the name ``"input"`` among them.

    Raises
    ------
    NoiseModelError
        If there is no noise, and so nothing to measure.

    References
    ----------
    .. [1] N. L. Oliveira, J. Lei, R. J. Tibshirani, Electron. J. Stat. (2024), arXiv:2212.01943.
    .. [2] As the share goes to nothing it is Hudson's and Stein's estimate of risk: H. M. Hudson,
       Ann. Statist. 6, 473 (1978); S. Ramani, T. Blu, M. Unser, IEEE Trans. Image Process. 17,
       1540 (2008).
    """
    if noise.is_noise_free:
        raise NoiseModelError(
            f"there is no noise to measure an error by ({noise.basis}); pass --gain if you know it"
        )
    rng = torch.Generator().manual_seed(seed)
    terms: dict[str, list[Terms]] = {name: [] for name in (INPUT, *methods)}
    results: dict[str, list[NDArray[np.float64]]] = {name: [] for name in terms}
    windows, calls = list(scored_windows(pixels)), 0
    for window in windows:
        deal = Deal(noise.to_electrons(window), noise, HELD_OUT, rng)
        terms[INPUT].append(deal.input_terms)
        results[INPUT].append(deal.recorded.astype(np.float64))
        for name, method in methods.items():
            full = _made(name, method, deal.recorded, deal.full_noise)
            less = _made(name, method, deal.part, deal.part_noise) / (1 - HELD_OUT)
            terms[name].append(deal.terms(full, less))
            results[name].append(full)
            progress(calls := calls + 1, len(windows) * len(methods))
    scores = ranked(terms, noise)
    seen = np.concatenate([each.ravel() for each in results[scores[0].name]])
    low, high = np.quantile(seen, [0.005, 0.995])
    return Scores(scores, float(high - low) * noise.gain, seen.size, _less_noise(scores))


def _made(
    name: str, method: Estimator, electrons: NDArray[np.float32], noise: NoiseModel
) -> NDArray[np.float64]:
    """What a method makes of an image: one that is not finite could not be ranked."""
    made = np.asarray(method(electrons, noise), np.float64)
    if made.shape != electrons.shape or not np.isfinite(made).all():
        raise ValueError(
            f"method {name!r} made {made.shape} pixels, {np.isfinite(made).sum()} of them finite; "
            f"expected {electrons.shape} finite ones"
        )
    return made


def score_pair(
    first: NDArray[Any],
    second: NDArray[Any],
    noise: NoiseModel,
    methods: Mapping[str, Estimator],
    *,
    progress: Progress = lambda done, total: None,
) -> Scores:
    """Estimate errors from two exposures of one field, such as even and odd frames.

    Each is denoised and compared with the other, whose own noise, half the squared difference of
    the two, is taken off. No noise model decides the figures, and no dose changes.

    Parameters
    ----------
    first, second : ndarray, shape (H, W)
        Aligned, of the same dose; what else they differ by is told as `Scores.doubt`.
    noise : NoiseModel
        Of either; what the methods are told.
    methods, progress
        As in `score`.

    Raises
    ------
    ValueError
        If the two are not of one shape, or are the same.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(
            f"exposures of {first.shape} and {second.shape} pixels; expected two images alike"
        )
    if np.array_equal(first, second):
        raise ValueError("the same pixels twice; expected two exposures of one field")
    known = NoiseModel(1.0, readout_std=noise.readout_electrons, correlation=noise.correlation)
    pair = [noise.to_electrons(each) for each in (first, second)]
    variance = (pair[0].astype(np.float64) - pair[1]) ** 2 / 2
    nothing = np.zeros_like(variance)
    terms = {INPUT: [Terms(nothing, variance, variance, is_input=True)]}
    peak, calls = 0.0, 0
    for name, method in methods.items():
        errors = []
        for own, other in (pair, pair[::-1]):
            result = _made(name, method, own, known)
            errors.append((result - other) ** 2 - variance)
            progress(calls := calls + 1, 2 * len(methods))
            peak = peak or float(np.subtract(*np.quantile(result, [0.995, 0.005])))
        terms[name] = [Terms((errors[0] + errors[1]) / 2, nothing, variance)]
    scores = ranked(terms, replace(noise, gain_std=0.0))
    excess = _systematic(pair[0].astype(np.float64) - pair[1]) * noise.gain**2
    return Scores(scores, peak * noise.gain, first.size, _unlike(scores, excess))


def _less_noise(scores: Sequence[Score]) -> str:
    names = [each.name for each in scores if each.is_impossible]
    if not names:
        return ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (
        f"the error of {names[0]}{more} comes out below zero, which none is: the image holds less "
        "noise than is assumed, so that all figures are too small and only their order counts; "
        "check --gain and --offset, and start from data that were not filtered"
    )


def _systematic(difference: NDArray[np.float64]) -> float:
    """Mean square of what two exposures differ by, noise apart; 0 where chance explains it."""
    products = [
        rows[:-_AWAY] * rows[_AWAY:] for rows in (difference, difference.T) if len(rows) > _AWAY
    ]
    if not products:
        return 0.0
    found = float(np.mean([np.mean(each) for each in products]))
    chance = float(np.mean(difference**2)) / math.sqrt(difference.size)
    return found if found > _SURE * chance else 0.0


def _unlike(scores: Sequence[Score], excess: float) -> str:
    """Say that two exposures are not of the same, where that matters."""
    least = max(scores[0].mse, scores[0].mse_std)
    if excess / 2 <= _MATTERS * least:
        return ""
    return (
        f"the two exposures differ by more than noise, ±{math.sqrt(excess):.3g} a pixel: another "
        f"dose or offset, drift, or damage. About {excess / 2:.3g} of each error comes from that; "
        "align them and scale them to one brightness first"
    )


def networks(denoisers: Iterable[Denoiser]) -> dict[str, Estimator]:
    """Loaded networks as methods, by the names of their weights."""
    from lowdose.micrograph import Micrograph

    def estimator(denoiser: Denoiser) -> Estimator:
        return lambda electrons, noise: (
            denoiser(Micrograph(electrons), noise=noise).micrograph.pixels
        )

    return {each.record.name: estimator(each) for each in denoisers}


def scored_windows(pixels: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The image, or where it is large or a stack, windows evenly spread over it."""
    stack = pixels if pixels.ndim == 3 else pixels[None]
    count, height, width = stack.shape
    if count * height * width <= _MOST_PIXELS:
        yield from stack
        return
    area = min(height, _WINDOW) * min(width, _WINDOW)
    # Four in the corners of an image; of many small frames more, since four would tell little.
    number = min(max(_MOST_PIXELS // area, 4), _MOST_WINDOWS) if count > 1 else 4
    for index in range(number):
        frame = stack[index * count // number]
        top, left = (
            place * max(length - _WINDOW, 0)
            for place, length in zip(divmod(index % 4, 2), (height, width), strict=True)
        )
        yield frame[top : top + _WINDOW, left : left + _WINDOW]


class Deal:
    """Electrons of one window, dealt into a part to denoise and a rest to test on.

    Parameters
    ----------
    recorded : ndarray, shape (H, W)
        Electrons y.
    noise : NoiseModel
        Of the image that they are from, in pixel units.
    held_out : float
        Share of the dose that is not denoised.
    rng : torch.Generator
        Deals.
    """

    def __init__(
        self,
        recorded: NDArray[np.float32],
        noise: NoiseModel,
        held_out: float,
        rng: torch.Generator,
    ) -> None:
        readout, kept = noise.readout_electrons, 1 - held_out
        self.recorded = recorded
        whole = torch.from_numpy(recorded)[None, None]
        part, contrast = hold_out(
            whole, held_out, readout_std=readout, correlation=noise.correlation, rng=rng
        )
        self.part, self._contrast = part[0, 0].numpy(), contrast[0, 0].numpy()
        self.full_noise = NoiseModel(1.0, readout_std=readout, correlation=noise.correlation)
        self.part_noise = NoiseModel(
            1.0, readout_std=readout * math.sqrt(kept), correlation=noise.correlation
        )
        exact = recorded.astype(np.float64)
        self.variance = exact + readout**2
        self.input_terms = Terms(np.zeros_like(exact), self.variance, self.variance, is_input=True)
        # The image itself as an estimate, less the error that it is known to have.
        itself = self.part / np.float64(kept) - exact
        known = 2 * self.variance + np.abs(self.variance) * held_out / kept
        self._control = itself**2 + 2 * itself * self._contrast - known

    def terms(self, full: NDArray[np.float64], less: NDArray[np.float64]) -> Terms:
        """What the error of an estimate from the part is made of.

        The noisy image is a control variate: what its own estimated error is off, that of a
        method is off in part, and the part is found by regression.
        """
        dealt = 2 * (less - full) * self._contrast
        power = float(np.sum(self._control**2))
        part = float(np.sum((dealt - dealt.mean()) * self._control)) / power if power else 0.0
        # By how much the part's smaller dose makes the error larger, to first order.
        dearer = np.subtract(less, full, dtype=np.float64) ** 2
        residual = np.subtract(less, self.recorded, dtype=np.float64) ** 2 - self.variance
        return Terms(residual - dearer, dealt - part * self._control, self.variance)


@dataclass(frozen=True)
class Terms:
    """Pixels whose mean is a mean squared error: of one method, in one window.

    Parameters
    ----------
    residual : ndarray
        Squared residual less the variance of the noise.
    dealt : ndarray
        What the dealing adds, twice how much of the noise is still there.
    variance : ndarray
        Of the noise.
    is_input : bool
        Whether it is the noisy image itself, of which the error needs no dealing.
    """

    residual: NDArray[np.float64]
    dealt: NDArray[np.float64]
    variance: NDArray[np.float64]
    is_input: bool = False

    def inside(self, window: tuple[slice, ...]) -> Terms:
        """Of a part of the window."""
        parts = self.residual[window], self.dealt[window], self.variance[window]
        return Terms(*parts, is_input=self.is_input)

    @property
    def pixels(self) -> NDArray[np.float64]:
        """Both terms together."""
        return self.residual + self.dealt

    def squared_error(self, mse: float) -> float:
        """Expected square of the sum's error, for a method of this mean squared error.

        A residual is noise n and an error e, and scatters by that of n², for which noise is taken
        for normal, and of 2ne; what was dealt scatters as it is seen to.
        """
        scatter = 2 * self.variance**2
        if not self.is_input:
            scatter += 4 * max(mse, 0.0) * np.maximum(self.variance, 0) + self.dealt**2
        return float(scatter.sum())


def ranked(terms: Mapping[str, Sequence[Terms]], noise: NoiseModel) -> tuple[Score, ...]:
    """Means of the terms and their standard errors, the smallest first, in pixel units."""
    unit = noise.gain**2
    any_method = next(iter(terms.values()))
    count = sum(each.variance.size for each in any_method)
    variance = sum(float(each.variance.sum()) for each in any_method) / count
    means = {
        name: sum(float(each.pixels.sum()) for each in parts) / count
        for name, parts in terms.items()
    }
    order = sorted(means, key=lambda name: means[name])
    # An error of the gain is one of the variance, the same for all; and of correlated noise there
    # is less to average over.
    doubt = noise.gain_std / noise.gain * variance
    alike = math.prod((1 + rho**2) / (1 - rho**2) for rho in noise.correlation)
    scores = []
    for name in order:
        square = sum(each.squared_error(means[name]) for each in terms[name])
        own = math.hypot(math.sqrt(alike * square) / count, doubt)
        pairs = zip(terms[name], terms[order[0]], strict=True)
        lead = _standard_error([each.pixels - best.pixels for each, best in pairs])
        scores.append(Score(name, means[name] * unit, own * unit, lead * unit))
    return tuple(scores)


def _standard_error(parts: Sequence[NDArray[np.float64]]) -> float:
    """Of the mean of all parts, from differences of neighbouring blocks.

    Differences, since it is no error that one half of an image is harder than the other.
    """
    squares, count = 0.0, 0
    for part in parts:
        height, width = (length // _BLOCK for length in part.shape)
        if width < 2 or not height:
            return float(np.std(part) / math.sqrt(part.size))
        inside = part[: height * _BLOCK, : width * _BLOCK]
        blocks = inside.reshape(height, _BLOCK, width, _BLOCK).mean(axis=(1, 3))
        squares += float(np.mean(np.diff(blocks, axis=1) ** 2)) / 2
        count += blocks.size
    return math.sqrt(squares / len(parts) / count)
