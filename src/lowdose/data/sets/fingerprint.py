"""Fingerprints of images, and finding those that were saved twice among a million."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

CELLS = 16
# The middle quarter of each side is looked at once more, in cells half as large: fields without
# structure agree in how the beam lights them, not in there.
_MIDDLE, _MIDDLE_CELLS = 4, 8
# Two fingerprints of the same exposure correlate by more than this: copies in 8 bit, of another
# contrast or brightness, or to a power of 1/2 to 2. Of 636 crops of 512 x 512, many from one field
# side by side, no two come above 0.79 (neighbouring sections of one volume).
SAME = 0.9
# Differences from the neighbours beyond so many of their typical size are cut: a border, a bar
# with writing or a bright particle must not outweigh everything else.
_CLIP = 2.0
# Fingerprints that correlate by 0.9 agree in one of 16 bands of 16 signs in 3 of 4 cases, by 0.95
# in 96 of 100, by 0.99 in all but 1 of 30 000.
_BANDS, _BITS = 16, 16
# Buckets up to this size are searched all at once, larger ones each by itself.
_SMALL = 32
# Pairs compared at a time: some 20 MB.
_PAIRS = 1 << 12


def fingerprint(frame: NDArray[Any]) -> bytes:
    """Condense an image into 320 bytes that hardly change when it is saved differently.

    Means over 16 x 16 cells of the whole and 8 x 8 of its middle, each less a paraboloid and the
    mean of its surroundings, so that uneven illumination makes no two images alike; in units of
    their typical size.

    Parameters
    ----------
    frame : ndarray, shape (H, W)
        At least 32 pixels each way, else the fingerprint is empty.

    Examples
    --------
    >>> frame = np.random.default_rng(0).poisson(3000, (64, 64))
    >>> dim = np.uint8((frame - frame.min()) / np.ptp(frame) * 255)
    >>> copies_of([fingerprint(frame), fingerprint(dim), fingerprint(frame[::-1])])
    array([0, 0, 2])
    """
    if min(frame.shape) < _MIDDLE * _MIDDLE_CELLS:
        return b""
    top, left = (length * (_MIDDLE - 1) // (2 * _MIDDLE) for length in frame.shape)
    middle = frame[top : frame.shape[0] - top, left : frame.shape[1] - left]
    return _detail(_cell_means(frame, CELLS)) + _detail(_cell_means(middle, _MIDDLE_CELLS))


def copies_of(prints: Sequence[bytes]) -> NDArray[np.int64]:
    """Say of each image which earlier one it is a copy of, or else itself.

    Only images that share a band of signs of random projections are compared, so that the work
    grows with the number of images, not its square.

    Parameters
    ----------
    prints : sequence of bytes
        Fingerprints; an empty one is like no other.

    Returns
    -------
    ndarray of int64
        Per image the place of the first one like it.
    """
    first = np.arange(len(prints), dtype=np.int64)
    known = np.array([place for place, each in enumerate(prints) if each], np.int64)
    if not len(known):
        return first
    values = np.frombuffer(b"".join(prints), np.int8).reshape(len(known), -1)
    bands = _bands(values[:, : CELLS * CELLS])
    is_copy = np.zeros(len(known), bool)
    for band in bands:
        alive = np.flatnonzero(~is_copy)
        for bucket in _buckets(band[alive], values[alive]):
            _collapse(values, known, alive[bucket], first, is_copy)
    return _roots(first)


def _cell_means(frame: NDArray[Any], cells: int) -> NDArray[np.float64]:
    """Mean of each of cells x cells, one row of cells at a time."""
    rows, columns = (np.arange(cells + 1) * length // cells for length in frame.shape)
    bands = [
        frame[top:bottom].mean(axis=0, dtype=np.float64) for top, bottom in itertools.pairwise(rows)
    ]
    means: NDArray[np.float64] = np.add.reduceat(np.stack(bands), columns[:-1], axis=1)
    means /= np.diff(columns)
    return means


def _detail(means: NDArray[np.float64]) -> bytes:
    """Differences of cells from their surroundings, in units of their typical size."""
    means = means - _paraboloid(means)
    padded = np.pad(means, 1, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    detail = means - windows.mean(axis=(2, 3))
    typical = 1.4826 * float(np.median(np.abs(detail))) or float(np.abs(detail).max()) or 1.0
    scaled = np.clip(detail / typical, -_CLIP, _CLIP) * (127 / _CLIP)
    rounded: NDArray[np.int8] = np.rint(scaled).astype(np.int8)
    return rounded.tobytes()


def _paraboloid(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Polynomial of second degree closest to square `means`."""
    x = np.linspace(-1, 1, len(means))
    x, y = np.meshgrid(x, x)
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]).reshape(6, -1).T
    weights, *_ = np.linalg.lstsq(terms, means.ravel(), None)
    closest: NDArray[np.float64] = (terms @ weights).reshape(means.shape)
    return closest


