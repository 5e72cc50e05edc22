"""The step of pixel values: counts keep theirs, however a program rescaled them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Steps as fine as the rounding would fit anything: they are at least so many times as large.
_FINEST = 20


def value_step(pixels: NDArray[Any]) -> float | None:
    """Find the largest step of which all pixel values are multiples, up to one shift.

    Electron counts have step 1; divided by their largest value, or scaled to [0, 1], they still
    lie on a grid, and the step of it is the gain.

    Parameters
    ----------
    pixels : ndarray, any shape
        A sample of an image, some ten thousand pixels or more.

    Returns
    -------
    float or None
        The step in pixel units; None where the values lie on no grid that their precision and
        their number could show.

    Examples
    --------
    >>> counts = np.random.default_rng(0).poisson(30, 10_000)
    >>> value_step(counts), value_step(np.float32(counts * 0.125 + 3))
    (1.0, 0.125)
    >>> value_step(np.random.default_rng(0).normal(size=10_000)) is None
    True
    """
    values = np.unique(pixels)
    if len(values) < 2:
        return None
    if pixels.dtype.kind in "ui":
        # Sorted values differ by less than 2**64, whatever wraps around on the way.
        return float(np.gcd.reduce(np.diff(values.astype(np.uint64))))
    eps, values = float(np.finfo(pixels.dtype).eps), values.astype(np.float64)
    # Where fractions could be told, whole numbers are exact.
    if np.abs(values).max() <= 1 / eps and not np.any(values % 1):
        return float(np.gcd.reduce(np.diff(values).astype(np.uint64)))
    return _float_step(values, eps)


def _float_step(values: NDArray[np.float64], eps: float) -> float | None:
    rounding = eps * np.abs(values).max()
    differences = np.diff(values)
    differences = differences[differences > 2 * rounding]
    if not len(differences):
        return None
    step = float(differences.min())
    if step < _FINEST / 2 * rounding:
        return None
    # Ever longer stretches fix the step ever better: first between neighbours, then from the
    # lowest value on.
    offsets = values - values[0]
    stretches = [(differences, most * step) for most in (1.5, 5.5, 20.5)]
    stretches += [(offsets, most) for most in np.geomspace(100 * step, offsets[-1], 8)]
    for stretch in (lengths[lengths <= most] for lengths, most in stretches):
        ticks = np.rint(stretch / step)
        if np.any(np.abs(stretch - ticks * step) > 0.1 * step + 2 * rounding):
            return None
        if ticks.any():
            # No dot product: numpy's threads would spin on for a while and take the processor
            # from the network that comes next, 50 ms of two cores for 512 x 512 pixels.
            step = float((ticks * stretch).sum() / np.square(ticks).sum())
    return step if step > _FINEST * rounding else None
