"""How much of the noise second differences see, and how it correlates: told by a small network.

Noise of which neighbours share a part looks fainter than it is to second differences, and fine
texture looks like noise. How blocks of one intensity differ, how their second differences
correlate over one and two pixels, and what coarser ones and whole blocks vary by tells these
apart. `tools/noise_network.py` simulates images with noise that is known, and fits the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Statistics of blocks, in this order.
MEAN, ENERGY, NEIGHBOURS, COARSE, WITHIN = 0, 1, slice(2, 6), 6, 7
# The network was shown images of at least so many intensities, of 32, with up to so many blocks of
# each: of larger ones some groups of as many are shown to it, one by one.
FEWEST_INTENSITIES, INTENSITIES = 8, 32
_MOST_BLOCKS, _MOST_GROUPS = 128, 8
# Correlation below the first is none. What is found beyond the second was never shown, and nothing
# is allowed for.
_LEAST, _MOST = 0.05, 0.9
# Blocks of the quietest part hold the least of the specimen.
_QUIET = 0.3
# Second differences of white noise correlate so from pixel to pixel in the quietest blocks, at the
# tenth of the intensities where it is least, by simulation of 512 x 512 pixels, which have 128
# blocks of each; less by chance, times the root of these over those there are; and within so much
# it may be white.
_LEAST_PART, _OF_SIMULATED = 0.1, 128
_OF_WHITE_NOISE, _BY_CHANCE, _WHITE = -0.591, 0.03, 0.035
# Logarithms of ratios, and clues in deviations of those that were shown, beyond which they differ
# no more.
_FARTHEST, _MOST_DEVIATIONS = 8.0, 4.0


def quantile(values: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """numpy.quantile along the last axis, which takes six times as long for a few hundred."""
    place = share * (values.shape[-1] - 1)
    below = int(place)
    above = min(below + 1, values.shape[-1] - 1)
    ends = np.partition(values, (below, above), axis=-1)
    low, high = ends[..., below], ends[..., above]
    between: NDArray[np.float64] = low + (high - low) * (place - below)
    return between


def clues(bins: NDArray[np.float64], unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the network is told of each intensity, and of all of them.

    Parameters
    ----------
    bins : ndarray, shape (8, K, N)
        Statistics of N blocks at each of K intensities.
    unit : ndarray, shape (K,)
        Variance at each intensity, above 0, in which the others are told.

    Returns
    -------
    ndarray, shape (K, 42)
    """
    energy, coarse, within = bins[ENERGY], bins[COARSE], bins[WITHIN]
    quiet = _quiet(energy)
    count = quiet.sum(axis=1)
    variances = (
        *(quantile(energy, share) for share in (0.05, 0.1, 0.5, 0.8)),
        quantile(coarse, 0.2),
        (coarse * quiet).sum(axis=1) / count,
        quantile(within, 0.2),
        (within * quiet).sum(axis=1) / count,
    )
    ratios = np.log(np.maximum(np.array(variances), 1e-300) / unit).clip(-_FARTHEST, _FARTHEST)
    own = np.concatenate([ratios, _of_neighbours(bins, quiet)])
    size = np.log(min(bins.shape[2], _MOST_BLOCKS)), bins.shape[1] / INTENSITIES
    of_all = np.concatenate([*(quantile(own, share) for share in (0.1, 0.5)), size])
    of_most = quantile(own, 0.9)[:4]
    everywhere = np.concatenate([of_all, of_most])[:, None].repeat(bins.shape[1], axis=1)
    return np.concatenate([own, everywhere]).T


def seems_white(bins: NDArray[np.float64]) -> bool:
    """Whether second differences correlate as those of white noise do, where they do so least.

    Blur and all but the finest texture make it less.

    Parameters
    ----------
    bins : ndarray, shape (8, K, N)
        As of `clues`.
    """
    found = [
        quantile(_of_neighbours(group, _quiet(group[ENERGY]))[:2], _LEAST_PART)  # down, and across
        for group in _groups(bins)
    ]
    by_chance = (_OF_SIMULATED / next(_groups(bins)).shape[2]) ** 0.5
    of_white = _OF_WHITE_NOISE - _BY_CHANCE * (by_chance - 1)
    return bool((np.median(found, axis=0) < of_white + _WHITE * by_chance).all())


def _groups(bins: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Every so many blocks of each intensity: no more than the network was shown."""
    count = max(1, bins.shape[2] // _MOST_BLOCKS)
    for first in range(min(count, _MOST_GROUPS)):
        yield bins[:, :, first::count]


def _quiet(energy: NDArray[np.float64]) -> NDArray[np.bool_]:
    return energy <= quantile(energy, _QUIET)[:, None]


def _of_neighbours(bins: NDArray[np.float64], quiet: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Correlations of second differences in quiet blocks, shape (4, K)."""
    total = np.maximum((bins[ENERGY] * quiet).sum(axis=1), 1e-300)
    found: NDArray[np.float64] = (bins[NEIGHBOURS] * quiet).sum(axis=2) / total
    return found


def allow_for(
    bins: NDArray[np.float64], unit: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Find the variance of the noise over what second differences see, and its correlation.

    Parameters
    ----------
    bins, unit : ndarray
        As of `clues`.

    Returns
    -------
    (ndarray, (float, float))
        Factor at each intensity, shape (K,); correlation of neighbours along y and along x, 0
        where there is next to none.
    """
    found = np.median([told(clues(group, unit)) for group in _groups(bins)], axis=0)
    return allowed(found)


def allowed(told: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Factors and correlation, as `allow_for` finds them, from what the network says."""
    down, across = (float(value) for value in np.median(told[:, 1:], axis=0))
    if max(down, across) > _MOST:
        return np.ones(len(told)), (0.0, 0.0)
    known = (each if each > _LEAST else 0.0 for each in (down, across))
    return np.exp(told[:, 0]), (next(known), next(known))


def told(clues: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the network says: logarithm of the factor, and correlations, shape (K, 3)."""
    weights = _weights()
    values = (clues - weights["centre"]) / weights["spread"]
    values = values.clip(-_MOST_DEVIATIONS, _MOST_DEVIATIONS)
    for layer in range(3):
        # No dot product, as in `lowdose.physics.step`: threads of numpy's would spin on.
        values = np.einsum("kc,ch->kh", values, weights[f"weight{layer}"]) + weights[f"bias{layer}"]
        if layer < 2:
            values = np.maximum(values, 0)
    return values


@lru_cache
def _weights() -> dict[str, NDArray[np.float64]]:
    with np.load(Path(__file__).with_suffix(".npz"), allow_pickle=False) as file:
        return {name: file[name].astype(np.float64) for name in file.files}