def _bands(values: NDArray[np.int8]) -> NDArray[np.uint16]:
    """Signs of random projections, 16 to a number; shape (16, N)."""
    rng = np.random.default_rng(0)
    directions = rng.choice([-1.0, 1.0], (CELLS * CELLS, _BANDS * _BITS)).astype(np.float32)
    bands = np.empty((_BANDS, len(values)), np.uint16)
    for start in range(0, len(values), 1 << 14):
        part = values[start : start + (1 << 14)].astype(np.float32)
        signs = (part - part.mean(axis=1, keepdims=True)) @ directions > 0
        packed = np.packbits(signs.reshape(len(part), _BANDS, _BITS), axis=2)
        bands[:, start : start + len(part)] = packed.view(np.uint16)[..., 0].T
    return bands


def _buckets(band: NDArray[np.uint16], values: NDArray[np.int8]) -> list[NDArray[np.int64]]:
    """Places that share a number and hold two alike, in order; large buckets in any case."""
    order = np.argsort(band, kind="stable")
    starts = np.flatnonzero(np.diff(band[order], prepend=-1, append=-1).astype(bool))
    sizes = np.diff(starts)
    bucket = np.repeat(np.arange(len(sizes)), sizes)
    is_wanted = sizes > _SMALL
    for lag in range(1, _SMALL):  # every pair of neighbours, of those one apart, and so on
        near = np.flatnonzero(bucket[lag:] == bucket[:-lag])
        if not len(near):
            break
        near = near[~is_wanted[bucket[near]]]
        alike = _are_alike(values, order[near], order[near + lag])
        is_wanted[bucket[near[alike]]] = True
    return [order[starts[place] : starts[place + 1]] for place in np.flatnonzero(is_wanted)]


def _are_alike(
    values: NDArray[np.int8], one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether the fingerprints of each pair are of one exposure."""
    found = np.empty(len(one), bool)
    for start in range(0, len(one), _PAIRS):
        pair = slice(start, start + _PAIRS)
        sides = zip(_parts(values[one[pair]]), _parts(values[other[pair]]), strict=True)
        products = [np.einsum("ij,ij->i", a, b) for a, b in sides]
        found[pair] = np.minimum(*products) > SAME
    return found


def _parts(values: NDArray[np.int8]) -> list[NDArray[np.float32]]:
    """Whole and middle of fingerprints, normalised."""
    return [_normalised(part) for part in np.split(values, [CELLS * CELLS], axis=1)]


def _collapse(
    values: NDArray[np.int8],
    known: NDArray[np.int64],
    bucket: NDArray[np.int64],
    first: NDArray[np.int64],
    is_copy: NDArray[np.bool_],
) -> None:
    """Mark every member of a bucket that is like an earlier one."""
    parts = _parts(values[bucket])
    left = np.arange(len(bucket))
    while len(left) > 1:
        head, left = left[0], left[1:]
        is_same = np.logical_and.reduce([part[left] @ part[head] > SAME for part in parts])
        first[known[bucket[left[is_same]]]] = known[bucket[head]]
        is_copy[bucket[left[is_same]]] = True
        left = left[~is_same]


def _normalised(values: NDArray[np.int8]) -> NDArray[np.float32]:
    """Rows of mean 0 and length 1, whose products are correlations."""
    rows = values.astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True) + np.float32(1e-9)
    return rows


def _roots(first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Follow copies of copies to the one that is none."""
    while not np.array_equal(first, first[first]):
        first = first[first]
    return first
