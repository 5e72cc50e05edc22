"""Where in an image a denoiser errs: by block, at the corner and by distance from the edge."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lowdose.metrics.pixelwise import comparable

GRID = 32  # blocks along each side: 16 pixels of the paper's 512
CORNER = 16  # pixels, as the inset of the paper's figure shows
RIM = 64  # distances from the edge; beyond it no filter or network here knows of the edge


@dataclass(frozen=True)
class PositionErrors:
    """Mean absolute errors of one image; means over images of any size are element by element.

    Parameters
    ----------
    blocks : ndarray, shape (32, 32)
        Over a grid of equal blocks; of an image with fewer pixels along a side, blocks share them.
    corner : ndarray, shape (16, 16)
        Pixel by pixel at the upper left; NaN beyond a smaller image.
    rim : ndarray, shape (64,)
        By distance from the nearest edge in pixels, 0 the outermost; NaN where there is no pixel.
    """

    blocks: NDArray[np.float64]
    corner: NDArray[np.float64]
    rim: NDArray[np.float64]


def position_errors(estimate: ArrayLike, reference: ArrayLike) -> PositionErrors:
    """Return mean absolute errors by position.

    Parameters
    ----------
    estimate, reference : array_like, shape (H, W)
        Real images in the same unit.

    Raises
    ------
    ValueError
        If the images cannot be compared or are not two-dimensional.

    Examples
    --------
    >>> found = position_errors(np.ones((64, 64)), np.zeros((64, 64)))
    >>> float(found.blocks.min()), found.rim[:32].tolist() == 32 * [1.0]
    (1.0, True)
    """
    estimate, reference = comparable(estimate, reference)
    if estimate.ndim != 2:
        raise ValueError(f"images have shape {estimate.shape}; positions need (H, W).")
    error = np.abs(estimate - reference)
    corner = np.full((CORNER, CORNER), np.nan)
    shown = error[:CORNER, :CORNER]
    corner[: shown.shape[0], : shown.shape[1]] = shown
    return PositionErrors(_blocks(error), corner, _rim(error))


def _blocks(error: NDArray[np.float64]) -> NDArray[np.float64]:
    means = error
    for axis, side in enumerate(error.shape):
        starts = np.arange(GRID) * side // GRID
        sizes = np.maximum(np.diff(starts, append=side), 1)  # reduceat takes one pixel where none
        sums = np.add.reduceat(means, starts, axis=axis)
        means = sums / (sizes[:, None] if axis == 0 else sizes)
    return means


def _rim(error: NDArray[np.float64]) -> NDArray[np.float64]:
    inward = [np.minimum(np.arange(side), np.arange(side)[::-1]) for side in error.shape]
    distance = np.minimum.outer(*inward).ravel()
    counts = np.bincount(distance, minlength=RIM)[:RIM]
    sums = np.bincount(distance, error.ravel(), minlength=RIM)[:RIM]
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(RIM, np.nan), where=counts > 0)
    return means
